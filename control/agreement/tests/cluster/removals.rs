//! Removal of members that are not the primary, and what it waits for (R-ACK, R-SELF, R-OBIT).

use crate::pump::{Cluster, D, edition, id};
use base::Duration;
use ng_agreement::FenceRefused;
use wire::entry::{FenceProof, RemovalCause};
use wire::{EntryKind, Incarnation, Life, Message, Op};

fn cause(c: &Cluster) -> RemovalCause {
    let cause = |e: &wire::Entry| match e.kind {
        EntryKind::Remove { cause, .. } => Some(cause),
        _ => None,
    };
    c.truth.iter().rev().find_map(cause).expect("a removal")
}

#[test]
fn a_dead_follower_is_removed_within_three_hops_of_the_deadline() {
    let mut c = Cluster::running(3);
    let victim = c.life(3);
    c.kill(3);
    let took = c.until("all know", 60, |c| (1..=2).all(|n| c.knows_removed(n, victim)));
    assert!(took <= D + c.hop * 5, "{took}: Suspect, Prepare, PrepareOk, commit");
    assert!(took > Duration::from_millis(20), "{took}: not before its lease has ended");
    assert_eq!(cause(&c), RemovalCause::Silent);
}

#[test]
fn an_obituary_needs_no_deadline() {
    let mut c = Cluster::running(3);
    let (victim, stint) = (c.life(3), c.stint(3));
    c.kill(3);
    for n in 1..=2 {
        c.call(n, |a, now| a.handle_obituary(now, victim, stint));
    }
    let took = c.until("all know", 20, |c| (1..=2).all(|n| c.knows_removed(n, victim)));
    assert!(took <= c.hop * 4, "{took}");
    assert_eq!(cause(&c), RemovalCause::Obituary);
}

#[test]
fn an_obituary_of_an_earlier_stint_says_nothing_about_this_one() {
    let mut c = Cluster::running(3);
    let (victim, stint) = (c.life(3), c.stint(3));
    c.call(1, |a, now| a.handle_removal_order(now, id(3)));
    c.until("it is back under another stint", 300, |c| c.all_are_members() && c.stint(3) != stint);
    for n in 1..=2 {
        c.call(n, |a, now| a.handle_obituary(now, victim, stint));
    }
    c.run(100);
    assert!(c.all_are_members(), "R-OBIT");
}

#[test]
fn removal_of_a_member_that_is_heard_costs_at_most_the_deadline() {
    let mut c = Cluster::running(3);
    let victim = c.life(3);
    // Its own acknowledgement would complete the quorum, under a closed lease: keep it away.
    c.cut.insert((id(3), id(1)));
    c.call(1, |a, now| a.handle_removal_order(now, id(3)));
    let took = c.until("all know", 60, |c| (1..=2).all(|n| c.knows_removed(n, victim)));
    assert!(took <= D + c.hop * 4, "{took}: false suspicion is bounded");
    assert!(took > Duration::from_millis(15), "{took}: R-ACK 2");
    assert_eq!(cause(&c), RemovalCause::Operator);
}

#[test]
fn a_member_closes_its_lease_before_it_acknowledges_its_own_removal() {
    let mut c = Cluster::running(3);
    assert!(c.machines[&id(3)].holds_lease(c.now));
    c.call(1, |a, now| a.handle_removal_order(now, id(3)));
    c.until("3 has appended it", 10, |c| c.agreement(3).op() > c.agreement(3).commit());
    assert!(!c.machines[&id(3)].holds_lease(c.now), "R-SELF");
}

#[test]
fn a_truncated_removal_opens_the_lease_again() {
    let mut c = Cluster::running(5);
    let before = c.stint(5);
    // The primary tells only the victim of its removal, and dies; the others go on without that entry.
    for n in 2..=4 {
        c.cut.insert((id(1), id(n)));
        c.cut.insert((id(5), id(n)));
        c.cut.insert((id(n), id(5)));
    }
    c.call(1, |a, now| a.handle_removal_order(now, id(5)));
    c.until("5 has appended it", 10, |c| c.agreement(5).op() > c.agreement(5).commit());
    c.kill(1);
    assert!(!c.machines[&id(5)].holds_lease(c.now), "R-SELF");
    c.until("2 leads", 60, |c| c.primary() == Some(2) && c.agreement(2).waiting().is_none());
    c.cut.clear();
    c.until("5 follows", 60, |c| c.agrees());
    c.run(20);
    assert_eq!(c.stint(5), before, "the removal never was agreed");
    assert!(c.machines[&id(5)].holds_lease(c.now), "R-ACK 3");
}

#[test]
fn two_that_die_together_are_removed_together() {
    let mut c = Cluster::running(5);
    let victims = [c.life(4), c.life(5)];
    c.kill(4);
    c.kill(5);
    let known = |c: &Cluster| (1..=3).all(|n| victims.iter().all(|v| c.knows_removed(n, *v)));
    let took = c.until("all know", 60, known);
    assert!(took <= D + c.hop * 8, "{took}");
}

#[test]
fn one_voter_alone_removes_nobody() {
    let mut c = Cluster::running(3);
    c.deaf.insert((id(3), id(2)));
    c.run(300);
    assert!(c.all_are_members(), "2 alone calls 3 silent\n{}", c.describe());
}

#[test]
fn who_beats_and_does_not_acknowledge_is_removed() {
    let mut c = Cluster::running(3);
    let victim = c.life(3);
    c.cut.insert((id(3), id(1)));
    c.write(1, b"a");
    let took = c.until("it is out", 300, |c| c.knows_removed(1, victim));
    assert!(took >= D * 3, "{took}: R-PROGRESS");
    assert_eq!(cause(&c), RemovalCause::Progress);
}

#[test]
fn a_primary_that_beats_and_says_nothing_is_removed() {
    let mut c = Cluster::running(3);
    let victim = c.life(1);
    for n in 2..=3 {
        c.cut.insert((id(1), id(n)));
        c.cut.insert((id(n), id(1)));
    }
    c.until("it is out", 400, |c| (2..=3).all(|n| c.knows_removed(n, victim)));
}

#[test]
fn the_operators_word_is_an_entry() {
    let mut c = Cluster::running(3);
    c.kill(3);
    c.run(60);
    c.call(2, |a, now| a.handle_fenced_order(now, id(3)));
    c.run(10);
    let fenced =
        EntryKind::Fenced { node: id(3), incarnation: Incarnation(1), proof: FenceProof::Operator };
    assert_eq!(c.truth.iter().filter(|e| e.kind == fenced).count(), 1);
    assert_eq!(c.agreement(2).commit(), Op(c.truth.len() as u64));
}

#[test]
fn the_primary_hands_over_before_it_is_removed() {
    let mut c = Cluster::running(3);
    let (victim, stint) = (c.life(1), c.stint(1));
    c.call(1, |a, now| a.handle_removal_order(now, id(1)));
    c.until("another leads", 100, |c| c.primary().is_some_and(|n| n != 1));
    c.call(2, |a, now| a.handle_removal_order(now, id(1)));
    let out = |c: &Cluster| c.machines[&id(1)].agreement.roster().stint(victim) != stint;
    c.until("it is out", 200, out);
}

#[test]
fn an_obituary_of_a_primary_whose_control_still_runs_removes_it_at_once() {
    let mut c = Cluster::running(3);
    let (victim, stint) = (c.life(1), c.stint(1));
    c.machines.get_mut(&id(1)).unwrap().closed = stint;
    for n in 2..=3 {
        c.call(n, |a, now| a.handle_obituary(now, victim, stint));
    }
    let took = c.until("all know", 20, |c| (2..=3).all(|n| c.knows_removed(n, victim)));
    assert!(took <= c.hop * 8, "{took}");
}

#[test]
fn the_operators_word_is_not_taken_while_a_new_life_of_the_node_speaks() {
    let mut c = Cluster::running(3);
    let dead = c.life(3);
    c.kill(3);
    c.run(100);
    let answer = |c: &mut Cluster| {
        let mut answer = None;
        c.call(1, |a, now| answer = Some(a.check_fenced_order(now, id(3))));
        answer.unwrap()
    };
    assert_eq!(answer(&mut c), Ok(()));
    // Its fast path has not been heard yet: only this message tells of it.
    let new = Life { incarnation: Incarnation(dead.incarnation.0 + 1), ..dead };
    c.forge(
        new,
        1,
        Message::Join {
            removed_at: Op::ZERO,
            op: Op::ZERO,
            fresh: true,
            era: 0,
            edition: edition(),
        },
    );
    assert_eq!(answer(&mut c), Err(FenceRefused::Heard));
    c.run(2 * D.millis() + 1);
    assert_eq!(answer(&mut c), Ok(()), "it is silent again");
}

/// A node declared a deadline of ten, made it short again, and died: all call it silent soon, and its removal waits until the
/// lease can have ended that its earlier beats carried. Nobody is removed for not acknowledging meanwhile.
#[test]
fn who_waits_for_a_longer_lease_owes_no_acknowledgement() {
    let mut c = Cluster::running(5);
    c.declared.insert(id(3), D * 10);
    let victim = c.life(3);
    c.kill(3);
    let took = c.until("n3 is removed", 1_000, |c| c.knows_removed(1, victim));
    assert!(took >= D * 9, "R-ACK: {took}");
    c.run(200);
    let removals = c.truth.iter().filter(|e| matches!(e.kind, EntryKind::Remove { .. })).count();
    assert_eq!(removals, 1, "{}", c.describe());
}
