//! Entries that fit no datagram, in the simulator: they are agreed, they take their time, and a stream
//! that breaks costs no member its place.

use base::Duration;
use ng_sim::faults::Fault;
use ng_sim::shape::{Shape, id};
use ng_sim::world::World;
use node::Command;

const STEP: Duration = Duration::from_micros(500);

fn running(n: u8) -> World {
    let mut world = World::new(Shape::calm(n), 7);
    for node in 1..=n {
        world.start(id(node));
    }
    world.run(world.shape.deadline() * 20).unwrap();
    world
}

/// How long one entry takes to be agreed, asked at a node.
fn agreed(world: &mut World, node: u8, bytes: u32) -> Option<Duration> {
    let tag = world.command(id(node), Command::Probe { bytes }).unwrap();
    let span = world.shape.deadline() * 20;
    world.run_while(span, STEP, |w| matches!(w.replies.get(&tag), Some(Ok(_)))).unwrap()
}

#[test]
fn what_is_large_takes_the_stream_and_its_time() {
    let mut world = running(3);
    let small = agreed(&mut world, 1, 64).unwrap();
    assert_eq!(world.streams.carried, 0);
    let large = agreed(&mut world, 1, 1_048_576).unwrap();
    assert!(world.streams.carried > 0);
    // A megabyte at 1 Gbit/s.
    assert!(large > small + Duration::from_millis(8), "{large} after {small}");
    let forwarded = agreed(&mut world, 3, 1_048_576).unwrap();
    assert!(forwarded < Duration::from_millis(40), "{forwarded}");
    assert_eq!(world.checkers.log.removals(), 0);
}

#[test]
fn a_stream_that_breaks_costs_time_and_nobody_its_place() {
    let mut world = running(3);
    let tag = world.command(id(1), Command::Probe { bytes: 1_048_576 }).unwrap();
    for _ in 0..4 {
        world.run(Duration::from_millis(4)).unwrap();
        world.strike(Fault::BreakStreams(id(1)));
    }
    let answered = |w: &World| matches!(w.replies.get(&tag), Some(Ok(_)));
    let took = world.run_while(world.shape.deadline() * 20, STEP, answered).unwrap();
    assert!(took.is_some(), "it is never agreed");
    assert_eq!(world.checkers.log.removals(), 0);
}

/// A segment lost while the faults last may be sent again when twenty deadlines are over: a cluster is expected to be well only
/// so long after that. (Once all works again, nothing else is late.)
#[test]
fn what_tcp_sends_again_late_is_waited_for() {
    let mut shape = Shape::calm(3);
    (shape.interval, shape.misses) = (Duration::from_millis(2), 2);
    let mut world = World::new(shape, 7);
    (1..=3).for_each(|n| world.start(id(n)));
    let deadline = world.shape.deadline();
    world.run(deadline * 20).unwrap();
    world.network.quality.loss_ppm = 10_000;
    let mut asked = Vec::new();
    while world.streams_need() < deadline * 20 {
        asked.extend(world.command(id(1), Command::Probe { bytes: 100_000 }));
        world.run(deadline).unwrap();
    }
    world.heal();
    let (need, late) = (world.streams_need(), world.now);
    assert!(need > deadline * 20, "{need}");
    world.run(need).unwrap();
    assert!(world.streams_need() < deadline, "{}, since {late:?}", world.streams_need());
    let done = |w: &World| asked.iter().all(|tag| w.replies.contains_key(tag));
    assert!(world.run_while(deadline * 20, STEP, done).unwrap().is_some());
}
