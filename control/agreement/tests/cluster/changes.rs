//! Another primary: promises, selection, concurrent candidates, asymmetric suspicion.

use crate::pump::{Cluster, D, id};
use base::Duration;
use ng_agreement::Status;
use wire::{Message, Op};

#[test]
fn a_dead_primary_is_replaced_and_removed_in_one_round_trip_after_suspicions_crossed() {
    let mut c = Cluster::running(3);
    c.hop = Duration::from_micros(500);
    let victim = c.life(1);
    c.kill(1);
    c.until("suspicion", 40, |c| !c.agreement(2).suspects(c.now).is_empty());
    let sent = c.sent;
    let first = c.until("the new primary knows", 20, |c| c.knows_removed(2, victim));
    let rest = c.until("the other knows", 20, |c| c.knows_removed(3, victim));
    // Suspect; Promise; Prepare; PrepareOk. The follower knows with its own acknowledgement.
    assert!(first <= c.hop * 4, "{first} at the primary");
    assert_eq!(rest, Duration::ZERO, "not later at the follower");
    assert!(c.sent - sent <= 11, "{} messages", c.sent - sent);
    assert_eq!(c.primary(), Some(2));
}

#[test]
fn entries_that_a_majority_has_survive_the_primary() {
    let mut c = Cluster::running(3);
    c.cut.insert((id(1), id(2)));
    c.write(1, b"a");
    c.until("committed with 3", 10, |c| c.applied(1) == [b"a"]);
    c.kill(1);
    c.until("2 has it from 3", 100, |c| c.applied(2) == [b"a"]);
    assert_eq!(c.primary(), Some(2), "its log was shorter: it took the promised one");
}

#[test]
fn a_promise_that_is_cut_in_pieces_is_put_together() {
    let mut c = Cluster::running(3);
    c.seed(3);
    c.loss_percent = 20;
    c.cut.insert((id(1), id(2)));
    for n in 0..60_u8 {
        c.write(1, &[n; 1_000]);
    }
    c.until("committed with 3", 500, |c| c.applied(1).len() == 60);
    c.kill(1);
    c.cut.clear();
    c.until("2 has all", 500, |c| c.applied(2).len() == 60 && c.agrees());
}

#[test]
fn when_the_next_one_is_dead_too_the_one_after_it_leads() {
    let mut c = Cluster::running(5);
    c.kill(1);
    c.kill(2);
    let took = c.until("3 leads", 100, |c| c.primary() == Some(3) && c.agrees());
    assert!(took <= D + Duration::from_millis(3), "{took}: both were suspected at once");
}

#[test]
fn when_the_next_one_dies_after_the_promise_the_wait_is_short() {
    let mut c = Cluster::running(5);
    c.kill(1);
    c.until("suspicion", 40, |c| !c.agreement(3).suspects(c.now).is_empty());
    c.kill(2);
    let took = c.until("3 leads", 200, |c| c.primary() == Some(3) && c.agrees());
    assert!(took <= D / 2 + Duration::from_millis(3), "{took}: D/2, then the next candidate");
}

#[test]
fn one_that_alone_suspects_the_primary_changes_nothing() {
    let mut c = Cluster::running(3);
    let term = c.term();
    c.deaf.insert((id(1), id(3)));
    c.run(500);
    assert_eq!((c.term(), c.primary()), (term, Some(1)));
    assert!(c.all_are_members());
}

#[test]
fn a_follower_that_the_primary_does_not_reach_gets_the_entries_from_another() {
    let mut c = Cluster::running(3);
    c.cut.insert((id(1), id(3)));
    c.write(1, b"a");
    let took = c.until("3 has it", 80, |c| c.applied(3) == [b"a"]);
    assert!(took <= D * 2, "{took}");
    assert_eq!(c.primary(), Some(1));
}

#[test]
fn a_primary_that_hears_nobody_resigns_and_follows_the_next_when_it_is_back() {
    let mut c = Cluster::running(3);
    c.isolate(1);
    c.until("the others go on", 100, |c| c.agreement(2).status() == Status::Primary);
    c.run(20);
    assert_ne!(c.agreement(1).status(), Status::Primary);
    c.write(2, b"a");
    c.run(300);
    c.heal();
    c.until("all are members", 200, |c| c.all_are_members() && c.agrees());
    assert_eq!(c.primary(), Some(2), "its return deposes nobody");
    assert_eq!(c.applied(1), [b"a"]);
}

#[test]
fn a_minority_that_left_a_healthy_primary_comes_back_under_a_higher_term() {
    let mut c = Cluster::running(5);
    let term = c.term();
    let higher = wire::Term { counter: term.counter + 7, life: c.life(4), ..term };
    // 5 has promised 4 something, and 4 does not know.
    let one = c.life(1);
    c.call(5, |a, now| a.handle_suspected(now, one, wire::Stint(2)));
    c.forge(c.life(4), 5, Message::PromiseRequest { term: higher });
    assert_eq!(c.agreement(5).status(), Status::Silent);
    c.call(5, |a, now| a.handle_trusted(now, one, wire::Stint(2)));
    c.until("5 follows 1 again", 60, |c| {
        c.agreement(5).status() == Status::Follower && c.primary() == Some(1) && c.agrees()
    });
    assert!(c.term() > higher);
}

#[test]
fn concurrent_candidates_end_with_one_primary() {
    for seed in 0..15 {
        let mut c = Cluster::running(5);
        c.seed(seed);
        c.jitter = Duration::from_millis(8);
        c.loss_percent = 5;
        let victim = c.life(1);
        c.kill(1);
        // Two that see things differently stand at the same time.
        let pair = (id(2), id(3 + (seed % 3) as u8));
        c.deaf.insert(pair);
        c.write(4, b"a");
        c.until("one primary", 800, |c| (2..=5).all(|n| c.knows_removed(n, victim)));
        c.deaf.clear();
        c.until("the write is everywhere", 800, |c| (2..=5).all(|n| c.applied(n) == [b"a"]));
    }
}

#[test]
fn rejected_prepares_of_an_old_primary_commit_nothing() {
    let mut c = Cluster::running(3);
    // 1 goes on sending, hears beats, but gets no agreement message.
    c.cut.insert((id(2), id(1)));
    c.cut.insert((id(3), id(1)));
    c.deaf.insert((id(1), id(2)));
    c.deaf.insert((id(1), id(3)));
    c.write(1, b"old");
    c.until("2 leads", 200, |c| c.agreement(2).status() == Status::Primary);
    let commit = c.agreement(1).commit();
    c.run(100);
    assert_eq!(c.agreement(1).commit(), commit, "I1 is checked at every step");
    c.heal();
    c.until("all are members", 400, |c| c.all_are_members() && c.agrees());
    assert!(c.agreement(1).commit() > Op(0));
}

#[test]
fn a_commit_that_only_the_promiser_has_heard_of_costs_nothing() {
    let mut c = Cluster::running(3);
    c.hop = Duration::from_micros(500);
    let victim = c.life(1);
    // 2 has the entry; that it is committed is told only to 3.
    c.write(1, b"a");
    c.until("2 has it", 5, |c| {
        c.agreement(2).op() > c.agreement(2).commit() || c.applied(2).len() == 1
    });
    c.cut.insert((id(1), id(2)));
    c.run(5);
    c.kill(1);
    c.until("suspicion", 40, |c| !c.agreement(2).suspects(c.now).is_empty());
    let took = c.until("2 knows", 20, |c| c.knows_removed(2, victim));
    assert!(took <= c.hop * 4, "{took}");
}
