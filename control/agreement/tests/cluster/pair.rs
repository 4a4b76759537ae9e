//! A pair without a witness: both votes are needed, or evidence that the other life has ended (R-FENCE).

use crate::pump::{Cluster, D, INTERVAL, edition, id};
use ng_agreement::{Action, Agreement, FenceRefused, Roster, Status, Waiting};
use wire::entry::{FenceProof, RemovalCause};
use wire::message::Order;
use wire::{Entry, EntryKind, Incarnation, Life, Message, NodeSet, Op, Stint};

impl Cluster {
    /// The operator tells `n` that the other one is off.
    fn confirm(&mut self, n: u8) -> Result<(), FenceRefused> {
        let mut answer = Ok(());
        self.call(n, |a, now| {
            answer = a.check_fenced_order(now, id(3 - n));
            a.handle_fenced_order(now, id(3 - n));
        });
        answer
    }

    fn leases(&self) -> Vec<u8> {
        let held = self.machines.values().filter(|m| m.holds_lease(self.now));
        held.map(|m| m.life.node.get()).collect()
    }

    /// One is dead or cut off, and the other has stopped.
    fn stopped(&mut self, n: u8) {
        self.run(100);
        assert!(!self.leases().contains(&n), "no lease with one vote\n{}", self.describe());
        let about = self.agreement(n).roster().seat(id(3 - n)).unwrap().life(id(3 - n));
        assert_eq!(self.agreement(n).waiting(), Some(Waiting::Evidence { about }));
        let before = self.truth.len();
        self.write(n, b"alone");
        self.run(100);
        assert_eq!(self.truth.len(), before, "nothing is agreed with one vote");
    }

    fn writes(&self, n: u8, body: &[u8]) -> usize {
        self.applied(n).iter().filter(|applied| *applied == body).count()
    }

    /// A life that was told to end is replaced, as the daemon does.
    fn begin_again(&mut self, n: u8) {
        assert_eq!(self.machines[&id(n)].ended, Some(Action::SaidOff), "{}", self.describe());
        assert_eq!(self.agreement(n).poll_deadline(), None);
        self.kill(n);
        self.start(n);
    }
}

fn is_fence(entry: &Entry, life: Life, by: FenceProof) -> bool {
    matches!(entry.kind, EntryKind::Fenced { node, incarnation, proof }
        if Life { node, incarnation } == life && proof == by)
}

/// The rule in the log: `Fenced` is the first entry of a new term of the survivor, `Remove` follows, by its deadline.
fn fenced_in_order(c: &Cluster, before: usize, survivor: u8, dead: Life, proof: FenceProof) {
    let fence = &c.truth[before..];
    let at = fence.iter().position(|e| is_fence(e, dead, proof)).expect("Fenced");
    let term = fence[at].term;
    assert_eq!(term.life.node, id(survivor));
    let earlier = c.truth[..before + at].iter().all(|e| e.term < term);
    assert!(earlier, "the first entry of its term");
    let removes = |e: &Entry| matches!(e.kind, EntryKind::Remove { node, .. } if node == dead.node);
    assert!(removes(&fence[at + 1]), "{:?}", fence[at + 1]);
}

/// (a), (b): one of the two dies; the other waits, goes on alone by the operator's word, and takes it back as a new life.
fn survives(dead: u8) {
    let left = 3 - dead;
    let mut c = Cluster::running(2);
    assert_eq!(c.primary(), Some(1));
    c.write(dead, b"before");
    c.run(5);
    let life = c.life(dead);
    c.kill(dead);
    c.stopped(left);
    let before = c.truth.len();
    c.confirm(left).unwrap();
    c.run(1);
    assert_eq!((c.leases(), c.agreement(left).waiting()), (vec![left], None));
    assert_eq!(c.agreement(left).roster().void(), [id(dead)].into_iter().collect());
    fenced_in_order(&c, before, left, life, FenceProof::Operator);
    c.run(200);
    assert_eq!(
        (c.writes(left, b"alone"), c.writes(left, b"before")),
        (1, 1),
        "what waited is agreed"
    );
    c.write(left, b"more");
    c.run(5);
    assert_eq!(c.writes(left, b"more"), 1);

    c.start(dead);
    c.until("it is back", 200, Cluster::all_are_members);
    assert_eq!(c.agreement(left).roster().void(), NodeSet::EMPTY, "its Admit ends the gift");
    c.until("both hold all", 50, |c| c.agrees() && c.leases() == [1, 2]);
    assert_eq!((c.writes(dead, b"alone"), c.writes(dead, b"more")), (1, 1));
    c.kill(dead);
    c.stopped(left);
}

#[test]
fn a_pair_loses_its_follower() {
    survives(2);
}

#[test]
fn a_pair_loses_its_primary() {
    survives(1);
}

#[test]
fn what_both_had_uncommitted_is_decided_by_the_survivor() {
    let mut c = Cluster::running(2);
    c.cut.insert((id(2), id(1)));
    c.write(1, b"appended");
    c.run(3);
    assert_eq!(c.applied(1), Vec::<Vec<u8>>::new());
    c.kill(1);
    c.run(100);
    c.confirm(2).unwrap();
    c.run(1);
    assert_eq!(
        c.writes(2, b"appended"),
        1,
        "the dead primary may have promised it\n{}",
        c.describe()
    );
}

#[test]
fn the_removal_still_waits_for_the_own_deadline() {
    let mut c = Cluster::running(2);
    c.kill(2);
    let now = c.now;
    // Silence is noticed at once here; the last beat was echoed a moment ago all the same.
    let life = Life { node: id(2), incarnation: Incarnation(1) };
    c.call(1, |a, now| a.handle_suspected(now, life, Stint::NONE));
    c.confirm(1).unwrap();
    assert!(c.agreement(1).roster().is_void(id(2)));
    c.until("it is removed", 40, |c| !c.agreement(1).roster().stint(life).is_member());
    let waited = c.now.since(now);
    assert!(waited + INTERVAL >= D, "R-ACK: {waited}");
    let body = b"after".to_vec();
    let seq = wire::Seq(1);
    let mut c = Cluster::running(2);
    c.kill(2);
    c.call(1, |a, now| a.handle_suspected(now, life, Stint::NONE));
    c.confirm(1).unwrap();
    c.call(1, |a, now| a.handle_request(now, wire::ClientId(9), seq, body).unwrap());
    let last = c.agreement(1).log().get(c.agreement(1).op()).unwrap();
    assert!(matches!(last.kind, EntryKind::Remove { .. }), "R-BARRIER: {last:?}");
}

#[test]
fn evidence_of_a_term_that_did_not_commit_is_said_again() {
    let mut c = Cluster::running(2);
    let two = c.life(2);
    c.cut.insert((id(2), id(1)));
    c.write(1, b"a");
    let removes = |c: &Cluster| {
        let last = c.agreement(1).log().get(c.agreement(1).op());
        last.is_some_and(|e| matches!(e.kind, EntryKind::Remove { .. }))
    };
    c.until("R-PROGRESS", 200, removes);
    c.isolate(2);
    // The evidence stands behind a removal that waits for its deadline, and a frame of the other comes late.
    c.call(1, |a, now| a.handle_suspected(now, two, Stint::NONE));
    c.confirm(1).unwrap();
    let fence = c.agreement(1).op();
    assert!(is_fence(c.agreement(1).log().get(fence).unwrap(), two, FenceProof::Operator));
    assert!(c.agreement(1).commit() < fence);
    let term = wire::Term { era: 1, counter: 50, life: two };
    c.forge(two, 1, Message::Reject { term });
    assert_eq!(c.agreement(1).status(), Status::Candidate);
    c.run(100);
    assert!(c.agreement(1).commit() < fence, "what was said was said before it was heard");
    c.confirm(1).unwrap();
    c.run(50);
    assert!(c.agreement(1).roster().is_void(id(2)), "{}", c.describe());
    assert_eq!((c.leases(), c.writes(1, b"a")), (vec![1], 1));
}

#[test]
fn a_newer_life_is_evidence_too() {
    let mut c = Cluster::running(2);
    c.write(2, b"a");
    c.run(5);
    let life = c.life(1);
    c.kill(1);
    c.run(200);
    let before = c.truth.len();
    c.start(1);
    c.until("it is back", 100, |c| c.all_are_members() && c.agrees());
    fenced_in_order(&c, before, 2, life, FenceProof::NewLife);
    let removed =
        |e: &Entry| matches!(e.kind, EntryKind::Remove { cause: RemovalCause::Superseded, .. });
    assert!(c.truth[before..].iter().any(removed));
    assert_eq!((c.writes(1, b"a"), c.truth[0].term.era), (1, 1), "no cold start");
    c.run(20);
    assert_eq!(c.leases(), [1, 2]);
}

#[test]
fn a_life_that_was_said_to_be_off_and_lives_gives_way_to_its_next() {
    let mut c = Cluster::running(2);
    c.write(2, b"before");
    c.run(5);
    c.isolate(2);
    // 1 led: what it appends now cannot be agreed, 2 asks for a later term in vain.
    c.run(200);
    let living = c.life(2);
    c.confirm(1).unwrap();
    c.run(50);
    c.write(1, b"alone");
    c.run(100);
    assert_eq!((c.leases(), c.writes(1, b"alone")), (vec![1], 1));
    assert!(c.agreement(2).roster().stint(living).is_member(), "it knows of nothing");
    assert!(!c.machines[&id(2)].holds_lease(c.now));
    c.heal();
    c.until("2 learns it", 50, |c| c.machines[&id(2)].ended.is_some());
    assert_eq!(c.leases(), [1], "it owns nothing");
    assert_eq!(c.agreement(1).roster().stint(living), Stint::NONE);
    c.begin_again(2);
    c.until("it is back", 200, |c| c.all_are_members() && c.agrees());
    assert_eq!(c.life(2).incarnation, Incarnation(2), "void lasts until the Admit of a newer life");
    assert_eq!((c.writes(2, b"before"), c.writes(2, b"alone")), (1, 1), "nothing is lost");
    assert_eq!((c.truth[0].term.era, c.agreement(1).faults()), (1, 0));
}

#[test]
fn the_same_when_the_living_one_led_and_when_it_has_promised_higher_terms() {
    for ahead in [false, true] {
        let mut c = Cluster::running(2);
        c.write(1, b"before");
        c.run(5);
        c.isolate(1);
        c.run(100);
        c.confirm(2).unwrap();
        c.write(1, b"never agreed");
        c.write(2, b"alone");
        c.run(100);
        if ahead {
            let term = wire::Term { era: 1, counter: 900, life: c.life(1) };
            let stale = c.life(2);
            c.forge(stale, 1, Message::Reject { term });
        }
        c.heal();
        c.until("1 learns it", 50, |c| c.machines[&id(1)].ended.is_some());
        c.begin_again(1);
        c.until("it is back", 200, |c| c.all_are_members() && c.agrees());
        assert_eq!((c.writes(1, b"before"), c.writes(1, b"alone")), (1, 1));
    }
}

#[test]
fn a_fresh_life_has_no_use_for_evidence() {
    let mut c = Cluster::running(2);
    c.kill(2);
    c.run(100);
    c.confirm(1).unwrap();
    c.write(1, b"alone");
    c.run(100);
    // The survivor dies before it has admitted its partner's next life, which may even have its log.
    c.cut.insert((id(2), id(1)));
    c.start(2);
    c.run(60);
    assert!(c.agreement(2).op() == Op(0) || c.agreement(2).status() == Status::Learner);
    c.kill(1);
    c.heal();
    c.run(100);
    assert_eq!(c.confirm(2), Err(FenceRefused::NoVote));
    c.run(100);
    assert_eq!(c.leases(), Vec::<u8>::new());
    let need = 2;
    let fresh = [id(2)].into_iter().collect();
    assert_eq!(c.agreement(2).waiting(), Some(Waiting::ColdStart { fresh, need }), "it says so");
    c.start(1);
    c.until("both new: a cold start", 400, Cluster::all_are_members);
    assert_eq!(c.truth[0].term.era, 2);
}

#[test]
fn evidence_is_refused_while_the_node_is_heard_and_forgotten_when_it_is_heard_again() {
    let mut c = Cluster::running(2);
    assert_eq!(c.confirm(1), Err(FenceRefused::Heard));
    assert_eq!(c.confirm(2), Err(FenceRefused::Heard));
    let before = c.truth.len();
    c.isolate(2);
    c.run(100);
    c.heal();
    c.until("together again", 200, |c| c.leases() == [1, 2]);
    assert!(c.truth[before..].iter().all(|e| !matches!(e.kind, EntryKind::Fenced { .. })));
    assert_eq!(c.confirm(1), Err(FenceRefused::Heard));
}

#[test]
fn evidence_about_an_earlier_life_gives_nothing() {
    let mut c = Cluster::running(2);
    let old = c.life(2);
    c.kill(2);
    c.run(100);
    c.confirm(1).unwrap();
    c.run(50);
    c.start(2);
    c.until("it is back", 200, |c| c.all_are_members() && c.agrees());
    // A second copy of what was said of life 1, by whatever way, when life 2 is silent.
    c.kill(2);
    c.run(100);
    c.forge(old, 1, Message::Order { life: old, order: Order::Fenced });
    c.call(1, |a, now| a.handle_timeout(now));
    c.run(50);
    assert_eq!(c.agreement(1).roster().void(), NodeSet::EMPTY);
    assert_eq!(c.leases(), Vec::<u8>::new());

    let (mut roster, voters) =
        (Roster::empty([1, 2].map(id).into_iter().collect()), [1, 2].map(id));
    let term = c.truth[0].term;
    let entry = |kind| Entry { term, level: 1, kind };
    for (op, node) in (1..).map(Op).zip(voters) {
        roster.apply(op, &entry(EntryKind::Admit { node, incarnation: Incarnation(2) }));
    }
    let (node, proof) = (id(2), FenceProof::Operator);
    let fenced = |i| entry(EntryKind::Fenced { node, incarnation: Incarnation(i), proof });
    assert!(!roster.apply(Op(3), &fenced(1)), "bound to the life");
    assert!(roster.apply(Op(4), &fenced(2)));
    assert!(
        !roster.votes(Life { node, incarnation: Incarnation(2) }),
        "given, it is not used twice"
    );
}

#[test]
fn with_three_voters_evidence_gives_no_vote() {
    let mut c = Cluster::running(3);
    c.kill(3);
    c.run(100);
    c.call(1, |a, now| a.handle_fenced_order(now, id(3)));
    c.run(20);
    assert!(c.truth.iter().any(|e| matches!(e.kind, EntryKind::Fenced { .. })), "for the services");
    assert_eq!(c.agreement(1).roster().void(), NodeSet::EMPTY);
    c.kill(2);
    c.run(100);
    c.call(1, |a, now| a.handle_fenced_order(now, id(2)));
    c.run(100);
    assert_eq!(c.leases(), Vec::<u8>::new());
}

#[test]
fn both_said_to_be_off_the_first_goes_on_and_the_other_begins_again() {
    let mut c = Cluster::running(2);
    c.write(1, b"before");
    c.run(5);
    c.isolate(2);
    c.run(100);
    c.confirm(1).unwrap();
    c.run(50);
    // The second assertion is as wrong as the first: from here on two logs exist, and the checkers follow the first.
    let second = c.machines.remove(&id(2)).unwrap();
    let mut second = second.agreement;
    let (now, one) = (c.now, c.life(1));
    second.handle_suspected(now, one, Stint::NONE);
    second.handle_fenced_order(now, id(1));
    let drain = |a: &mut Agreement| {
        let mut said = Vec::new();
        while let Some(action) = a.poll_action() {
            if let Action::Freeze { node, stint } = action {
                a.handle_frozen(now, node, stint, now + D);
            }
            said.push(action);
        }
        said
    };
    drain(&mut second);
    assert!(second.roster().is_void(id(1)), "it went on alone, too");
    // Healed: a frame of each reaches the other.
    let two = second.life();
    let ended = |life| Message::Ended { life };
    c.heal();
    c.forge(
        two,
        1,
        Message::Join { removed_at: Op(0), op: Op(0), fresh: false, era: 1, edition: edition() },
    );
    assert!(c.packets.iter().any(|p| p.to == id(2) && p.message == ended(two)));
    c.forge(two, 1, ended(one));
    assert_eq!(c.machines[&id(1)].ended, None, "the first in rank goes on");
    second.handle_message(now, one, ended(two));
    assert!(drain(&mut second).contains(&Action::SaidOff));
    c.start(2);
    c.until("it is back", 200, |c| c.all_are_members() && c.agrees());
    assert_eq!(c.writes(2, b"before"), 1);
}

/// Schedules in which the agreed log splits or loses an entry unless evidence is asked for, bound to a life, and
/// useless to a life without a vote. The pump's checkers see it (I1, I4).
mod schedules {
    use super::{Cluster, Op, Status, Stint};

    /// Cut off from each other, without a word of the operator.
    fn nobody_says_anything(off: &[&'static str]) {
        let mut c = Cluster::running_without(2, off);
        c.isolate(2);
        c.run(200);
        c.write(1, b"one");
        c.write(2, b"two");
        c.run(100);
    }

    /// The operator's word about a life of 2 is long past when its next life is cut off and 1 dies alone.
    fn an_old_word(off: &[&'static str]) {
        let mut c = Cluster::running_without(2, off);
        c.kill(2);
        c.run(100);
        c.confirm(1).unwrap();
        c.run(50);
        c.start(2);
        c.until("it is back", 200, |c| c.all_are_members() && c.agrees());
        c.isolate(2);
        c.run(200);
        c.write(1, b"alone");
        c.run(50);
        c.kill(1);
        c.run(100);
        c.confirm(2).unwrap();
        c.write(2, b"now");
        c.run(50);
        assert_eq!(c.writes(2, b"now"), 1);
    }

    /// 2 is new and has some of the log; 1 writes more and dies. What the operator says is true.
    fn a_word_to_a_new_life(off: &[&'static str]) {
        let mut c = Cluster::running_without(2, off);
        c.kill(2);
        c.run(100);
        c.confirm(1).unwrap();
        c.run(50);
        c.start(2);
        c.until("it has the log", 50, |c| c.agreement(2).commit() > Op(3));
        c.isolate(2);
        assert_eq!(c.agreement(2).status(), Status::Learner);
        c.run(100);
        c.write(1, b"more");
        c.run(20);
        assert_eq!(c.writes(1, b"more"), 1);
        let one = c.life(1);
        c.kill(1);
        // It has not had a beat of 1 itself; its fast path accuses it by the log.
        c.call(2, |a, now| a.handle_suspected(now, one, Stint::NONE));
        assert_eq!(c.confirm(2).is_ok(), !off.is_empty());
        c.write(2, b"now");
        c.run(100);
    }

    type Schedule = fn(&[&'static str]);
    const ALL: [(&str, Schedule); 3] = [
        ("evidence", nobody_says_anything),
        ("evidence-life", an_old_word),
        ("evidence-member", a_word_to_a_new_life),
    ];

    #[test]
    fn with_all_rules_nothing_is_lost() {
        ALL.iter().for_each(|(_, schedule)| schedule(&[]));
    }

    #[cfg(feature = "mutations")]
    #[test]
    fn with_its_rule_off_each_is_seen() {
        for (rule, schedule) in ALL {
            let seen = std::panic::catch_unwind(|| schedule(&[rule]));
            let seen = seen.expect_err(rule);
            let text = seen.downcast_ref::<String>().expect("the checker says what it saw");
            println!("{rule}: {text}");
            assert!(text.contains("I1") || text.contains("I4"), "{rule}: {text}");
        }
    }
}
