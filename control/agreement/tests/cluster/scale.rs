//! What must not multiply with the number of nodes: questions, opinions, what is held for others.

use crate::pump::{Cluster, D, id};
use base::Duration;
use ng_agreement::Limits;
use wire::{Message, Op};

/// A life that lacks a thousand entries gets them in some dozens of messages, while the primary goes on and on.
#[test]
fn an_answer_of_many_messages_is_asked_for_once() {
    let mut c = Cluster::running(3);
    c.kill(3);
    for n in 0..1_000_u16 {
        c.write(1, &n.to_le_bytes());
        if n % 16 == 0 {
            c.run(1);
        }
    }
    c.run(50);
    (c.hop, c.fetches) = (Duration::from_millis(2), 0);
    c.start(3);
    for n in 0..40_u16 {
        c.write(1, &n.to_le_bytes());
        c.run(1);
    }
    c.until("3 has it all", 1_000, |c| c.all_are_members() && c.applied(3).len() == 1_040);
    assert!(c.fetches <= 5, "{} questions", c.fetches);
}

/// What comes in one piece closes the question: the next gap is asked for at once, without waiting for an interval.
#[test]
fn the_next_gap_after_an_answer_is_asked_for_at_once() {
    let mut c = Cluster::running(3);
    let prepare =
        |m: &Message| matches!(m, Message::Prepare { entries, .. } if !entries.is_empty());
    c.fetches = 0;
    for gap in 1..=3_usize {
        c.write(1, b"lost");
        c.lose(|p| p.to == id(3) && prepare(&p.message));
        c.write(1, b"seen");
        let took = c.until("it has both", 8, |c| c.applied(3).len() == 2 * gap);
        assert!(took <= c.hop * 6, "{took}");
        c.until("all have both", 8, Cluster::agrees);
    }
    assert_eq!(c.fetches, 3);
}

/// Only sets of voters count, so only voters tell theirs.
#[test]
fn who_has_no_vote_tells_nobody_whom_it_suspects() {
    let mut c = Cluster::with_voters(6, &[1, 2, 3, 4, 5, 6], &[1, 2, 3]);
    let (member, primary) = (c.life(6), c.life(1));
    c.suspects.clear();
    c.kill(6);
    c.until("a member is removed", 100, |c| c.knows_removed(2, member));
    c.kill(1);
    c.until("the primary is removed", 100, |c| c.knows_removed(5, primary));
    let told: Vec<u8> = c.suspects.keys().map(|node| node.get()).collect();
    assert_eq!(told, [1, 2, 3]);
}

/// A vote that comes while somebody is suspected: what was not told before is told now.
#[test]
fn who_gets_a_vote_tells_whom_it_suspects() {
    let mut c = Cluster::running(3);
    // 2 hears nothing of 3 and nothing of what is decided about it; then 2 is blank, and gets its vote again.
    c.kill(2);
    c.until("it is out", 100, |c| c.agreement(1).roster().members().count() == 2);
    c.start(2);
    c.until("it is back", 100, Cluster::all_are_members);
    let third = c.life(3);
    c.suspects.clear();
    c.kill(3);
    c.until("3 is removed", 100, |c| c.knows_removed(1, third));
    assert!(c.suspects.contains_key(&id(2)));
}

/// Whoever asks for slices of an old snapshot again and again, and never comes on, does not hold it for ever.
#[test]
fn a_pull_without_an_end_does_not_pin_an_old_snapshot() {
    let mut c = Cluster::empty(3, &[]);
    c.limits = Limits { snapshot_every: 8, kept: 4, slice: 128, ..Limits::default() };
    (1..=3).for_each(|n| c.start(n));
    c.until("all are members", 300, Cluster::all_are_members);
    let write = |c: &mut Cluster, count: u8| {
        for number in 0..count {
            let before = c.applied(1).len();
            c.write(1, &[number]);
            c.until("it is written", 200, |c| c.applied(1).len() > before);
        }
    };
    write(&mut c, 20);
    let old = c.agreement(1).snapshot().cloned().unwrap();
    let puller = c.life(3);
    c.kill(3);
    c.until("it is out", 100, |c| c.knows_removed(1, puller));
    let (op, op_term) = (old.op, old.op_term);
    let ask = |c: &mut Cluster| {
        c.forge(puller, 1, Message::FetchSlice { op, op_term, index: 0 });
        let slice = |m: &Message| matches!(m, Message::Slice { op: at, .. } if *at == op);
        let answered = c.packets.iter().any(|p| p.to == id(3) && slice(&p.message));
        c.lose(|p| p.to == id(3));
        answered
    };
    assert!(ask(&mut c));
    write(&mut c, 20);
    assert!(c.agreement(1).snapshot().is_some_and(|newest| newest.op > op));
    assert!(ask(&mut c), "it is held for whoever pulls it");
    let mut held = 0;
    while ask(&mut c) {
        held += 1;
        assert!(held < 10, "held for ever");
        write(&mut c, 1);
        c.run(5 * D.millis());
    }
    assert!(held > 0);
    // What was kept because of it goes, too.
    write(&mut c, 20);
    c.run(4 * D.millis());
    let log = c.agreement(1).log();
    assert!(log.base() > Op(op.0 + 8) && log.len() <= 20, "{} of {}", log.base(), log.op());
}

/// R-RELEASE with members that have no vote: their acknowledgements release, one by one and nothing else.
#[test]
fn what_members_without_a_vote_acknowledge_is_released() {
    let mut c = Cluster::with_voters(6, &[1, 2, 3, 4, 5, 6], &[1, 2, 3]);
    c.cut.insert((id(6), id(1)));
    let before = c.agreement(1).release();
    c.write(1, b"a");
    c.until("it is committed", 5, |c| c.applied(1) == [b"a"]);
    c.run(2);
    assert_eq!(c.agreement(1).release(), before, "6 has not acknowledged it");
    c.cut.clear();
    c.until("it is released", 25, |c| c.agreement(1).release() == c.agreement(1).commit());
    c.until("all know that", 25, |c| c.agreement(5).release() == c.agreement(1).commit());
}

/// Members without a vote leave it to the voters to ask others when the primary falls silent.
#[test]
fn when_the_primary_falls_silent_the_voters_ask() {
    let mut c = Cluster::with_voters(6, &[1, 2, 3, 4, 5, 6], &[1, 2, 3]);
    let primary = c.life(1);
    c.kill(1);
    c.fetches = 0;
    c.until("it is removed", 100, |c| c.knows_removed(5, primary));
    assert!(c.fetches <= 2, "{}", c.fetches);
}
