//! States and steps in words.

use crate::packet::Body;
use crate::state::{State, Step};
use crate::world::World;
use wire::{Beat, EntryKind, Message};

impl World {
    /// A path, one line a step, with the state of every node after it.
    #[must_use]
    pub fn tell(&self, path: Vec<(State, Option<Step>)>) -> Vec<String> {
        let mut lines = vec![format!("  at first  {}", self.picture(&path[0].0))];
        for (number, (state, step)) in path.iter().enumerate() {
            let Some(step) = step else { continue };
            let after = self.next(state, *step).unwrap_or_else(|| state.clone());
            lines.push(format!("{:3}. {}", number + 1, self.describe(*step)));
            lines.push(format!("            {}", self.picture(&after)));
            if let Some(rule) = after.broken {
                lines.push(format!("     {}: {}", rule.name(), self.last_broken()));
            }
        }
        lines
    }

    /// One step in words.
    #[must_use]
    pub fn describe(&self, step: Step) -> String {
        match step {
            Step::Deliver(number) => self.describe_packet(number),
            Step::Tick(None) => "an interval passes".into(),
            Step::Tick(Some(node)) => format!("an interval passes, but not for {node}'s clock"),
            Step::Beat(node) => format!("fast of {node} wakes"),
            Step::Turn(node) => format!("control of {node} wakes"),
            Step::Crash(node) => format!("power of {node} is cut"),
            Step::Start(node) => format!("{node} begins a new life"),
            Step::Obituary(node) => format!("control of {node} dies, fast says so and ends"),
            Step::Accuse(by, of) => format!("{by} takes {of} for silent"),
            Step::Remove(by, of) => format!("at {by} the operator has {of} removed"),
            Step::SaysOff(by, of) => format!("at {by} the operator says that {of} is off"),
            Step::Write(node) => format!("a request at {node}"),
            Step::Configure(node) => {
                format!("at {node} the operator wants {:?} to vote", self.shape.wanted)
            }
            Step::Stored(node) => format!("{node} has stored its charter"),
            Step::Outage(of) => {
                format!("{of:?} lose power and begin again, cut off from the others")
            }
        }
    }

    fn describe_packet(&self, number: u32) -> String {
        let packet = self.packet(number);
        let what = match packet.body() {
            Some(Body::Message(message)) => describe_message(&message),
            Some(Body::Beat(seq, beat)) => describe_beat(seq.0, &beat),
            Some(Body::Echo(echo)) => format!("echo of #{}", echo.echo.seq),
            Some(Body::Obituary(obituary)) => format!("obituary of {:?}", obituary.stint),
            None => "nothing".into(),
        };
        format!("{:?} -> {}: {what}", packet.from, packet.to)
    }

    /// Every node that runs, in one line.
    #[must_use]
    pub fn picture(&self, state: &State) -> String {
        let mut parts = vec![format!("tick {}", state.tick)];
        for machine in &state.machines {
            let Some(running) = machine.running else {
                parts.push(format!("{} off", machine.node));
                continue;
            };
            let (control, board) = (self.control(&running), self.board(&running));
            let agreement = &control.agreement;
            let lease = if board.lease_holds(self.local(state, machine)) { " LEASE" } else { "" };
            parts.push(format!(
                "{:?} {:?} {:?} {}/{}{lease}",
                agreement.life(),
                agreement.status(),
                agreement.term(),
                agreement.commit().0,
                agreement.op().0,
            ));
        }
        parts.push(format!("{} sent", state.net.len()));
        parts.join(" | ")
    }
}

/// The name of a message's sort.
#[must_use]
pub const fn name(message: &Message) -> &'static str {
    match message {
        Message::Prepare { entries, .. } if entries.is_empty() => "Bare",
        Message::Prepare { .. } => "Prepare",
        Message::PrepareOk { .. } => "PrepareOk",
        Message::Reject { .. } => "Reject",
        Message::Fetch { .. } => "Fetch",
        Message::Suspect { .. } => "Suspect",
        Message::PromiseRequest { .. } => "PromiseRequest",
        Message::Promise { .. } => "Promise",
        Message::Join { .. } => "Join",
        Message::Stale { .. } => "Stale",
        Message::Request { .. } => "Request",
        Message::ColdRequest { .. } => "ColdRequest",
        Message::ColdPromise { .. } => "ColdPromise",
        Message::ColdRelease { .. } => "ColdRelease",
        Message::Order { .. } => "Order",
        Message::Committed { .. } => "Committed",
        Message::Ended { .. } => "Ended",
        #[allow(unreachable_patterns, reason = "messages to come are carried")]
        _ => "Other",
    }
}

fn describe_beat(seq: u64, beat: &Beat) -> String {
    let echoes: Vec<String> = beat
        .echoed()
        .iter()
        .filter_map(|node| Some(format!("{node}#{}", beat.echo(node)?.seq)))
        .collect();
    format!("beat #{seq} of {:?}, echoes {}", beat.stint, echoes.join(" "))
}

fn describe_message(message: &Message) -> String {
    let kinds = |entries: &[wire::Entry]| {
        let words: Vec<String> = entries
            .iter()
            .map(|e| format!("{} in {:?}", describe_entry(&e.kind), e.term))
            .collect();
        words.join(", ")
    };
    match message {
        Message::Prepare { term, prev_op, entries, commit, held, .. } => format!(
            "Prepare {term:?} after {} [{}] commit {} held {}",
            prev_op.0,
            kinds(entries),
            commit.0,
            held.0
        ),
        Message::Promise { term, commit, last_op, last_term, prev_op, tail, .. } => format!(
            "Promise {term:?} commit {} last {} of {last_term:?} after {} [{}]",
            commit.0,
            last_op.0,
            prev_op.0,
            kinds(tail)
        ),
        Message::Committed { prev_op, entries, .. } => {
            format!("Committed after {} [{}]", prev_op.0, kinds(entries))
        }
        other => format!("{other:?}"),
    }
}

fn describe_entry(kind: &EntryKind) -> String {
    match kind {
        EntryKind::Noop => "Noop".into(),
        EntryKind::Request { client, .. } => format!("Request {}", client.0),
        EntryKind::Remove { node, incarnation, cause, .. } => {
            format!("Remove {node}.{incarnation} ({cause:?})")
        }
        EntryKind::Admit { node, incarnation } => format!("Admit {node}.{incarnation}"),
        EntryKind::Fenced { node, incarnation, proof } => {
            format!("Fenced {node}.{incarnation} ({proof:?})")
        }
        EntryKind::Cold { era, admits, .. } => format!("Cold {era} with {admits}"),
        #[allow(unreachable_patterns, reason = "kinds to come print as they are")]
        other => format!("{other:?}"),
    }
}
