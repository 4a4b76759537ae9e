//! What a routine message has for consequences while all is calm is what it has when everything is asked.

use crate::pump::{Cluster, id};
use base::{Duration, Prng};
use std::sync::Arc;
use wire::{Configuration, EntryKind};

const STEPS: u64 = 12_000;

/// One thing that happens to both clusters alike.
fn happen(c: &mut Cluster, what: u64, (node, other): (u8, u8), (busy, step): (bool, u64)) {
    let runs = |c: &Cluster, n| c.machines.contains_key(&id(n));
    match what {
        0..400 if busy && runs(c, node) => {
            let client = wire::ClientId(u64::from(node));
            let seq = wire::Seq(c.agreement(node).applied(client).0 + 1 + what % 3);
            c.call(node, |a, now| _ = a.handle_request(now, client, seq, vec![step as u8; 64]));
        }
        400..402 if runs(c, node) => c.kill(node),
        402..435 if !runs(c, node) => c.start(node),
        435..441 if node != other => _ = c.cut.insert((id(node), id(other))),
        445..450 => c.heal(),
        450..470 if runs(c, node) => c.accuse(node, other),
        470..473 if runs(c, node) => c.call(node, |a, now| a.handle_removal_order(now, id(other))),
        473..478 if runs(c, node) => {
            let roster = c.agreement(node).roster();
            let (version, document) = (roster.version() + 1, Arc::from(vec![step as u8; 8]));
            let (interval_us, misses) = (10_000, 3);
            let before = Configuration::clone(roster.configuration());
            let wanted = Configuration { version, document, interval_us, misses, ..before };
            c.call(node, |a, now| _ = a.handle_configure(now, wanted));
        }
        478..480 => drop(c.slow.insert(id(node), None)),
        480..485 if runs(c, node) => c.disk_answers(node),
        485..490 => drop(c.slow.remove(&id(node))),
        490..492 => c.jitter = Duration::from_micros(300),
        492..494 => c.jitter = Duration::ZERO,
        _ => {}
    }
}

/// Two clusters that differ only in whether calm is used, and have to say the same, message by message.
struct Pair([Cluster; 2]);

impl Pair {
    /// No rule is called calm: with any switched off, everything is asked after each message.
    fn running(nodes: u8) -> Self {
        Self([Cluster::running(nodes), Cluster::running_without(nodes, &["calm"])])
    }

    /// The same happens to both, and a step later they have said the same.
    fn step(&mut self, what: impl Fn(&mut Cluster)) {
        for c in &mut self.0 {
            what(c);
            c.step();
        }
        let [calm, whole] = &self.0;
        if calm.packets != whole.packets {
            let more = |a: &Cluster, b: &Cluster| {
                let more = a.packets.iter().filter(|p| !b.packets.contains(p));
                more.map(|p| format!("  {p:?}\n")).collect::<String>()
            };
            let (calm, whole, state) = (more(calm, whole), more(whole, calm), whole.describe());
            panic!("calm says\n{calm}and else\n{whole}{state}");
        }
    }

    fn run(&mut self, ms: u64) {
        (0..ms * 10).for_each(|_| self.step(|_| {}));
    }

    fn until(&mut self, what: &str, ms: u64, holds: impl Fn(&Cluster) -> bool) {
        for _ in 0..ms * 10 {
            if holds(&self.0[0]) {
                return;
            }
            self.step(|_| {});
        }
        panic!("{what}: not in {ms} ms");
    }
}

/// In idle times a follower may hear nothing of its primary for long. Returns how many entries were committed.
fn compare(nodes: u8, seed: u64) -> usize {
    let mut pair = Pair::running(nodes);
    pair.0.iter_mut().for_each(|c| c.seed(seed));
    let (mut dice, mut busy, mut committed) = (Prng::new(seed), true, 0);
    for step in 0..STEPS {
        let mut node = || 1 + dice.below(u64::from(nodes)) as u8;
        let who = (node(), node());
        let what = dice.below(4_000);
        busy ^= dice.chance(1, 800);
        let before = pair.0[0].truth.len();
        pair.step(|c| happen(c, what, who, (busy, step)));
        committed += pair.0[0].truth.len().saturating_sub(before);
    }
    let [one, two] = &pair.0;
    assert_eq!(one.truth, two.truth);
    committed
}

#[test]
fn calm_changes_no_message() {
    let committed: usize = (1..=20).map(|seed| compare(3, seed) + compare(5, seed)).sum();
    assert!(committed > 10_000, "{committed}");
}

/// A follower calls the primary mute; what ends that is a routine message, and all are told at once.
#[test]
fn who_suspects_somebody_is_not_calm() {
    let mut pair = Pair::running(3);
    pair.step(|c| _ = c.write(1, b"all have the configuration"));
    pair.run(30);
    pair.step(|c| _ = c.cut.insert((id(1), id(2))));
    pair.until("2 calls it mute", 200, |c| !c.agreement(2).suspects(c.now).is_empty());
    pair.run(3);
    pair.step(|c| {
        c.heal();
        c.write(1, b"heard again");
    });
    pair.until("it is heard", 5, |c| c.agreement(2).suspects(c.now).is_empty());
    pair.run(50);
}

/// An acknowledgement that comes late completes an admission, and the admitted has fallen silent meanwhile.
#[test]
fn whose_log_has_more_than_requests_is_not_calm() {
    let mut pair = Pair::running(5);
    pair.step(|c| c.isolate(5));
    pair.until("it is removed", 200, |c| c.agreement(1).roster().members().count() == 4);
    pair.step(|c| _ = c.write(1, b"all have the configuration"));
    pair.run(20);
    pair.step(Cluster::heal);
    let admits = |c: &Cluster| {
        let agreement = c.agreement(1);
        agreement
            .log()
            .after(agreement.commit())
            .any(|(_, e)| matches!(e.kind, EntryKind::Admit { .. }))
    };
    pair.until("it is to be admitted", 200, admits);
    pair.step(|c| {
        c.isolate(5);
        c.cut.extend((2..=4).map(|n| (id(n), id(1))));
    });
    pair.run(45);
    assert!(admits(&pair.0[0]), "nobody acknowledges it");
    pair.step(|c| {
        c.heal();
        c.isolate(5);
    });
    pair.until("it is admitted", 50, |c| c.agreement(1).roster().members().count() == 5);
    pair.run(100);
}
