//! A pair without a witness (S8, R-FENCE), as its operator sees it.

use crate::world::{D, World, id, service};
use base::Duration;
use driver::{Evidence, FencePolicy};
use ng_node::{Command, CommandDone, CommandRefused};
use services::Placement;
use wire::{Incarnation, Life, ServiceId};

const S: u16 = 0;
const ID: ServiceId = ServiceId(S);
const SECOND: Duration = Duration::from_millis(1_000);

fn pair(fence: FencePolicy) -> World {
    let mut spec = service(S, fence, Placement::Sticky);
    spec.nodes.pop();
    let mut world = World::of(2, vec![spec]);
    world.until("the first start on n1", SECOND, |w| w.settled(S, 1));
    world.run(D);
    world
}

fn confirm(n: u8) -> Command {
    Command::ConfirmOff { node: id(n) }
}

fn life(n: u8, incarnation: u32) -> Life {
    Life { node: id(n), incarnation: Incarnation(incarnation) }
}

fn why(world: &World, n: u8) -> String {
    world.node(n).quorum().why
}

#[test]
fn the_survivor_says_what_it_needs_and_takes_over_when_it_is_said() {
    for fence in [FencePolicy::Lease, FencePolicy::Fenced] {
        let mut world = pair(fence);
        assert_eq!(why(&world, 2), "all 2 votes");
        assert_eq!(world.order(2, confirm(1)), Err(CommandRefused::NodeIsAlive(id(1))));
        assert_eq!(world.order(2, confirm(2)), Err(CommandRefused::NodeIsAlive(id(2))));
        assert_eq!(world.order(2, confirm(3)), Err(CommandRefused::UnknownNode(id(3))));
        world.kill(1);
        world.run(SECOND);
        assert_eq!(world.serving(S), None, "one of two may be the wrong half");
        let sentence = why(&world, 2);
        assert!(sentence.starts_with("1 of 2 votes, 2 needed; not heard: n1"), "{sentence}");
        assert!(sentence.contains("`ng fence confirm n1`"), "{sentence}");
        let moved = world.order(2, Command::Move { service: ID, to: id(2) });
        assert!(matches!(moved, Err(CommandRefused::NoQuorum { .. })), "{moved:?}");

        let done = world.order(2, confirm(1)).unwrap();
        assert!(matches!(done, CommandDone::ConfirmedOff { life: l, .. } if l == life(1, 1)));
        let took = world.until("the takeover", D * 2, |w| w.settled(S, 2));
        println!("{fence:?}: {took} after the operator's word");
        let given = "1 of 2 votes; n1's vote is given by evidence (operator, life 1)";
        assert_eq!((why(&world, 2).as_str(), world.node(2).quorum().held), (given, true));
        let proof = world.node(2).service(ID).unwrap().evidence;
        assert!(matches!(proof, Some(Evidence::Operator(_))), "{proof:?}");

        world.start(1);
        world.until("both again", SECOND, |w| why(w, 1) == "all 2 votes");
        world.run(D);
        assert_eq!((why(&world, 2).as_str(), world.serving(S)), ("all 2 votes", Some(2)));
        assert_eq!(world.jobs(1), Vec::<String>::new(), "it takes nothing back");
        world.kill(1);
        world.run(SECOND);
        assert_eq!(world.serving(S), None, "what was said of life 1 says nothing of life 2");
    }
}

#[test]
fn the_owner_that_loses_the_other_keeps_nothing_running_until_it_is_said() {
    let mut world = pair(FencePolicy::Lease);
    world.kill(2);
    world.until("the lease ends", D * 2, |w| w.serving(S).is_none());
    world.run(D * 4);
    world.order(1, confirm(2)).unwrap();
    world.until("it is back", D * 2, |w| w.settled(S, 1));
    assert_eq!(world.node(1).service(ID).unwrap().owner, Some(id(1)));
}

#[test]
fn a_restart_needs_no_word_of_the_operator() {
    let mut world = pair(FencePolicy::Fenced);
    world.kill(1);
    world.run(SECOND);
    world.start(1);
    world.until("the takeover", SECOND, |w| w.settled(S, 2));
    let proof = world.node(2).service(ID).unwrap().evidence;
    assert!(matches!(proof, Some(Evidence::NewLife(_))), "{proof:?}");
}

#[test]
fn a_wrong_word_costs_the_living_its_life_and_nobody_the_service() {
    let mut world = pair(FencePolicy::Lease);
    world.cut.insert(id(1));
    world.run(SECOND);
    world.order(2, confirm(1)).unwrap();
    world.until("the takeover", D * 2, |w| w.serving(S) == Some(2));
    assert!(!world.superseded(1), "n1 knows of nothing");
    world.cut.clear();
    world.until("n1 learns it", SECOND, |w| w.superseded(1));
    world.leave(1);
    world.until("it has left, with nothing more to say", D, |w| w.node(1).has_left(w.now));
    world.run(SECOND);
    assert!(world.jobs(1).contains(&"stop".into()), "it owns nothing when it ends");
    assert_eq!(world.serving(S), Some(2));
    world.kill(1);
    world.start(1);
    world.until("n1 is back as its next life", SECOND, |w| why(w, 1) == "all 2 votes");
    assert_eq!(world.node(1).own_member().map(|m| m.life), Some(life(1, 2)));
    world.run(D);
    assert_eq!(world.serving(S), Some(2));
}

#[test]
fn a_life_without_memory_is_told_that_only_a_cold_start_helps() {
    let mut world = pair(FencePolicy::Lease);
    world.kill(1);
    world.kill(2);
    world.run(SECOND);
    world.start(2);
    world.run(SECOND);
    let refused = world.order(2, confirm(1)).unwrap_err();
    assert!(matches!(refused, CommandRefused::NoMemory(_)), "{refused:?}");
    assert!(refused.to_string().contains("cold start"), "{refused}");
    assert!(why(&world, 2).contains("not there yet: n1"), "{}", why(&world, 2));
    world.start(1);
    world.until("a cold start", SECOND * 2, |w| w.settled(S, 1));
}
