//! Lives that come back: new ones, and living ones that were removed (R-JOIN, R-STINT, R-ADMIT, R-VOTE).

use crate::pump::{Cluster, edition, id};
use ng_agreement::{Action, Status, Waiting};
use wire::{Incarnation, Message, Op, Stint};

#[test]
fn a_dead_node_returns_as_a_new_life_and_votes_only_after_its_admit() {
    let mut c = Cluster::running(3);
    c.kill(3);
    c.until("it is out", 100, |c| c.agreement(1).roster().members().count() == 2);
    c.start(3);
    while !c.all_are_members() {
        c.step();
        let life = c.life(3);
        let votes = c.agreement(3).status() != Status::Learner;
        assert_eq!(votes, c.agreement(3).roster().votes(life), "R-VOTE: by its own commit");
    }
    assert_eq!(c.agreement(3).status(), Status::Follower);
    assert_eq!(c.life(3).incarnation, Incarnation(2));
}

#[test]
fn a_quick_restart_is_removed_and_admitted_at_once() {
    let mut c = Cluster::running(3);
    c.write(1, b"a");
    c.run(5);
    c.kill(2);
    c.run(1);
    c.start(2);
    let took = c.until("it is back", 100, |c| c.all_are_members() && c.stint(2).is_member());
    assert!(took <= base::Duration::from_millis(30), "{took}: its start is an obituary (R-ACK 5)");
    assert_eq!(c.applied(2), [b"a"]);
}

#[test]
fn a_quick_restart_of_the_primary_too() {
    let mut c = Cluster::running(3);
    c.kill(1);
    c.run(1);
    c.start(1);
    let took = c.until("it is back", 200, |c| c.all_are_members() && c.agrees());
    assert!(took <= base::Duration::from_millis(60), "{took}");
    assert_eq!(c.primary(), Some(2));
}

#[test]
fn a_falsely_removed_life_learns_it_and_is_admitted_again() {
    let mut c = Cluster::running(3);
    let stint = c.stint(3);
    c.isolate(3);
    c.until("it is out", 100, |c| c.agreement(1).roster().members().count() == 2);
    assert!(!c.machines[&id(3)].holds_lease(c.now));
    c.run(50);
    c.heal();
    c.until("it is back", 100, |c| c.all_are_members() && c.agrees());
    assert_eq!(c.machines[&id(3)].reflexes.len(), 1, "it did the reflex once");
    assert_eq!(c.life(3).incarnation, Incarnation(1), "the same life");
    assert!(c.stint(3) > stint, "R-STINT: under another stint");
    c.run(20);
    assert!(c.machines[&id(3)].holds_lease(c.now));
}

#[test]
fn a_removed_living_life_keeps_its_vote_and_does_not_lead() {
    let mut c = Cluster::running(3);
    c.isolate(2);
    c.until("2 is out", 100, |c| c.agreement(1).roster().members().count() == 2);
    c.kill(1);
    c.heal();
    c.until("3 leads with the vote of 2", 200, |c| c.primary() == Some(3) && c.agrees());
    assert!(c.agreement(2).roster().votes(c.life(2)));
}

#[test]
fn an_old_join_admits_nobody() {
    let mut c = Cluster::running(3);
    let join = |removed_at| Message::Join {
        removed_at,
        op: Op(9),
        fresh: false,
        era: 1,
        edition: edition(),
    };
    c.isolate(3);
    c.until("it is out", 100, |c| c.agreement(1).roster().members().count() == 2);
    let op = c.agreement(1).op();
    let life = c.life(3);
    c.call(1, |a, now| a.handle_trusted(now, life, Stint::NONE));
    c.forge(c.life(3), 1, join(Op(1)));
    c.forge(c.life(3), 1, join(Op(0)));
    assert_eq!(c.agreement(1).op(), op, "R-JOIN: it does not know which removal it follows");
    let known = c.agreement(1).roster().seat(id(3)).unwrap().removed_at;
    c.forge(c.life(3), 1, join(known));
    assert_eq!(c.agreement(1).op(), op.next());
}

#[test]
fn frames_of_a_life_that_is_over_are_answered_and_dropped() {
    let mut c = Cluster::running(3);
    let old = c.life(3);
    c.kill(3);
    c.run(1);
    c.start(3);
    c.until("it is back", 100, Cluster::all_are_members);
    let op = c.agreement(1).op();
    c.forge(
        old,
        1,
        Message::Join { removed_at: Op(5), op, fresh: true, era: 9, edition: edition() },
    );
    let stale = |m: &Message| matches!(m, Message::Stale { highest: Incarnation(2), .. });
    assert!(c.packets.iter().any(|p| p.to == id(3) && stale(&p.message)), "R-LIFE");
}

#[test]
fn a_superseded_voter_stops_and_a_learner_takes_a_higher_number() {
    let mut c = Cluster::running(3);
    let stale = |highest| Message::Stale { node: id(3), highest: Incarnation(highest) };
    c.forge(c.life(1), 3, stale(5));
    let ended = Action::Superseded { highest: Incarnation(5) };
    assert_eq!(c.machines[&id(3)].ended, Some(ended));
    assert_eq!(c.agreement(3).poll_deadline(), None);

    let mut c = Cluster::empty(3, &[]);
    c.start(3);
    c.start(1);
    c.forge(c.life(1), 3, stale(5));
    let again = Action::Renumber { above: Incarnation(5) };
    assert_eq!(c.machines[&id(3)].ended, Some(again), "R-RENUMBER");
}

#[test]
fn a_learner_says_that_it_waits_to_be_admitted() {
    let mut c = Cluster::running(3);
    c.kill(3);
    c.run(60);
    c.start(3);
    c.cut.insert((id(3), id(1)));
    c.run(100);
    assert_eq!(c.agreement(3).waiting(), Some(Waiting::Admission));
}

#[test]
fn when_every_living_voter_was_removed_one_of_them_leads_and_admits_the_others() {
    let mut c = Cluster::running(3);
    // 1 removes both others: they beat, but their acknowledgements come late.
    c.cut.insert((id(2), id(1)));
    c.write(1, b"a");
    c.until("2 is out", 300, |c| c.agreement(1).roster().members().count() == 2);
    c.cut.clear();
    c.cut.insert((id(3), id(1)));
    // The vote of 2 counts though it was removed; that it is admitted again is in the way.
    let joins = |p: &crate::pump::Packet| matches!(p.message, Message::Join { .. });
    c.write(1, b"b");
    while c.agreement(1).roster().members().count() > 1 {
        c.lose(joins);
        c.step();
    }
    c.kill(1);
    c.heal();
    c.until("both are members", 200, |c| c.agreement(2).roster().members().count() == 2);
    c.start(1);
    c.until("all are members", 200, |c| c.all_are_members() && c.agrees());
}
