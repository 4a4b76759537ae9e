//! What the kernel's gate means for services (S2b).

use crate::world::{D, World, service};
use base::Duration;
use driver::{Evidence, FencePolicy};
use services::{Phase, Placement};
use wire::ServiceId;

const S: u16 = 0;
const ID: ServiceId = ServiceId(S);
const SECOND: Duration = Duration::from_millis(1_000);

fn world() -> World {
    World::new(vec![service(S, FencePolicy::Lease, Placement::Sticky)])
}

fn codes(world: &World, n: u8) -> Vec<&'static str> {
    world.node(n).status(world.now).alarms.iter().map(|alarm| alarm.code).collect()
}

#[test]
fn a_node_without_its_gate_is_passed_over_and_gets_its_services_again_with_it() {
    let mut world = world();
    world.gate(1, Some("eth0 has no filter"));
    world.until("a start on the next node", SECOND, |w| w.settled(S, 2));
    assert!(world.jobs(1).is_empty(), "nothing began behind a gate that is open");
    assert!(codes(&world, 1).contains(&"gate-lost"));
    let why = world.node(3).why(ID).unwrap();
    assert!(why.candidates[0].reason.contains("no whole gate"), "{why:?}");
    world.gate(1, None);
    world.run(D);
    world.kill(2);
    world.until("the takeover", SECOND, |w| w.settled(S, 1));
}

#[test]
fn the_death_of_an_owner_whose_gate_was_lost_wants_proof() {
    let mut world = world();
    world.until("the first start", SECOND, |w| w.settled(S, 1));
    world.gate(1, Some("eth0 has no filter"));
    world.run(D);
    assert_eq!(world.serving(S), Some(1), "it keeps what it has");
    world.kill(1);
    world.run(SECOND);
    assert_eq!(world.serving(S), None);
    let status = world.node(2).service(ID).unwrap();
    assert_eq!(status.phase, Phase::WaitingForFence);
    assert!(status.reason.contains("its gate was not whole"), "{}", status.reason);
    world.start(1);
    world.until("a new life is proof", SECOND, |w| w.serving(S).is_some());
    let evidence = world.node(2).service(ID).unwrap().evidence;
    assert!(matches!(evidence, Some(Evidence::NewLife(_))), "{evidence:?}");
}

#[test]
fn lost_votes_are_alarms_as_long_as_the_next_death_would_stop_everything() {
    let mut world = world();
    world.until("the first start", SECOND, |w| w.settled(S, 1));
    world.kill(3);
    let gone = |w: &World| w.node(1).status(w.now).members.iter().any(|m| m.stint.is_none());
    world.until("the removal", SECOND, gone);
    let alarms = world.node(1).status(world.now).alarms;
    let lost = alarms.iter().find(|a| a.code == "redundancy-lost").unwrap();
    assert!(lost.message.contains("2 of 3 votes are left"), "{lost:?}");
    assert!(lost.remedy.contains("n3"), "{lost:?}");
    world.start(3);
    world.run(SECOND);
    assert!(!codes(&world, 1).contains(&"redundancy-lost"));
}
