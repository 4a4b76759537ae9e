//! Changing members online (PROTOCOL 8), and what a cold start rests on after that.

use crate::pump::{Cluster, D, id};
use ng_agreement::{Action, ConfigureRefused, OverrideRefused, Status};
use wire::{Charter, Configuration, EntryKind, NodeSet};

fn set(nodes: &[u8]) -> NodeSet {
    nodes.iter().copied().map(id).collect()
}

/// What all nodes `nodes` are to be, with these voters, as the next version at node `n`.
fn next(c: &Cluster, n: u8, nodes: &[u8], voters: &[u8]) -> Configuration {
    let version = c.agreement(n).roster().version() + 1;
    Configuration {
        version,
        nodes: set(nodes),
        ..Configuration::plain(set(voters), NodeSet::EMPTY)
    }
}

fn configure(c: &mut Cluster, n: u8, wanted: Configuration) -> Result<(), ConfigureRefused> {
    let mut result = Ok(());
    c.call(n, |a, now| result = a.handle_configure(now, wanted));
    result
}

impl Cluster {
    /// So many nodes, of which the file gives a vote to some only.
    pub(crate) fn with_voters(n: u8, nodes: &[u8], voters: &[u8]) -> Self {
        let mut c = Self::empty(n, &[]);
        let plain = Configuration::plain(set(voters), NodeSet::EMPTY);
        c.file = Some(Charter::of_file(Configuration { nodes: set(nodes), ..plain }));
        (1..=n).for_each(|n| c.start(n));
        c.until("all that are configured are members", 300, |c| {
            nodes.iter().all(|n| c.stint(*n).is_member())
        });
        c.run(20);
        c
    }

    /// True if these vote by the log of all that run of `of`.
    fn votes_are(&self, of: &[u8], voters: &[u8]) -> bool {
        let all = of.iter().filter(|n| self.machines.contains_key(&id(**n)));
        all.copied().all(|n| self.agreement(n).roster().voters == set(voters))
    }
}

#[test]
fn votes_follow_what_is_wanted_one_by_one() {
    let mut c = Cluster::with_voters(5, &[1, 2, 3, 4, 5], &[1, 2, 3]);
    assert_eq!(c.agreement(4).status(), Status::Learner, "a member without a vote");
    assert!(c.machines[&id(4)].holds_lease(c.now));
    let wanted = next(&c, 2, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
    let version = wanted.version;
    configure(&mut c, 2, wanted).unwrap();
    c.until("five vote", 200, |c| c.votes_are(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]));
    let made: Vec<_> =
        c.truth.iter().filter(|e| matches!(e.kind, EntryKind::Vote { .. })).collect();
    assert_eq!(made.len(), 2);
    assert_eq!(c.agreement(1).roster().version(), version + 2);
    c.run(20);
    assert_eq!(c.charters[&id(5)].electorate, set(&[1, 2, 3, 4, 5]), "stored everywhere");
    // Two of five may die now.
    c.kill(1);
    c.kill(2);
    c.until("the others remove them", 200, |c| c.agreement(5).roster().members().count() == 3);
}

#[test]
fn a_primary_hands_over_before_its_vote_is_taken() {
    let mut c = Cluster::with_voters(4, &[1, 2, 3, 4], &[1, 2, 3]);
    assert_eq!(c.primary(), Some(1));
    let wanted = next(&c, 1, &[1, 2, 3, 4], &[2, 3, 4]);
    configure(&mut c, 1, wanted).unwrap();
    c.until("the votes follow", 300, |c| c.votes_are(&[1, 2, 3, 4], &[2, 3, 4]));
    assert_ne!(c.primary(), Some(1));
    assert!(c.stint(1).is_member(), "it stays a member");
    c.run(30);
    assert!(c.machines[&id(1)].holds_lease(c.now));
    c.write(1, b"still heard");
    c.until("it is applied", 50, |c| c.applied(4).contains(&b"still heard".to_vec()));
}

/// The new primary of a pair knows of the pair by the third, which lost its vote to make it one.
#[test]
fn what_only_a_node_without_a_vote_knows_to_be_committed_is_learnt() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2, 3]);
    assert_eq!(c.primary(), Some(1));
    let wanted = next(&c, 1, &[1, 2, 3], &[1, 3]);
    configure(&mut c, 1, wanted).unwrap();
    c.until("the vote is to be taken", 200, |c| {
        let agreement = c.agreement(1);
        let mut above = agreement.log().after(agreement.commit());
        above.any(|(_, entry)| matches!(entry.kind, EntryKind::Vote { .. }))
    });
    c.cut.insert((id(1), id(3)));
    c.cut.insert((id(2), id(3)));
    c.lose(|packet| packet.to == id(3));
    c.until("2 knows that it is", 50, |c| c.votes_are(&[2], &[1, 3]));
    assert!(c.votes_are(&[3], &[1, 2, 3]), "3 does not");
    c.kill(1);
    c.heal();
    c.start(1);
    c.until("3 goes on, as half of a pair whose other life is over", 400, |c| {
        c.agreement(3).status() == Status::Primary && c.stint(1).is_member()
    });
}

/// Votes follow what is wanted one by one, and a vote waits for its node.
#[test]
fn a_witness_leads_while_nobody_else_has_a_vote() {
    let mut c = Cluster::with_voters(2, &[1, 2], &[1]);
    c.kill(2);
    let wanted = Configuration { witnesses: set(&[1]), ..next(&c, 1, &[1, 2], &[1, 2]) };
    configure(&mut c, 1, wanted).unwrap();
    c.until("it is a witness", 300, |c| c.agreement(1).roster().witnesses() == set(&[1]));
    c.run(100);
    assert!(c.votes_are(&[1], &[1]), "2 is not there");
    c.kill(1);
    c.start(1);
    c.until("it begins an era", 400, |c| c.primary() == Some(1));
    c.start(2);
    c.until("2 leads when it has its vote", 400, |c| {
        c.primary() == Some(2) && c.votes_are(&[1, 2], &[1, 2])
    });
}

#[test]
fn who_is_configured_no_more_is_removed_and_forgotten() {
    let mut c = Cluster::with_voters(5, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
    c.kill(5);
    let wanted = next(&c, 3, &[1, 2, 3], &[1, 2, 3]);
    configure(&mut c, 3, wanted).unwrap();
    c.until("three vote", 300, |c| c.votes_are(&[1, 2, 3], &[1, 2, 3]));
    c.until("the one that did not leave is removed", 4_000, |c| {
        c.agreement(1).roster().seat(id(4)).is_none()
    });
    assert!(c.agreement(1).roster().seat(id(5)).is_none());
    c.run(200);
    assert!(c.agreement(1).roster().seat(id(4)).is_none(), "it asks in vain");
    let wanted = next(&c, 1, &[1, 2, 3, 4], &[1, 2, 3]);
    configure(&mut c, 1, wanted).unwrap();
    c.until("it is back", 200, |c| c.stint(4).is_member());
}

#[test]
fn a_pair_becomes_three_and_a_pair_again() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2]);
    let wanted = next(&c, 1, &[1, 2, 3], &[1, 2, 3]);
    configure(&mut c, 1, wanted).unwrap();
    c.until("three vote", 200, |c| c.votes_are(&[1, 2, 3], &[1, 2, 3]));
    c.kill(1);
    c.until("two of three go on", 200, |c| c.agreement(2).roster().members().count() == 2);
    let wanted = next(&c, 2, &[2, 3], &[2, 3]);
    configure(&mut c, 2, wanted).unwrap();
    c.until("a pair", 300, |c| c.votes_are(&[2, 3], &[2, 3]));
    assert!(c.agreement(2).needs_evidence(id(3)), "R-FENCE is back");
    c.kill(3);
    c.run(300);
    assert!(c.agreement(2).roster().stint(c.life(2)).is_member());
    let committed = c.agreement(2).commit();
    c.write(2, b"alone");
    c.run(100);
    assert_eq!(c.agreement(2).commit(), committed, "one of a pair alone agrees nothing");
}

#[test]
fn what_was_given_in_a_pair_is_given_in_no_other() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2]);
    let dead = c.life(2);
    c.kill(2);
    c.run(2 * D.millis());
    c.call(1, |a, now| a.handle_fenced_order(now, id(2)));
    c.until("it goes on alone", 200, |c| c.agreement(1).roster().is_void(id(2)));
    c.run(100);
    let wanted = next(&c, 1, &[1, 2, 3], &[1, 2, 3]);
    configure(&mut c, 1, wanted).unwrap();
    c.until("three vote", 300, |c| c.votes_are(&[1, 3], &[1, 2, 3]));
    let roster = c.agreement(1).roster();
    assert!(roster.void().is_empty() && !roster.votes(dead), "no gift, and no vote either");
    let committed = c.agreement(1).commit();
    c.kill(3);
    c.write(1, b"alone");
    c.run(200);
    assert!(c.agreement(1).commit() <= committed.next(), "one of three agrees nothing");
}

#[test]
fn nothing_is_acknowledged_before_it_is_stored() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2, 3]);
    c.slow.insert(id(2), None);
    c.slow.insert(id(3), None);
    let before = c.agreement(1).commit();
    let wanted = next(&c, 1, &[1, 2, 3], &[1, 2, 3]);
    configure(&mut c, 1, wanted).unwrap();
    c.write(1, b"after");
    c.run(500);
    assert_eq!(c.agreement(1).commit(), before, "R-CONF-DURABLE: one disk of three has it");
    assert!(c.all_are_members(), "a slow disk is no reason to remove anybody");
    c.disk_answers(3);
    c.until("a majority has it", 20, |c| c.agreement(1).commit() > before);
    // Known to be committed it is stored by a majority, and waits for no other disk.
    c.until("all acknowledge it", 30, |c| c.applied(1).contains(&b"after".to_vec()));
}

/// R-BARRIER holds for what another node asks for as well (seed 5758).
#[test]
fn nothing_but_removals_stands_above_a_change_that_is_open() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2, 3]);
    for n in 1..=3 {
        c.slow.insert(id(n), None);
    }
    let wanted = next(&c, 1, &[1, 2, 3], &[1, 2, 3]);
    configure(&mut c, 1, wanted).unwrap();
    let changed = c.agreement(1).log().op();
    for n in 1..=3 {
        c.write(n, &[n]);
    }
    c.run(100);
    assert_eq!(c.agreement(1).log().op(), changed);
    for n in 1..=3 {
        c.disk_answers(n);
        c.slow.remove(&id(n));
    }
    c.until("all is written", 200, |c| c.applied(2).len() == 3);
}

#[test]
fn an_appended_vote_bounds_the_lease_before_it_is_committed() {
    let mut c = Cluster::with_voters(4, &[1, 2, 3, 4], &[1, 2, 3]);
    for n in 1..=3 {
        c.slow.insert(id(n), None);
    }
    let wanted = next(&c, 1, &[1, 2, 3, 4], &[1, 2, 3, 4]);
    configure(&mut c, 1, wanted).unwrap();
    c.run(2);
    for n in 1..=3 {
        c.disk_answers(n);
    }
    c.until("the vote is on its way", 40, |c| {
        c.agreement(2)
            .log()
            .after(c.agreement(2).commit())
            .any(|(_, e)| matches!(e.kind, EntryKind::Vote { .. }))
    });
    assert_eq!(c.next_voters(2), Some(set(&[1, 2, 3, 4])), "R-LEASE-CONF");
    assert!(c.votes_are(&[2], &[1, 2, 3]));
    for n in 1..=3 {
        c.disk_answers(n);
        c.slow.remove(&id(n));
    }
    c.until("four vote", 100, |c| c.votes_are(&[1, 2, 3, 4], &[1, 2, 3, 4]));
    assert_eq!(c.next_voters(2), None);
}

#[test]
fn what_cannot_be_taken_is_refused_with_its_reason() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2, 3]);
    let good = next(&c, 1, &[1, 2, 3], &[1, 2, 3]);
    let in_force = good.version - 1;
    let mut refused = |change: &dyn Fn(&mut Configuration)| {
        let mut wanted = good.clone();
        change(&mut wanted);
        configure(&mut c, 1, wanted).unwrap_err()
    };
    assert_eq!(refused(&|w| w.version += 1), ConfigureRefused::Version { in_force });
    assert_eq!(refused(&|w| w.voters = NodeSet::EMPTY), ConfigureRefused::NobodyLeads);
    assert_eq!(refused(&|w| w.witnesses = w.voters), ConfigureRefused::NobodyLeads);
    assert_eq!(refused(&|w| w.voters.insert(id(9))), ConfigureRefused::NotConfigured(set(&[9])));
    assert_eq!(refused(&|w| w.misses = 0), ConfigureRefused::Timing);
    assert_eq!(refused(&|w| w.level = 0), ConfigureRefused::LevelFalls { level: 1 });
    assert_eq!(refused(&|w| w.level = 2), ConfigureRefused::LevelTooHigh(id(1)));
    assert_eq!(refused(&|w| w.document = vec![0; 70_000].into()), ConfigureRefused::TooLarge);
    c.kill(2);
    c.until("it is out", 100, |c| c.agreement(1).roster().members().count() == 2);
    let wanted = next(&c, 1, &[1, 2], &[1, 2]);
    let silent = set(&[2]);
    let majority = Err(ConfigureRefused::Majority { silent, need: 2 });
    assert_eq!(configure(&mut c, 1, wanted), majority);
}

#[test]
fn of_two_changes_of_one_version_one_is_an_entry() {
    let mut c = Cluster::with_voters(4, &[1, 2, 3, 4], &[1, 2, 3]);
    let more = next(&c, 2, &[1, 2, 3, 4], &[1, 2, 3, 4]);
    let less = next(&c, 3, &[1, 2, 3], &[1, 2, 3]);
    configure(&mut c, 2, more).unwrap();
    configure(&mut c, 3, less).unwrap();
    c.run(300);
    let agreed = c.truth.iter().filter(|e| matches!(e.kind, EntryKind::Configure { .. })).count();
    assert_eq!(agreed, 2, "that of the batch, and one of the two");
}

#[test]
fn a_cold_start_rests_on_the_latest_electorate_that_anybody_knows() {
    let mut c = Cluster::with_voters(5, &[1, 2, 3, 4, 5], &[1, 2, 3]);
    // 1 is away while votes are given to 4 and 5.
    c.kill(1);
    c.until("it is out", 200, |c| c.agreement(2).roster().members().count() == 4);
    let wanted = next(&c, 2, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
    configure(&mut c, 2, wanted).unwrap();
    c.until("five vote", 300, |c| c.votes_are(&[2, 3, 4, 5], &[1, 2, 3, 4, 5]));
    (2..=5).for_each(|n| c.kill(n));
    c.run(50);
    // Two of the first three: a majority of what 1 remembers, and not of what 2 knows.
    c.start(1);
    c.start(2);
    c.run(500);
    assert_eq!(c.agreement(1).status(), Status::Learner);
    assert_eq!(c.charters[&id(1)].electorate, set(&[1, 2, 3, 4, 5]), "1 has learned it from 2");
    c.start(4);
    c.until("three of five begin", 500, |c| c.stint(1).is_member() && c.stint(4).is_member());
    assert!(matches!(c.truth[0].kind, EntryKind::Cold { era: 2, electorate, .. }
        if electorate == set(&[1, 2, 3, 4, 5])));
}

#[test]
fn files_that_differ_begin_nothing_together() {
    let mut c = Cluster::empty(2, &[]);
    let file = Configuration::plain(set(&[1, 2]), NodeSet::EMPTY);
    c.charters.insert(id(2), Charter::of_file(Configuration { digest: 7, ..file }));
    c.start(1);
    c.start(2);
    c.run(500);
    assert_eq!(c.agreement(1).status(), Status::Learner);
    assert_eq!(c.agreement(1).contradicting(), set(&[2]), "named for the alarm");
}

#[test]
fn an_operator_overrides_a_cold_start_that_lacks_a_majority() {
    let mut c = Cluster::with_voters(5, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
    let mut refused = Ok(());
    c.call(1, |a, now| refused = a.handle_override(now, set(&[5])));
    assert_eq!(refused, Err(OverrideRefused::NotFresh));
    (1..=5).for_each(|n| c.kill(n));
    c.run(50);
    c.start(1);
    c.start(2);
    c.run(300);
    assert!(!c.agreement(1).roster().stint(c.life(1)).is_member());
    let mut ask = |absent: &[u8]| {
        let mut result = Ok(());
        c.call(1, |a, now| result = a.handle_override(now, set(absent)));
        result
    };
    assert_eq!(ask(&[2, 3]), Err(OverrideRefused::Heard(set(&[2]))));
    assert_eq!(ask(&[7]), Err(OverrideRefused::NotVoters(set(&[7]))));
    assert_eq!(ask(&[3, 4, 5]), Ok(()));
    c.until("an era without them", 500, |c| c.votes_are(&[1, 2], &[1, 2]));
    // Far above what the absent may have begun.
    let EntryKind::Cold { era: 1_001, absent, .. } = c.truth[0].kind else {
        panic!("{:?}", c.truth[0])
    };
    assert_eq!(absent, set(&[3, 4, 5]));
    let fenced = |e: &&wire::Entry| matches!(e.kind, EntryKind::Fenced { .. });
    assert_eq!(c.truth.iter().filter(fenced).count(), 3, "the log says who was asserted");
    // They come back, and their votes with them.
    (3..=5).for_each(|n| c.start(n));
    c.until("all vote again", 1_000, |c| c.votes_are(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]));
}

#[test]
fn the_level_rises_when_all_understand_it_and_an_older_release_stops() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2, 3]);
    c.level = 2;
    for n in [1, 2] {
        c.kill(n);
        c.run(50);
        c.start(n);
        c.until("it is back with the newer release", 300, Cluster::all_are_members);
    }
    let raise = |c: &Cluster| Configuration { level: 2, ..next(c, 1, &[1, 2, 3], &[1, 2, 3]) };
    let lives: Vec<_> = [1, 2, 3].map(|n| c.life(n)).into();
    c.call(1, |a, _| lives.iter().for_each(|l| a.handle_level(*l, 2 - u16::from(l.node == id(3)))));
    let wanted = raise(&c);
    let refused = ConfigureRefused::LevelTooHigh(id(3));
    assert_eq!(configure(&mut c, 1, wanted), Err(refused));
    c.kill(3);
    c.until("it is out", 200, |c| c.agreement(1).roster().members().count() == 2);
    let (wanted, primary) = (raise(&c), c.primary().unwrap());
    for n in [1, 2] {
        let lives = lives.clone();
        c.call(n, |a, _| lives.iter().for_each(|l| a.handle_level(*l, 2)));
    }
    configure(&mut c, primary, wanted).unwrap();
    c.until("entries of the level", 200, |c| c.agreement(1).roster().configuration().level == 2);
    c.write(1, b"new");
    c.run(50);
    assert_eq!(c.truth.last().unwrap().level, 2);
    c.level = 1;
    c.start(3);
    c.run(200);
    assert_eq!(c.machines[&id(3)].ended, Some(Action::Outdated { level: 2 }));
}

/// What was leased by an electorate has ended before one that is two votes on can remove its holder.
#[test]
fn a_vote_waits_until_leases_of_the_electorate_before_the_last_are_over() {
    let mut c = Cluster::with_voters(5, &[1, 2, 3, 4, 5], &[1, 2, 3]);
    let wanted = next(&c, 1, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
    configure(&mut c, 1, wanted).unwrap();
    let first = c.until("four vote", 100, |c| c.votes_are(&[1, 2, 3, 4, 5], &[1, 2, 3, 4]));
    assert!(first < D, "{first}: no vote was before it");
    let second = c.until("five vote", 100, |c| c.votes_are(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]));
    assert!(second + c.hop * 4 >= D, "{second}");
}

/// Disks that take longer than a batch may go without a word are no reason to give the era up (simulator, seed 503); and who
/// is admitted owes nothing from before (seed 832).
#[test]
fn a_batch_waits_for_slow_disks_and_a_new_member_owes_nothing() {
    let mut c = Cluster::empty(4, &[]);
    let plain = Configuration::plain(set(&[1, 2, 3]), NodeSet::EMPTY);
    c.file = Some(Charter::of_file(Configuration { nodes: set(&[1, 2, 3, 4]), ..plain }));
    for n in 1..=4 {
        c.slow.insert(id(n), None);
        c.start(n);
    }
    c.run(500);
    assert!(c.machines.values().all(|m| m.ended.is_none()), "{}", c.describe());
    for n in 1..=4 {
        c.disk_answers(n);
        c.slow.remove(&id(n));
    }
    c.until("all are members", 100, |c| (1..=4).all(|n| c.stint(n).is_member()));
    c.run(100);
    assert!(!c.truth.iter().any(|e| matches!(e.kind, EntryKind::Remove { .. })));
}

/// R-ERA: who got its vote in the middle of an era has promised none, and begins the next one all the same (simulator, seed
/// 2795).
#[test]
fn an_era_is_known_by_who_got_its_vote_in_the_middle_of_it() {
    let mut c = Cluster::with_voters(3, &[1, 2, 3], &[1, 2]);
    let wanted = next(&c, 1, &[1, 2, 3], &[3]);
    configure(&mut c, 1, wanted).unwrap();
    c.until("it votes alone", 500, |c| c.votes_are(&[1, 2, 3], &[3]));
    c.run(20);
    (1..=3).for_each(|n| c.kill(n));
    c.start(3);
    c.until("the next era", 500, |c| c.stint(3).is_member());
    assert!(matches!(c.truth[0].kind, EntryKind::Cold { era: 2, .. }), "{:?}", c.truth[0]);
}
