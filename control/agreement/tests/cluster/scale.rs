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

/// Bytes of the entries that a message brings again.
fn brought(message: &Message) -> usize {
    match message {
        Message::Prepare { entries, .. } => entries.iter().map(|entry| entry.size()).sum(),
        _ => 0,
    }
}

/// Lets `ms` pass while nothing that brings entries arrives at these nodes; what was sent to them: the most messages and
/// bytes in one interval, and the bytes in all.
fn starve(c: &mut Cluster, nodes: &[u8], ms: u64) -> (usize, usize, usize) {
    let (mut interval, mut most, mut all) = ((0, 0), (0, 0), 0);
    for step in 1..=ms * 10 {
        c.step();
        let is_for = |to| nodes.iter().any(|n| id(*n) == to);
        let sizes = c.packets.iter().filter(|p| is_for(p.to)).map(|p| brought(&p.message));
        for size in sizes.filter(|size| *size > 0) {
            (interval, all) = ((interval.0 + 1, interval.1 + size), all + size);
        }
        c.lose(|p| is_for(p.to) && brought(&p.message) > 0);
        if step % 100 == 0 {
            most = (most.0.max(interval.0), most.1.max(interval.1));
            interval = (0, 0);
        }
    }
    (most.0, most.1, all)
}

/// A member that lacks 16 entries of 1 MiB, and acknowledges none, is sent two of them once a deadline; as soon as
/// it gets them it has all within what its own acknowledgements take, and each about once.
#[test]
fn a_lagging_member_is_not_sent_the_whole_tail_each_interval() {
    let mut c = Cluster::running(3);
    let body = vec![7; 1 << 20];
    c.cut.insert((id(1), id(3)));
    for n in 1..=16 {
        c.write(1, &body);
        c.until("it is committed", 5, |c| c.applied(1).len() == n);
    }
    c.cut.clear();
    let (messages, bytes, all) = starve(&mut c, &[3], 500);
    println!("1 lags: at most {messages} messages, {bytes} bytes an interval, {all} in 500 ms");
    assert!(messages <= 4 && bytes <= 5 << 20, "{messages} messages, {bytes} bytes an interval");
    assert!(
        all <= (500 / 30 + 1) * (2 << 20) + (1 << 20),
        "{all} bytes in 500 ms: more than once a deadline"
    );
    let before = c.life(3);
    let mut again = 0;
    let begin = c.now;
    while c.agreement(3).commit() < c.agreement(1).commit() {
        c.step();
        again +=
            c.packets.iter().filter(|p| p.to == id(3)).map(|p| brought(&p.message)).sum::<usize>();
        assert!(c.now.since(begin) < Duration::from_millis(400), "not in time");
    }
    println!("16 MiB in {}, {again} bytes", c.now.since(begin));
    assert!(again <= 20 << 20, "{again} bytes for 16 MiB");
    assert!(!c.knows_removed(1, before));
}

/// Sixty members lag, with what is small and with what is large: what they are sent together is bounded, each has its turn,
/// and those that do not lag commit meanwhile.
#[test]
fn sixty_lagging_members_are_sent_what_one_could_be() {
    let all: Vec<u8> = (1..=63).collect();
    for (count, size) in [(300, 1_000), (20, 64 << 10)] {
        let mut c = Cluster::with_voters(63, &all, &[1, 2, 3]);
        let lagging = &all[3..];
        c.cut.extend(lagging.iter().map(|n| (id(1), id(*n))));
        let body = vec![7; size];
        for n in 1..=count {
            c.write(1, &body);
            if n % 60 == 0 || n == count {
                c.until("it is committed", 5, |c| c.applied(1).len() == n);
            }
        }
        c.cut.clear();
        let (messages, bytes, sum) = starve(&mut c, lagging, 60);
        println!(
            "60 lag by {count} of {size}: at most {messages} messages, {bytes} bytes an interval, {sum} in 60 ms"
        );
        assert!(messages <= 501 + 3_001, "{messages} messages an interval");
        assert!(bytes <= 16 << 20, "{bytes} bytes an interval");
        let before = c.applied(1).len();
        c.write(1, b"meanwhile");
        c.until("it is committed", 1, |c| c.applied(1).len() > before);
        c.until("all have it all", 3_000, |c| {
            all.iter().all(|n| c.agreement(*n).commit() == c.agreement(1).commit())
        });
        assert!(c.all_are_members(), "nobody was removed");
    }
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
