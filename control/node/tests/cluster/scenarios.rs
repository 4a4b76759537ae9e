//! What a user would notice.

use crate::world::{D, World, id, service};
use base::Duration;
use driver::{Evidence, FencePolicy};
use heartbeat::EventKind;
use ng_node::{Command, CommandDone, CommandRefused, MemberState};
use services::{Phase, Placement, Refusal};
use wire::{Incarnation, ServiceId};

const S: u16 = 0;
const ID: ServiceId = ServiceId(S);
const SECOND: Duration = Duration::from_millis(1_000);
/// A removal takes the deadline; the rest is a few hops and the driver.
const FAILOVER: Duration = Duration::from_millis(40);

fn cluster(fence: FencePolicy, placement: Placement) -> World {
    let mut world = World::new(vec![service(S, fence, placement)]);
    world.until("the first start on n1", SECOND, |w| w.settled(S, 1));
    world.run(D);
    world
}

fn lease() -> World {
    cluster(FencePolicy::Lease, Placement::Sticky)
}

#[test]
fn a_cold_start_places_the_service_on_the_preferred_node() {
    let mut world = lease();
    assert_eq!(world.jobs(1), ["start"]);
    assert!(world.jobs(2).is_empty() && world.jobs(3).is_empty());
    let (open, owner) = world.board(1, S);
    assert!(owner);
    let status = world.node(2).service(ID).unwrap();
    assert_eq!((status.phase, status.generation.0), (Phase::Running, open));
    assert_eq!(status.evidence, Some(Evidence::NeverOwned));
    let status = world.node(3).status(world.now);
    assert!(status.quorum.held && status.lease_held, "{:?}", status.quorum);
    assert!(status.members.iter().all(|m| m.state == MemberState::Member && m.voter));
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);
}

#[test]
fn the_owners_death_moves_the_service_and_leaves_one_timeline_everywhere() {
    for phase in 0..4 {
        let mut world = lease();
        world.run(Duration::from_micros(2_500) * phase);
        world.kill(1);
        let took = world.until("the takeover", FAILOVER, |w| w.settled(S, 2));
        assert!(took > Duration::from_millis(20), "nobody may be that sure after {took}");
        for n in [2, 3] {
            let timeline = world.node(n).timelines().next().unwrap();
            assert_eq!(timeline.life.node, id(1));
            let (heard, agreed) = (timeline.last_heard.unwrap(), timeline.agreed.unwrap());
            assert!(agreed >= heard + D, "S2: agreed before the deadline of {heard:?}");
            let part = timeline.services[0];
            assert_eq!((part.service, part.to), (ID, Some(id(2))));
            assert_eq!(part.evidence, Some(Evidence::LeaseEnded(timeline.op.unwrap())));
            assert!(part.started.unwrap() >= agreed);
            assert_eq!(part.run.is_some() && part.ended.is_some(), n == 2);
        }
        assert!(world.node(2).why(ID).unwrap().summary.contains("n1 was removed"));
    }
}

#[test]
fn every_single_death_is_survived() {
    for victim in 1..=3 {
        let mut world = lease();
        world.kill(victim);
        let owner = if victim == 1 { 2 } else { 1 };
        world.run(FAILOVER);
        world.until("a running service", D, |w| w.settled(S, owner));
        let status = world.node(owner).status(world.now);
        assert_eq!(status.members[usize::from(victim) - 1].state, MemberState::Down);
        assert!(status.quorum.held);
    }
}

#[test]
fn a_returning_node_is_a_member_again_and_a_sticky_service_stays() {
    let mut world = lease();
    world.kill(1);
    world.until("the takeover", FAILOVER, |w| w.settled(S, 2));
    world.start(1);
    world.until("the return", SECOND, |w| w.node(1).own_member().is_some());
    world.run(SECOND * 5);
    assert!(world.settled(S, 2));
    assert!(world.jobs(1).is_empty());
    let status = world.node(3).status(world.now);
    assert!(status.members.iter().all(|m| m.state == MemberState::Member), "{status:?}");
}

#[test]
fn a_fail_back_service_goes_home_after_a_while() {
    let mut world = cluster(FencePolicy::Lease, Placement::FailBack);
    world.kill(1);
    world.until("the takeover", FAILOVER, |w| w.settled(S, 2));
    world.start(1);
    world.run(SECOND * 2);
    assert!(world.settled(S, 2), "not at once");
    world.until("the way home", SECOND * 3, |w| w.settled(S, 1));
    assert_eq!(world.jobs(2), ["start", "stop"]);
    let why = world.node(3).why(ID).unwrap();
    assert!(why.summary.contains("n1 is preferred to n2"), "{}", why.summary);
}

#[test]
fn a_planned_move_stops_first() {
    let mut world = lease();
    world.jobs(1);
    let done = world.order(3, Command::Move { service: ID, to: id(2) }).unwrap();
    let CommandDone::Moved { from, to, .. } = done else { panic!("{done:?}") };
    assert_eq!((from, to), (Some(id(1)), id(2)));
    world.until("the move", SECOND, |w| w.settled(S, 2));
    assert_eq!(world.jobs(1), ["stop"]);
    assert_eq!(world.board(1, S), (0, false));
    assert_eq!(world.node(1).timelines().count(), 0, "nobody was removed");
}

#[test]
fn an_order_that_cannot_be_done_is_refused_with_the_reason() {
    let mut world = lease();
    let there = world.order(2, Command::Move { service: ID, to: id(1) });
    assert_eq!(there, Err(Refusal::AlreadyThere(id(1)).into()));
    let unknown = world.order(2, Command::Move { service: ServiceId(9), to: id(1) });
    assert_eq!(unknown, Err(Refusal::UnknownService.into()));
    assert_eq!(
        world.order(2, Command::ConfirmOff { node: id(3) }),
        Err(CommandRefused::NodeIsAlive(id(3)))
    );
    world.kill(3);
    world.run(FAILOVER + D);
    let gone = world.order(2, Command::Move { service: ID, to: id(3) });
    assert_eq!(gone, Err(Refusal::NotAMember(id(3)).into()));
    world.kill(1);
    world.run(FAILOVER + D);
    let alone = world.order(2, Command::Move { service: ID, to: id(2) });
    let Err(CommandRefused::NoQuorum { why }) = alone else { panic!("{alone:?}") };
    assert!(why.contains("n1"), "{why}");
}

#[test]
fn two_of_three_gone_stops_everything_and_says_why() {
    let mut world = lease();
    world.kill(2);
    world.kill(3);
    world.run(D + D);
    assert_eq!(world.serving(S), None, "S8");
    assert_eq!(world.jobs(1), ["start", "withdraw"]);
    assert_eq!(world.board(1, S).0, 0);
    let status = world.node(1).status(world.now);
    assert!(!status.quorum.held && !status.lease_held);
    assert!(status.quorum.why.contains("n2") && status.quorum.why.contains("n3"));
    assert_eq!(status.alarms[0].code, "withdrawn");
    world.run(SECOND);
    assert_eq!(world.jobs(1), ["stop"], "a lapse that lasts ends what was only withdrawn");
}

#[test]
fn a_short_lapse_withdraws_and_restores_without_a_new_generation() {
    let mut world = lease();
    world.jobs(1);
    let (generation, _) = world.board(1, S);
    // Both others hear n1 all the time; only its lease is late, as when two beats in a row get no
    // echo.
    world.stall_lease(1, Duration::from_millis(35));
    assert_eq!(world.jobs(1), ["withdraw"]);
    assert_eq!(world.board(1, S).0, 0);
    world.until("the restore", D, |w| w.serving(S) == Some(1));
    assert_eq!(world.jobs(1), ["restore"]);
    assert_eq!(world.board(1, S).0, generation);
    assert_eq!(world.node(2).timelines().count(), 0);
}

#[test]
fn a_false_suspicion_of_the_owner_is_a_clean_failover_and_the_life_returns() {
    let mut world = lease();
    world.jobs(1);
    world.cut.insert(id(1));
    world.until("the takeover", FAILOVER, |w| w.settled(S, 2));
    assert_eq!(world.jobs(1), ["withdraw"]);
    let before = world.node(1).own_member();
    world.cut.clear();
    world.until("the return of the same life", SECOND, |w| {
        w.node(1).own_member().is_some_and(|now| Some(now) != before)
    });
    world.run(D);
    let after = world.node(1).own_member();
    assert_eq!(after.map(|m| m.life), before.map(|m| m.life));
    assert_eq!(world.jobs(1), ["stop"]);
    assert!(world.settled(S, 2));
}

#[test]
fn a_fenced_service_waits_for_proof_and_takes_the_operators_word() {
    let mut world = cluster(FencePolicy::Fenced, Placement::Sticky);
    world.kill(1);
    world.run(SECOND);
    assert_eq!(world.serving(S), None);
    let status = world.node(2).service(ID).unwrap();
    assert_eq!((status.phase, status.owner), (Phase::WaitingForFence, Some(id(1))));
    let why = world.node(3).why(ID).unwrap();
    assert!(why.remedies.iter().any(|r| r.contains("ng fence confirm n1")), "{why:?}");
    let done = world.order(3, Command::ConfirmOff { node: id(1) }).unwrap();
    assert!(matches!(done, CommandDone::ConfirmedOff { life, .. } if life.node == id(1)));
    world.until("the start on n2", D, |w| w.settled(S, 2));
    let part = world.node(2).timelines().next().unwrap().services[0];
    assert!(matches!(part.evidence, Some(Evidence::Operator(_))));
}

#[test]
fn a_fenced_service_does_not_start_beside_a_node_that_nobody_has_heard() {
    let mut world = World::new(vec![service(S, FencePolicy::Fenced, Placement::Sticky)]);
    world.kill(3);
    world.run(SECOND);
    let status = world.node(1).status(world.now);
    assert!(status.quorum.held, "{}", status.quorum.why);
    assert_eq!(status.services[0].phase, Phase::Idle);
    assert!(status.services[0].reason.contains("n3"), "{}", status.services[0].reason);
    world.order(2, Command::ConfirmOff { node: id(3) }).unwrap();
    world.until("a start on the operator's word", D, |w| w.settled(S, 1));
    world.start(3);
    world.until("n3 as a member", SECOND, |w| w.node(3).own_member().is_some());
    assert!(world.settled(S, 1));
}

#[test]
fn a_fenced_service_starts_when_the_last_of_its_nodes_says_that_it_is_clean() {
    let mut world = World::new(vec![service(S, FencePolicy::Fenced, Placement::Sticky)]);
    world.kill(3);
    world.run(SECOND);
    assert_eq!(world.serving(S), None);
    world.start(3);
    world.until("a start", SECOND, |w| w.settled(S, 1));
}

#[test]
fn a_fenced_service_goes_on_when_its_owner_restarts() {
    let mut world = cluster(FencePolicy::Fenced, Placement::Sticky);
    world.kill(1);
    world.run(SECOND);
    world.start(1);
    world.until("a start", SECOND, |w| w.settled(S, 1));
    let evidence = world.node(2).service(ID).unwrap().evidence;
    assert!(matches!(evidence, Some(Evidence::NewLife(_))), "{evidence:?}");
}

#[test]
fn a_fenced_service_goes_on_when_its_owner_was_only_cut_off() {
    let mut world = cluster(FencePolicy::Fenced, Placement::Sticky);
    world.cut.insert(id(1));
    world.run(D * 4);
    assert_eq!(world.node(2).service(ID).unwrap().phase, Phase::WaitingForFence);
    world.cut.clear();
    world.until("a start", SECOND, |w| w.serving(S).is_some());
    let evidence = world.node(2).service(ID).unwrap().evidence;
    assert!(matches!(evidence, Some(Evidence::Stopped(_))), "{evidence:?}");
}

#[test]
fn a_broken_node_is_passed_over_and_a_service_broken_everywhere_has_failed() {
    let mut world = World::new(vec![service(S, FencePolicy::Lease, Placement::Sticky)]);
    world.broken.insert((id(1), ID));
    world.until("a start on n2", SECOND, |w| w.settled(S, 2));
    let status = world.node(3).service(ID).unwrap();
    assert_eq!(status.failed_on.len(), 1);
    world.broken.extend([(id(2), ID), (id(3), ID)]);
    world.kill(2);
    world.until("a failure", SECOND, |w| w.node(3).service(ID).unwrap().phase != Phase::Running);
    world.run(SECOND);
    let status = world.node(3).service(ID).unwrap();
    assert_eq!(status.failed_on.len(), 2);
    assert!(status.reason.contains("n2 is not a member"), "{}", status.reason);
    world.broken.clear();
    world.order(3, Command::ClearFailures { service: ID }).unwrap();
    world.until("a start after the repair", SECOND, |w| w.settled(S, 1));
}

#[test]
fn a_daemon_that_leaves_hands_over_first() {
    let mut world = cluster(FencePolicy::Fenced, Placement::Sticky);
    world.leave(1);
    let took = world.until("the hand-over", D, |w| w.settled(S, 2));
    assert!(took < Duration::from_millis(10), "no deadline is in it: {took}");
    assert!(world.node(1).has_left(world.now));
    world.kill(1);
    world.run(FAILOVER);
    assert!(world.settled(S, 2));
}

#[test]
fn a_daemon_that_leaves_alone_just_stops() {
    let mut world = lease();
    world.kill(2);
    world.kill(3);
    world.run(D * 2);
    world.leave(1);
    world.run(Duration::from_millis(2_100));
    assert!(world.node(1).has_left(world.now));
    assert!(world.jobs(1).contains(&"stop".into()));
}

#[test]
fn a_restart_of_all_begins_another_era_with_higher_tokens() {
    let mut world = lease();
    let (before, _) = world.board(1, S);
    (1..=3).for_each(|n| world.kill(n));
    world.run(SECOND);
    (1..=3).for_each(|n| world.start(n));
    world.until("a start", SECOND, |w| w.settled(S, 1));
    assert!(world.board(1, S).0 > before);
    assert_eq!(world.node(1).status(world.now).era, 2);
}

#[test]
fn an_owner_that_is_removed_under_a_running_lease_closes_before_that_is_agreed() {
    let mut world = lease();
    world.jobs(1);
    // A false obituary: n1 lives, is heard, and its lease runs.
    let me = world.node(1).own_member().unwrap();
    for n in [2, 3] {
        world.event(n, EventKind::Obituary { life: me.life, stint: me.stint });
    }
    world.until("the takeover", D, |w| w.settled(S, 2) || w.node(2).timelines().count() > 0);
    world.run(D);
    assert_eq!(world.jobs(1), ["withdraw", "stop"], "R-SELF first, the reflex after the commit");
    let timeline = world.node(3).timelines().last().unwrap();
    assert!(timeline.obituary.is_some());
    assert!(timeline.agreed < timeline.deadline, "an obituary waits for no deadline");
}

#[test]
fn a_superseded_life_stops_what_it_has_before_it_ends() {
    let mut world = lease();
    world.jobs(1);
    let newer = wire::Life { node: wire::NodeId::new(1).unwrap(), incarnation: Incarnation(9) };
    world.event(1, EventKind::Appeared { life: newer });
    assert!(world.superseded(1));
    assert_eq!(world.jobs(1), ["stop", "end"]);
    assert_eq!(world.board(1, S).0, 0);
}

#[test]
fn who_is_heard_cannot_be_off() {
    let mut world = lease();
    world.kill(3);
    world.run(D * 2);
    world.start(3);
    world
        .until("n3 heard, member or not", D, |w| w.node(2).members()[2].state != MemberState::Down);
    let refused = world.order(2, Command::ConfirmOff { node: id(3) });
    assert_eq!(refused, Err(CommandRefused::NodeIsAlive(id(3))));
    let unknown = world.order(2, Command::ConfirmOff { node: id(7) });
    assert_eq!(unknown, Err(CommandRefused::UnknownNode(id(7))));
}

#[test]
fn an_order_that_is_not_agreed_in_time_is_answered_all_the_same() {
    let mut world = lease();
    world.kill(2);
    world.kill(3);
    let lost = world.order(1, Command::Move { service: ID, to: id(2) });
    assert_eq!(lost, Err(CommandRefused::Timeout));
}

#[test]
fn the_survivor_of_a_lost_era_stops_and_joins_the_next() {
    let mut world = lease();
    world.jobs(1);
    world.cut.insert(id(1));
    (2..=3).for_each(|n| world.kill(n));
    world.run(D * 2);
    (2..=3).for_each(|n| world.start(n));
    world.until("the next era without n1", SECOND, |w| w.settled(S, 2));
    assert_eq!(world.jobs(1), ["withdraw"]);
    world.cut.clear();
    world.until("the end of the old membership", D, |w| w.node(1).own_member().is_none());
    world.until("n1 in the next era", SECOND, |w| {
        w.node(1).own_member().is_some() && w.node(1).status(w.now).era == 2
    });
    world.run(D);
    assert_eq!(world.jobs(1), ["stop"]);
    assert!(world.settled(S, 2));
}
