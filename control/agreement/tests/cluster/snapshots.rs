//! Logs without their beginning: snapshots, who gets them and from whom, and what stays bounded.

use crate::pump::{Cluster, D, id};
use ng_agreement::{Limits, Refusal, Snapshot, Status};
use wire::{ClientId, Message, Op, Seq};

/// Bounds at which a handful of writes moves the base.
fn small() -> Limits {
    Limits { snapshot_every: 8, kept: 4, slice: 128, ..Limits::default() }
}

fn running(n: u8, witnesses: &[u8]) -> Cluster {
    running_without(n, witnesses, &[])
}

fn running_without(n: u8, witnesses: &[u8], off: &[&'static str]) -> Cluster {
    let mut c = Cluster::empty(n, witnesses);
    (c.limits, c.off) = (small(), off.to_vec());
    (1..=n).for_each(|n| c.start(n));
    c.until("all are members", 300, Cluster::all_are_members);
    c.run(20);
    c
}

/// Writes by one node, each committed there before the next.
fn write(c: &mut Cluster, by: u8, count: u8) {
    for number in 0..count {
        let before = c.applied(by).len();
        c.write(by, &[number]);
        c.until("it is written", 200, |c| c.applied(by).len() > before);
    }
}

#[test]
fn a_new_life_gets_a_snapshot_and_what_follows_it() {
    let mut c = running(3, &[]);
    c.kill(3);
    write(&mut c, 1, 60);
    c.run(100);
    let log = c.agreement(1).log();
    assert!(log.base() > Op(40) && log.len() <= 4 + 8 + 8, "{} of {}", log.base(), log.op());
    c.start(3);
    c.until("it is a member", 200, |c| c.all_are_members() && c.agrees());
    assert_eq!(c.machines[&id(3)].installs, 1);
    assert_eq!(c.applied(3), c.applied(1));
    write(&mut c, 3, 20);
    c.until("all have it", 50, Cluster::agrees);
    assert_eq!(c.applied(3), c.applied(1));
}

#[test]
fn a_follower_that_was_cut_off_installs_one_and_stays_the_same_life() {
    let mut c = running(3, &[]);
    let life = c.life(3);
    c.isolate(3);
    c.until("it is removed", 200, |c| c.knows_removed(1, life));
    write(&mut c, 1, 60);
    c.run(100);
    c.heal();
    c.until("it is back", 300, |c| c.all_are_members() && c.agrees());
    assert_eq!((c.life(3), c.machines[&id(3)].installs), (life, 1));
    assert!(!c.machines[&id(3)].reflexes.is_empty(), "it learned that it had been removed");
}

#[test]
fn another_goes_on_when_the_holder_falls_silent() {
    let mut c = running(3, &[]);
    c.kill(3);
    write(&mut c, 1, 60);
    c.run(100);
    c.start(3);
    let slice = |m: &Message| matches!(m, Message::Slice { .. });
    c.until("a slice is on its way", 200, |c| c.packets.iter().any(|p| slice(&p.message)));
    let holder = c.packets.iter().find(|p| slice(&p.message)).unwrap().from.node;
    c.lose(|p| slice(&p.message));
    c.cut.insert((holder, id(3)));
    c.until("it is installed", 300, |c| c.machines[&id(3)].installs == 1);
}

#[test]
fn slices_that_are_lost_are_asked_for_again() {
    let mut c = running(3, &[]);
    c.kill(3);
    write(&mut c, 1, 60);
    c.run(100);
    (c.loss_percent, c.duplicate_percent) = (20, 20);
    c.start(3);
    c.until("it is installed", 1_000, |c| c.machines[&id(3)].installs > 0);
    (c.loss_percent, c.duplicate_percent) = (0, 0);
    c.until("it is a member", 500, |c| c.all_are_members() && c.agrees());
    assert_eq!(c.applied(3), c.applied(1));
}

#[test]
fn a_candidate_behind_every_base_pulls_the_snapshot_of_who_promised_it() {
    let mut c = running(3, &[3]);
    let life = c.life(2);
    c.isolate(2);
    c.until("it is removed", 200, |c| c.knows_removed(1, life));
    write(&mut c, 1, 60);
    c.run(100);
    let written = c.applied(1);
    assert!(c.agreement(3).log().base() > c.agreement(2).op(), "R-SELECT needs more than the log");
    c.kill(1);
    c.heal();
    c.until("it leads", 1_000, |c| c.agreement(2).status() == Status::Primary);
    assert_eq!(c.machines[&id(2)].installs, 1);
    assert_eq!(c.applied(2), written, "nothing committed is lost (I2)");
    write(&mut c, 2, 3);
}

#[test]
fn what_is_above_an_offered_snapshot_stays() {
    let mut c = running(5, &[]);
    for n in 2..=5 {
        c.cut.insert((id(n), id(1)));
    }
    let commit = c.agreement(3).commit();
    c.write(1, b"one");
    c.write(1, b"two");
    c.run(5);
    let (op, agreement) = (c.agreement(3).op(), c.agreement(3));
    assert_eq!((agreement.commit(), op), (commit, Op(commit.0 + 2)));
    let op_term = agreement.log().term_at(commit.next()).unwrap();
    let offer = Message::Offer { op: commit.next(), op_term, heads: 1, slices: 2, bytes: 9 };
    c.forge(c.life(2), 3, offer);
    assert_eq!((c.agreement(3).commit(), c.agreement(3).op()), (commit.next(), op));
    assert!(!c.packets.iter().any(|p| matches!(p.message, Message::FetchSlice { .. })));
}

#[test]
fn an_older_snapshot_and_one_of_an_older_era_are_not_wanted() {
    let mut c = running(3, &[]);
    write(&mut c, 1, 20);
    let (op, op_term) = (c.agreement(1).op(), c.term());
    let offer = |op, era| Message::Offer {
        op,
        op_term: wire::Term { era, ..op_term },
        heads: 1,
        slices: 2,
        bytes: 9,
    };
    let asks =
        |c: &Cluster| c.packets.iter().any(|p| matches!(p.message, Message::FetchSlice { .. }));
    c.forge(c.life(2), 3, offer(Op(op.0 - 9), 1));
    c.forge(c.life(2), 3, offer(Op(op.0 + 9), 0));
    c.forge(c.life(2), 1, offer(Op(op.0 + 9), 1));
    assert!(!asks(&c), "a primary installs nothing, a follower nothing that is old");
    c.forge(c.life(2), 3, offer(Op(op.0 + 9), 1));
    assert!(asks(&c));
    c.run(30 * D.millis());
    assert!(!asks(&c) && c.agrees(), "what nobody has is given up\n{}", c.describe());
}

#[test]
fn a_life_that_an_era_began_with_is_taught_when_its_primary_is_gone() {
    let mut c = Cluster::empty(4, &[]);
    (1..=4).for_each(|n| c.start(n));
    c.until("the era is promised", 200, |c| c.agreement(4).promised_era() == 1);
    for n in 1..=3 {
        c.cut.insert((id(n), id(4)));
    }
    c.until("the others have begun", 200, |c| (1..=3).all(|n| c.agreement(n).commit() >= Op(5)));
    assert_eq!((c.agreement(4).op(), c.agreement(4).status()), (Op(0), Status::Learner));
    let dead = c.life(1);
    c.kill(1);
    c.cut.clear();
    c.until("three of four go on", 1_000, |c| c.knows_removed(4, dead));
    assert!(c.agreement(4).roster().stint(c.life(4)).is_member());
}

#[test]
fn more_than_may_wait_is_refused_and_later_taken() {
    let mut c = running(5, &[]);
    c.limits.waiting = 4;
    (1..=5).for_each(|n| c.kill(n));
    (1..=5).for_each(|n| c.start(n));
    c.until("all are members", 500, Cluster::all_are_members);
    let primary = c.primary().unwrap();
    for n in (1..=5).filter(|n| *n != primary) {
        c.cut.insert((id(n), id(primary)));
    }
    let mut results = Vec::new();
    for seq in 1..=9 {
        c.call(primary, |a, now| {
            results.push(a.handle_request(now, ClientId(77), Seq(seq), vec![7]));
        });
    }
    assert_eq!(results[..4], [Ok(()); 4]);
    assert_eq!(results[4..], [Err(Refusal::Busy); 5]);
    c.cut.clear();
    c.until("they are written", 200, |c| c.applied(primary).len() == 4);
    c.call(primary, |a, now| {
        assert_eq!(a.handle_request(now, ClientId(77), Seq(5), vec![7]), Ok(()));
    });
}

/// Each era counts its ops anew: that the new one's snapshot is at a lower op says nothing (seed 628).
#[test]
fn a_survivor_of_a_longer_era_follows_the_next_by_its_snapshot() {
    let mut c = running(3, &[]);
    write(&mut c, 1, 60);
    c.isolate(3);
    (1..=2).for_each(|n| c.kill(n));
    (1..=2).for_each(|n| c.start(n));
    c.until("the next era", 500, |c| c.agreement(2).roster().members().count() == 2);
    write(&mut c, 1, 20);
    c.run(100);
    assert!(c.agreement(1).log().base() > Op(0) && c.agreement(1).op() < c.agreement(3).op());
    c.heal();
    c.until("it follows", 500, |c| c.all_are_members() && c.agrees());
    assert_eq!(c.machines[&id(3)].installs, 1);
}

/// Offers a snapshot and sends all its slices, whoever asked for it.
fn serve(c: &mut Cluster, by: u8, to: u8, snapshot: &Snapshot) {
    let by = c.life(by);
    let (op, op_term) = (snapshot.op, snapshot.op_term);
    let (heads, slices) = (snapshot.heads as u32, snapshot.slices.len() as u32);
    c.forge(by, to, Message::Offer { op, op_term, heads, slices, bytes: snapshot.bytes() });
    for (index, bytes) in (0..).zip(&snapshot.slices) {
        c.forge(by, to, Message::Slice { op, op_term, index, bytes: bytes.clone() });
    }
    c.lose(|p| matches!(p.message, Message::FetchSlice { .. }));
}

/// An older snapshot comes late. What a follower has committed after it.
fn after_an_older_one(off: &[&'static str]) -> (Op, Op) {
    let mut c = running_without(3, &[], off);
    write(&mut c, 1, 10);
    let old = c.agreement(2).snapshot().cloned().unwrap();
    write(&mut c, 1, 10);
    c.until("all have it", 50, Cluster::agrees);
    let before = c.agreement(3).commit();
    serve(&mut c, 2, 3, &old);
    (before, c.agreement(3).commit())
}

/// A snapshot of the era before comes late. The era in which a life is after it.
fn after_one_of_another_era(off: &[&'static str]) -> Option<u32> {
    let mut c = running_without(3, &[], off);
    write(&mut c, 1, 60);
    let old = c.agreement(2).snapshot().cloned().unwrap();
    (1..=3).for_each(|n| c.kill(n));
    (1..=3).for_each(|n| c.start(n));
    c.until("the next era", 500, Cluster::all_are_members);
    serve(&mut c, 2, 3, &old);
    c.agreement(3).era()
}

/// Two of five hold an entry that the primary has committed by them, and do not know that; then they are offered a
/// snapshot of the entry before it. What they hold after it, and how far it was committed.
fn after_one_below_the_tail(off: &[&'static str]) -> (Op, Op) {
    let mut c = running_without(5, &[], off);
    while !(c.agreement(1).commit().0 + 1).is_multiple_of(8) {
        write(&mut c, 1, 1);
    }
    c.until("all have it", 50, Cluster::agrees);
    let before = c.agreement(1).commit();
    c.isolate(4);
    c.isolate(5);
    c.write(1, b"in the snapshot");
    c.write(1, b"above it");
    c.until("they hold both", 5, |c| (2..=3).all(|n| c.agreement(n).op().0 == before.0 + 2));
    for n in 2..=3 {
        c.cut.insert((id(1), id(n)));
    }
    c.until("both are committed", 5, |c| c.agreement(1).commit().0 == before.0 + 2);
    assert_eq!(c.agreement(3).commit(), before);
    let snapshot = c.agreement(1).snapshot().cloned().unwrap();
    assert_eq!(snapshot.op, before.next());
    serve(&mut c, 1, 3, &snapshot);
    (c.agreement(3).op(), c.agreement(1).commit())
}

#[test]
fn a_late_snapshot_takes_nothing_back() {
    let (before, after) = after_an_older_one(&[]);
    assert_eq!(after, before);
    assert_eq!(after_one_of_another_era(&[]), Some(2));
    let (held, committed) = after_one_below_the_tail(&[]);
    assert_eq!(held, committed, "what was acknowledged is not forgotten");
}

#[cfg(feature = "mutations")]
#[test]
fn a_rule_of_installing_that_is_off_is_seen() {
    let (before, after) = after_an_older_one(&["install-older"]);
    assert!(after < before, "the commit goes back");
    assert_eq!(after_one_of_another_era(&["install-era"]), Some(1), "an era that is over");
    let (held, committed) = after_one_below_the_tail(&["install-tail"]);
    assert!(held < committed, "an acknowledged entry is gone");
}

/// Seed 29280: the primary of the snapshot's term beats, and leads no more: nobody calls it silent, and it says nothing.
#[test]
fn who_is_brought_into_a_term_by_a_snapshot_does_not_wait_for_its_primary_for_ever() {
    let mut c = running(5, &[]);
    let alone = |c: &mut Cluster, all: &[u8]| {
        c.heal();
        all.iter().for_each(|n| c.isolate(*n));
    };
    alone(&mut c, &[1, 5]);
    c.until("2 leads without them", 300, |c| c.agreement(2).roster().members().count() == 3);
    alone(&mut c, &[5]);
    c.until("1 is back", 200, |c| c.stint(1).is_member());
    write(&mut c, 2, 60);
    c.run(100);
    let term = c.agreement(2).term();
    alone(&mut c, &[2, 5]);
    c.until("3 leads without it", 300, |c| c.agreement(3).status() == Status::Primary);
    c.until("2 has resigned", 100, |c| c.agreement(2).status() == Status::Silent);
    for pair in [(id(2), id(5)), (id(5), id(2))] {
        c.cut.remove(&pair);
        c.deaf.remove(&pair);
    }
    c.until("5 has its snapshot", 200, |c| c.machines[&id(5)].installs == 1);
    assert_eq!((c.agreement(5).status(), c.agreement(5).term()), (Status::Follower, term));
    alone(&mut c, &[5]);
    c.until("2 is back", 200, |c| c.stint(2).is_member());
    c.kill(3);
    c.heal();
    for other in [1, 4, 5].map(id) {
        c.cut.extend([(id(2), other), (other, id(2))]);
    }
    c.until("4 leads with its promise", 400, |c| {
        c.agreement(4).status() == Status::Primary && c.stint(5).is_member()
    });
}
