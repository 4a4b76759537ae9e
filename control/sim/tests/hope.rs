//! What is to be expected of a cluster whose faults have stopped (I11), judged by who is there.

use base::Duration;
use ng_sim::checkers::progress::{Hope, hope, missing};
use ng_sim::shape::{Shape, id};
use ng_sim::world::World;

/// Three voters, the witnesses among them, that run.
fn running(witnesses: &[u8]) -> World {
    let mut shape = Shape::calm(3);
    shape.witnesses = witnesses.iter().copied().map(id).collect();
    let mut world = World::new(shape, 7);
    (1..=3).for_each(|n| world.start(id(n)));
    world.run(world.shape.deadline() * 20).unwrap();
    assert_eq!(hope(&world), Hope::Goes);
    world
}

fn restart(world: &mut World, nodes: &[u8]) {
    nodes.iter().for_each(|n| world.cut(id(*n)));
    world.run(world.shape.deadline() * 2).unwrap();
    nodes.iter().for_each(|n| world.start(id(*n)));
    world.run(Duration::from_millis(400)).unwrap();
}

/// Seed 514 of an hour: both witnesses have restarted. They are a majority of fresh lives, and neither may lead.
#[test]
fn witnesses_alone_begin_nothing() {
    let mut world = running(&[1, 3]);
    restart(&mut world, &[1, 3]);
    assert_eq!(hope(&world), Hope::Stuck);
    let era = world.checkers.log.era();
    world.run(world.shape.deadline() * 30).unwrap();
    assert_eq!((hope(&world), world.checkers.log.era()), (Hope::Stuck, era));
    restart(&mut world, &[2]);
    world.run(world.shape.deadline() * 20).unwrap();
    assert_eq!((missing(&world, false), world.checkers.log.era()), (None, era + 1));
}

#[test]
fn a_majority_with_one_that_may_lead_begins() {
    let mut world = running(&[3]);
    restart(&mut world, &[1, 3]);
    world.run(world.shape.deadline() * 20).unwrap();
    assert_eq!((missing(&world, false), world.checkers.log.era()), (None, 2));
}
