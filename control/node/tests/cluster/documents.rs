//! Services follow the agreed document, on every node alike.

use crate::world::{D, World, service};
use base::Duration;
use driver::FencePolicy;
use services::{Phase, Placement, ServiceSpec};
use wire::ServiceId;

const SECOND: Duration = Duration::from_millis(1_000);

fn vip(revision: u64) -> ServiceSpec {
    ServiceSpec { revision, ..service(0, FencePolicy::Lease, Placement::Sticky) }
}

fn job() -> ServiceSpec {
    service(1, FencePolicy::Fenced, Placement::Sticky)
}

/// Three documents: one service; the same with other resources and a second one; the second alone.
fn cluster() -> World {
    let documents = vec![vec![vip(1)], vec![job(), vip(2)], vec![job()]];
    let mut world = World::with_documents(3, vec![vip(1)], documents);
    world.until("the first start on n1", SECOND, |w| w.settled(0, 1));
    world.run(D);
    world
}

/// What a node's planner says of all services.
fn services(world: &World, n: u8) -> Vec<String> {
    let states = world.node(n).planner().services();
    states.map(|(spec, state)| format!("{spec:?} {state:?}")).collect()
}

#[test]
fn other_resources_are_a_stop_and_a_start_and_a_new_service_starts_at_once() {
    let mut world = cluster();
    assert_eq!(world.jobs(1), ["start"]);
    let before = world.node(2).service(ServiceId(0)).unwrap().generation;
    assert!(world.configure(2, 1).is_ok());
    let both = |w: &World| {
        let runs = |id| w.node(3).service(id).is_some_and(|it| it.phase == Phase::Running);
        runs(ServiceId(0)) && runs(ServiceId(1))
    };
    world.until("both to run", SECOND, both);
    world.until("the address with its new resources", SECOND, |w| w.settled(0, 1));
    let after = world.node(2).service(ServiceId(0)).unwrap().generation;
    assert_eq!(after.0, before.0 + 1, "one stop, one start");
    let jobs = world.jobs(1);
    assert_eq!(jobs.iter().filter(|job| *job == "stop").count(), 1, "{jobs:?}");
    assert_eq!(jobs.iter().filter(|job| *job == "start").count(), 2, "{jobs:?}");
    // Numbers stay with names, whatever the order of the document.
    assert_eq!(world.node(3).service(ServiceId(0)).unwrap().name, "s0");
    assert_eq!(services(&world, 1), services(&world, 3));
}

#[test]
fn a_service_that_is_configured_no_more_is_stopped_and_forgotten() {
    let mut world = cluster();
    assert!(world.configure(1, 1).is_ok());
    world.until("the second to run", SECOND, |w| {
        w.node(2).service(ServiceId(1)).is_some_and(|it| it.phase == Phase::Running)
    });
    assert!(world.configure(3, 2).is_ok());
    world.until("the first to be forgotten", SECOND, |w| {
        (1..=3).all(|n| w.node(n).services().len() == 1)
    });
    assert_eq!(world.serving(0), None);
    assert_eq!(world.node(1).service(ServiceId(1)).unwrap().name, "s1");
}

#[test]
fn a_life_that_comes_with_an_old_file_has_the_services_of_the_log() {
    let mut world = cluster();
    world.kill(3);
    world.run(D * 4);
    assert!(world.configure(1, 1).is_ok());
    world.run(D);
    world.start(3);
    world.until("the third to have both services", SECOND * 3, |w| {
        let third = w.node(3);
        third.own_member().is_some() && third.services().len() == 2
    });
    world.run(D * 2);
    assert_eq!(services(&world, 1), services(&world, 3));
    let charter = world.node(3).configuration().charter;
    assert_eq!(charter, world.node(1).configuration().charter);
    assert!(world.node(1).configuration().holders.len() <= 3);
}
