//! Deadlines that beats declare, settings that change while a life runs, and leases by two electorates.

use super::{MS, One, at, life, node, settings, suspects, told};
use crate::{Action, EventKind, Settings};
use base::{Duration, Instant, Prng};
use wire::{EchoBody, NodeSet, Seq, Stint};

/// The length of a lease for a deadline of so many milliseconds.
fn lease(deadline: u64) -> Duration {
    Duration(deadline * MS - deadline * MS / 500 - 50_000)
}

fn accuses(actions: &[Action], n: u8) -> bool {
    told(actions)
        .iter()
        .any(|kind| matches!(kind, EventKind::Suspected { life, .. } if life.node == node(n)))
}

fn answers(actions: &[Action]) -> Vec<EchoBody> {
    let answer = |action: &Action| match action {
        Action::Answer { echo, .. } => Some(*echo),
        _ => None,
    };
    actions.iter().filter_map(answer).collect()
}

#[test]
fn a_peer_is_silent_by_what_it_declares_and_before_its_first_beat_by_the_own_deadline() {
    let (mut a, mut slow, mut quick) = (One::new(1), One::beating(2, 100), One::beating(3, 2));
    let (from_slow, from_quick) = (slow.beat(at(0)), quick.beat(at(0)));
    a.hear(at(0), 0, 2, &from_slow);
    a.hear(at(0), 0, 3, &from_quick);
    a.turn(at(1));
    assert_eq!(a.heart.poll_deadline(), Some(at(6)), "the one that beats every 2 ms");
    assert!(!accuses(&a.turn(Instant(at(6).0 - 1)), 3));
    let silent = told(&a.turn(at(6)));
    let (heard, deadline) = (at(0), at(6));
    let stint = Stint(4);
    assert!(silent.contains(&EventKind::Suspected { life: life(3), stint, heard, deadline }));
    for ms in 7..300 {
        assert!(!accuses(&a.turn(at(ms)), 2), "at {ms} ms");
    }
    assert!(accuses(&a.turn(at(300)), 2));
    // Another life of it has declared nothing yet.
    let newer = wire::Life { node: node(2), incarnation: wire::Incarnation(2) };
    a.heart.handle_obituary(at(400), newer, &wire::Obituary { stint: Stint::NONE });
    a.heart.handle_obituary(at(400), life(3), &wire::Obituary { stint: Stint(4) });
    a.turn(at(401));
    assert_eq!(a.board.slowest(), Duration::from_millis(30), "who is not heard does not count");
}

#[test]
fn the_seal_waits_for_the_longest_that_was_declared_and_echoed() {
    let (mut a, mut b) = (One::new(1), One::beating(2, 100));
    let beat = b.beat(at(0));
    a.hear(at(0), 0, 2, &beat);
    b.heart.handle_settings(at(1), settings(2, 10));
    let beat = b.beat(at(100));
    a.hear(at(100), 0, 2, &beat);
    assert_eq!(a.board.heard(node(2)), at(100));
    let frozen = a.board.freeze(node(2), Stint(3));
    assert_eq!((frozen.heard, frozen.end), (at(100), at(300)), "not 130: the first was echoed too");
    // What comes after the freeze is not echoed, and moves nothing.
    let beat = b.beat(at(290));
    a.hear(at(290), 0, 2, &beat);
    assert_eq!(a.board.echo_end(node(2)), at(300));
    a.board.unfreeze(node(2));
    let beat = b.beat(at(291));
    a.hear(at(291), 0, 2, &beat);
    assert_eq!(a.board.echo_end(node(2)), at(321));
}

#[test]
fn a_lease_is_as_long_as_the_beat_declared_that_was_echoed() {
    let (mut a, mut b) = (One::new(1), One::new(2));
    let first = a.beat(at(0));
    b.hear(at(0), 0, 1, &first);
    // Between the beat and its echo the deadline becomes ten times as long; the peer was not told so.
    a.heart.handle_settings(at(1), settings(1, 100));
    let back = b.beat(at(2));
    a.hear(at(2), 0, 2, &back);
    assert_eq!(a.board.lease_end(), at(0) + lease(30));
    let second = a.beat(at(10));
    b.hear(at(10), 0, 1, &second);
    // And shorter again: the peer has promised the long one.
    a.heart.handle_settings(at(11), settings(1, 10));
    let back = b.beat(at(12));
    a.hear(at(12), 0, 2, &back);
    assert_eq!(a.board.lease_end(), at(10) + lease(300));
    assert_eq!(b.board.echo_end(node(1)), at(310));
    // An echo of a later and shorter beat takes nothing back.
    let third = a.beat(at(20));
    b.hear(at(20), 0, 1, &third);
    let back = b.beat(at(21));
    a.hear(at(21), 0, 2, &back);
    assert_eq!(a.board.lease_end(), at(10) + lease(300));
}

#[test]
fn who_beats_faster_than_this_node_is_answered_at_once() {
    let (mut quick, mut slow) = (One::new(1), One::beating(2, 100));
    let beat = quick.beat(at(0));
    let echoes = answers(&slow.hear(at(0), 0, 1, &beat));
    assert_eq!(echoes.len(), 1, "its lease would end before the next beat of this node");
    quick.heart.handle_echo(at(1), life(2), &echoes[0], &quick.board);
    assert!(quick.board.lease_holds(at(29)));
    let beat = slow.beat(at(2));
    assert!(answers(&quick.hear(at(2), 0, 2, &beat)).is_empty());
    let beat = One::new(3).beat(at(2));
    assert!(answers(&quick.hear(at(2), 0, 3, &beat)).is_empty(), "equals echo in their beats");
}

/// Beats of `one` within the time, by turns of half a millisecond.
fn beats(one: &mut One, from: u64, until: u64) -> Vec<(u64, Duration)> {
    let mut all = vec![];
    for half in from * 2..until * 2 {
        let now = at(0) + Duration(half * MS / 2);
        if one.turn(now).contains(&Action::Beat) {
            all.push((half / 2, one.beat(now).1.deadline));
        }
    }
    all
}

#[test]
fn a_longer_interval_is_declared_at_once_and_kept_after_beats_enough_to_be_heard() {
    let mut a = One::new(1);
    beats(&mut a, 0, 15);
    a.heart.handle_settings(at(15), settings(1, 100));
    let then = beats(&mut a, 15, 400);
    assert!(then.iter().all(|(_, deadline)| *deadline == Duration::from_millis(300)), "{then:?}");
    let gaps: Vec<u64> = then.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(then[0].0 <= 20, "the cadence stays: {then:?}");
    assert!(gaps[..3].iter().all(|gap| *gap <= 10) && gaps[3] >= 97, "{gaps:?}");
}

#[test]
fn two_beats_lost_in_the_middle_of_a_change_make_no_suspect() {
    for lost in [[0, 1], [1, 2], [2, 3]] {
        let (mut a, mut b) = (One::new(1), One::new(2));
        let mut since = None;
        for half in 0..1_000 {
            let now = at(0) + Duration(half * MS / 2);
            if half == 105 {
                b.heart.handle_settings(now, settings(2, 100));
                since = Some(0);
            }
            if b.turn(now).contains(&Action::Beat) {
                let beat = b.beat(now);
                if !since.is_some_and(|n| lost.contains(&n)) {
                    a.hear(now, 0, 2, &beat);
                    a.hear(now, 1, 2, &beat);
                }
                since = since.map(|n| n + 1);
            }
            assert!(!accuses(&a.turn(now), 2), "{lost:?} lost, at {now:?}");
        }
    }
}

#[test]
fn a_shorter_interval_begins_with_the_next_beat() {
    let mut a = One::beating(1, 100);
    beats(&mut a, 0, 50);
    a.heart.handle_settings(at(50), settings(1, 10));
    let then = beats(&mut a, 50, 150);
    assert!((97..100).contains(&then[0].0), "{then:?}");
    assert!(then.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 10) && then.len() >= 5, "{then:?}");
}

#[test]
fn control_has_its_new_limit_from_the_change_on() {
    let mut a = One::beating(1, 100);
    a.turn(at(0));
    // It turned 200 ms ago, which was often enough.
    a.heart.handle_settings(at(200), settings(1, 10));
    a.heart.handle_timeout(at(289), &a.board);
    assert_ne!(a.heart.poll_deadline(), None);
    assert!(!a.actions().iter().any(|action| matches!(action, Action::Obituary(_))));
    a.heart.handle_timeout(at(290), &a.board);
    assert!(a.actions().iter().any(|action| matches!(action, Action::Obituary(_))));
}

#[test]
fn nodes_come_and_go() {
    let (mut a, mut d) = (One::new(1), One::new(3));
    let with = |nodes: u128| Settings { nodes: NodeSet(nodes), ..settings(1, 10) };
    a.heart.handle_settings(at(10), with(0b11));
    assert_eq!(suspects(&a.turn(at(30))), 1, "node 3 is nobody's peer any more");
    assert!(a.beat(at(31)).1.echo(node(3)).is_none());
    a.heart.handle_settings(at(50), with(0b111));
    assert!(!accuses(&a.turn(at(79)), 3), "it has a whole deadline from now on");
    let beat = d.beat(at(60));
    a.hear(at(60), 0, 3, &beat);
    assert!(a.beat(at(61)).1.echo(node(3)).is_some());
    assert!(accuses(&a.turn(at(90)), 3));
    // This node is never without itself.
    a.heart.handle_settings(at(91), with(0b110));
    a.exchange(at(92), &mut One::new(2));
    assert!(a.board.lease_holds(at(93)));
}

#[test]
fn a_lease_needs_the_majority_in_both_electorates_and_ends_where_the_later_does_not_support_it() {
    let (mut a, mut b) = (One::new(1), One::new(2));
    a.exchange(at(0), &mut b);
    assert!(a.board.lease_holds(at(1)), "two of three");
    a.board.set_voters_next(NodeSet(0b1111));
    a.turn(at(2));
    assert!(!a.board.lease_holds(at(2)), "two of four");
    let mut c = One::new(3);
    a.exchange(at(3), &mut c);
    assert!(!a.board.lease_holds(Instant(at(0).0 + lease(30).0)), "as long as the elder of both");
    assert!(a.board.lease_holds(at(4)), "three of four");
    // Committed: the later one alone from now on.
    a.board.set_voters(NodeSet(0b1111));
    a.board.set_voters_next(NodeSet::EMPTY);
    a.turn(at(5));
    assert!(a.board.lease_holds(at(5)));
    // Or truncated.
    a.board.set_voters_next(NodeSet(0b11111));
    a.board.set_voters_next(NodeSet::EMPTY);
    a.turn(at(6));
    assert!(a.board.lease_holds(at(6)));
}

/// By arbitrary electorates, gifts, beats of both lengths, and echoes: the lease ends exactly where in *each* electorate
/// a majority has promised, counting this node and gifts without end.
#[test]
fn whoever_leases_has_the_majority_of_every_electorate() {
    let mut dice = Prng::new(0x1EA5E);
    for round in 0..2_000 {
        let mut a = One::new(1);
        let draw = |dice: &mut Prng| NodeSet(u128::from(dice.below(64)) | 1);
        let (voters, next) = (draw(&mut dice), draw(&mut dice));
        let next = if dice.chance(1, 4) { NodeSet::EMPTY } else { next };
        let given = if dice.chance(1, 8) { NodeSet(1 << dice.below(6)) } else { NodeSet::EMPTY };
        for n in 1..=6 {
            a.board.set_roster(node(n), wire::Incarnation(1));
        }
        a.board.set_given(given);
        a.board.set_voters(voters);
        a.board.set_voters_next(next);
        // What each peer has promised.
        let mut promised = [Instant::ZERO; 7];
        promised[1] = Instant::MAX;
        given.iter().for_each(|n| promised[usize::from(n.get())] = Instant::MAX);
        for step in 1..12 {
            let long = dice.chance(1, 3);
            a.heart.handle_settings(at(step), settings(1, if long { 100 } else { 10 }));
            let (seq, _) = a.beat(at(step));
            let end = at(step) + lease(if long { 300 } else { 30 });
            for n in 2..=6_u8 {
                if !dice.chance(1, 4) {
                    continue;
                }
                let echo = wire::Echo::new(Seq(seq.0), wire::Incarnation(1), Duration::ZERO);
                let body = EchoBody { to: node(1), stint: Stint(2), echo };
                a.heart.handle_echo(at(step), life(n), &body, &a.board);
                let known = &mut promised[usize::from(n)];
                *known = (*known).max(end);
            }
        }
        let end_in = |electorate: NodeSet| {
            let mut ends: Vec<Instant> =
                electorate.iter().map(|n| promised[usize::from(n.get())]).collect();
            ends.sort_unstable_by(|x, y| y.cmp(x));
            ends[electorate.len() / 2]
        };
        let mut expected = end_in(voters);
        if !next.is_empty() {
            expected = expected.min(end_in(next));
        }
        let told = a.board.lease_end();
        if expected == Instant::MAX {
            assert!(told <= at(12) + lease(300), "round {round}");
        } else {
            assert_eq!(told, expected, "round {round}: {voters:?} {next:?} {given:?}");
        }
    }
}

#[test]
fn a_beat_declares_whole_microseconds_and_the_lease_is_no_longer() {
    let odd = Settings { interval: Duration(10_000_333), ..settings(1, 10) };
    assert_eq!(odd.deadline(), Duration::from_micros(30_000));
    assert_eq!(odd.lease(), lease(30));
}
