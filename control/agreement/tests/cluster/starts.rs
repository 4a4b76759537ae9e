//! Cold start: the first start of a cluster and the restart of a majority.

use crate::pump::{Cluster, D, INTERVAL, id};
use base::Duration;
use ng_agreement::{Action, Status, Waiting};
use wire::{EntryKind, Message, Op};

#[test]
fn three_nodes_begin_an_era_with_one_batch() {
    let mut c = Cluster::empty(3, &[]);
    (1..=3).for_each(|n| c.start(n));
    let took = c.until("all are members", 200, Cluster::all_are_members);
    assert!(took >= D, "R-COLD-WAIT: every lease of an earlier life has ended");
    assert!(took <= D * 3, "{took}");
    assert!(matches!(c.truth[0].kind, EntryKind::Cold { era: 1, admits: 3, .. }));
    assert_eq!(c.primary(), Some(1), "the first in rank");
    assert!(c.agreement(2).waiting().is_none());
}

#[test]
fn a_majority_waits_a_little_and_begins_without_the_rest() {
    let mut c = Cluster::empty(3, &[]);
    c.start(2);
    c.start(3);
    c.run(60);
    match c.agreement(2).waiting() {
        Some(Waiting::ColdStart { fresh, need: 2 }) => assert_eq!(fresh.len(), 2),
        other => panic!("{other:?}"),
    }
    c.until("an era", 200, |c| c.agreement(3).roster().members().count() == 2);
    c.start(1);
    c.until("the third joins", 100, Cluster::all_are_members);
}

#[test]
fn one_of_three_alone_begins_nothing_and_says_what_it_waits_for() {
    let mut c = Cluster::empty(3, &[]);
    c.start(2);
    c.run(1_000);
    assert_eq!(c.agreement(2).status(), Status::Learner);
    let fresh = [id(2)].into_iter().collect();
    assert_eq!(c.agreement(2).waiting(), Some(Waiting::ColdStart { fresh, need: 2 }));
}

#[test]
fn a_witness_votes_and_never_leads() {
    let mut c = Cluster::empty(3, &[1]);
    (1..=3).for_each(|n| c.start(n));
    c.until("all are members", 300, Cluster::all_are_members);
    assert_eq!(c.primary(), Some(2));
    c.kill(2);
    c.run(100);
    assert_eq!(c.primary(), Some(3), "the witness stands never\n{}", c.describe());
}

#[test]
fn the_batch_commits_whole_or_not_at_all() {
    let mut c = Cluster::empty(3, &[]);
    (1..=3).for_each(|n| c.start(n));
    while c.truth.is_empty() {
        c.step();
        for m in c.machines.values() {
            let commit = m.agreement.commit();
            assert!(commit == Op(0) || commit >= Op(4), "half a batch: {commit}");
        }
    }
}

#[test]
fn a_restart_of_all_begins_the_next_era() {
    let mut c = Cluster::running(3);
    c.write(1, b"lost with all memories");
    c.run(10);
    (1..=3).for_each(|n| c.kill(n));
    c.run(5);
    (1..=3).for_each(|n| c.start(n));
    c.until("all are members", 300, Cluster::all_are_members);
    assert!(matches!(c.truth[0].kind, EntryKind::Cold { era: 2, .. }), "R-ERA");
}

#[test]
fn restart_of_a_majority_ends_the_era_under_the_survivor() {
    let mut c = Cluster::running(3);
    c.kill(2);
    c.kill(3);
    c.run(5);
    c.start(2);
    c.start(3);
    c.run(12);
    match c.agreement(1).waiting() {
        Some(Waiting::LivesEnded { ended, need: 2 }) => assert_eq!(ended.len(), 2),
        other => panic!("{other:?}"),
    }
    c.until("all are members of era 2", 400, |c| {
        c.all_are_members() && matches!(c.truth[0].kind, EntryKind::Cold { era: 2, .. })
    });
    assert_eq!(c.machines[&id(1)].reflexes, [Op(0)], "it stopped everything of the old era");
    assert_eq!(c.life(1).incarnation.0, 1, "and lives on");
}

#[test]
fn an_era_number_that_a_node_has_promised_is_never_promised_again() {
    let mut c = Cluster::empty(3, &[]);
    (1..=3).for_each(|n| c.start(n));
    // Era 1 is promised by 2 and 3, and its candidate dies before it sends the batch.
    c.until("promises", 200, |c| {
        let promise = |m: &Message| matches!(m, Message::ColdPromise { .. });
        c.packets.iter().any(|p| promise(&p.message))
    });
    c.kill(1);
    c.lose(|_| true);
    c.until("an era", 600, |c| !c.truth.is_empty());
    assert!(matches!(c.truth[0].kind, EntryKind::Cold { era: 2, .. }), "{}", c.describe());
}

#[test]
fn a_life_with_half_an_era_makes_room_for_a_fresh_one() {
    let mut c = Cluster::empty(3, &[]);
    (1..=3).for_each(|n| c.start(n));
    c.until("the batch is out", 200, |c| c.agreement(1).op() > Op(0));
    c.isolate(1);
    c.deliver(1, 2, |m| matches!(m, Message::Prepare { .. }));
    c.lose(|_| true);
    c.kill(1);
    c.until("2 gives up", 600, |c| c.machines[&id(2)].ended.is_some());
    let life = c.life(2).incarnation;
    assert_eq!(c.machines[&id(2)].ended, Some(Action::Renumber { above: life }));
    c.start(2);
    c.until("2 and 3 begin", 600, |c| !c.truth.is_empty());
}

#[test]
fn simultaneous_candidates_do_not_begin_one_era_twice() {
    for seed in 0..12 {
        let mut c = Cluster::empty(5, &[]);
        c.seed(seed);
        c.jitter = Duration::from_millis(15);
        c.loss_percent = 10;
        for n in 1..=5 {
            c.start(n);
            let wait = c.below(30);
            c.run(wait);
        }
        c.until("all are members", 3_000, Cluster::all_are_members);
    }
}

#[test]
fn joins_go_out_every_interval() {
    let mut c = Cluster::empty(3, &[]);
    c.start(1);
    c.run(1);
    let before = c.sent;
    c.run(100);
    let per = Duration::from_millis(100).0 / INTERVAL.0;
    assert!(c.sent - before <= 2 * per as usize, "a lonely node does not babble");
}

#[test]
fn a_life_whose_admit_can_never_commit_makes_room_for_a_fresh_one() {
    let mut c = Cluster::running(3);
    c.write(1, b"a");
    c.run(15);
    // 2 restarts; its Admit reaches it, and 3, which would have to acknowledge it, restarts as well.
    c.kill(2);
    c.start(2);
    c.cut.insert((id(3), id(1)));
    let admitted = |c: &Cluster| c.agreement(2).op() > c.agreement(1).commit().next();
    c.until("2 holds its Admit", 100, admitted);
    c.kill(3);
    c.cut.clear();
    c.start(3);
    c.until("2 makes room", 300, |c| c.machines[&id(2)].ended.is_some());
    assert!(matches!(c.machines[&id(2)].ended, Some(Action::Renumber { .. })));
    c.start(2);
    c.until("era 2", 500, |c| c.all_are_members() && c.agrees());
    assert!(matches!(c.truth[0].kind, EntryKind::Cold { era: 2, .. }));
}

#[test]
fn a_life_whose_admit_may_be_committed_waits_for_who_knows_it() {
    let mut c = Cluster::running(3);
    c.kill(2);
    c.start(2);
    // The Admit of 2 is committed, which 2 does not learn; then 3 restarts, and 1 is cut off for long.
    c.until("2 holds its Admit", 100, |c| {
        let life = c.life(2);
        c.agreement(1).roster().votes(life)
    });
    c.isolate(1);
    c.lose(|_| true);
    let unknowing = !c.agreement(2).roster().votes(c.life(2));
    c.kill(3);
    c.start(3);
    c.run(1_000);
    assert!(unknowing && c.machines[&id(2)].ended.is_none(), "{}", c.describe());
    c.heal();
    c.until("1 and 2 are a quorum", 500, |c| c.all_are_members() && c.agrees());
    assert!(matches!(c.truth[0].kind, EntryKind::Cold { era: 1, .. }), "nothing was lost");
}
