//! One thread for each core: it runs the nodes that are its own, one after the other, as a machine would run each of
//! them alone.

use crate::member::{Disk, Member, Plan};
use crate::shared::{Seen, Shared};
use base::{Duration, Instant};
use testbed::os;
use testbed::waiter::Waiter;
use wire::NodeId;

/// As the daemons: below the stall meter, above what else runs.
const PRIORITY: i32 = 40;
/// How soon a switch is seen.
const LOOK: Duration = Duration::from_millis(2);

struct Slot {
    node: NodeId,
    disk: Disk,
    member: Option<Member>,
}

/// Runs `nodes` until the end.
pub(crate) fn run(plan: &Plan, shared: &Shared, nodes: &[NodeId], core: usize) {
    // Not allowed is told by the stall meter.
    let _ = os::pin(core).and_then(|()| os::realtime(PRIORITY));
    let slot = |node: &NodeId| Slot { node: *node, disk: Disk::default(), member: None };
    let mut slots: Vec<Slot> = nodes.iter().map(slot).collect();
    let mut waiter = Waiter::default();
    let mut round = shared.round();
    while !shared.is_over() {
        for slot in &mut slots {
            switch(plan, shared, slot);
        }
        if round != shared.round() {
            round = shared.round();
            let members = slots.iter_mut().filter_map(|slot| slot.member.as_mut());
            shared.hand_over(members.map(Member::take_costs));
        }
        waiter.clear();
        let mut due = Instant::MAX;
        for member in slots.iter_mut().filter_map(|slot| slot.member.as_mut()) {
            member.watch(&mut waiter);
            due = due.min(member.due());
        }
        waiter.wait(due.since(os::now()).min(LOOK));
        for slot in &mut slots {
            if let Some(member) = &mut slot.member {
                member.turn(&waiter, &mut slot.disk, shared);
            }
        }
    }
}

/// Cuts the power of a node, or begins its next life.
fn switch(plan: &Plan, shared: &Shared, slot: &mut Slot) {
    let who = slot.node;
    let on = shared.is_wanted(who);
    if on == slot.member.is_some() {
        return;
    }
    if let Some(mut member) = slot.member.take() {
        shared.hand_over([member.take_costs()]);
    } else {
        match Member::start(plan, who, &mut slot.disk) {
            Ok(member) => slot.member = Some(member),
            Err(error) => {
                shared.switch(who, false);
                shared.note(Seen::Ended { who, why: error.to_string() });
                return;
            }
        }
    }
    shared.note(Seen::Power { who, at: os::now() });
}
