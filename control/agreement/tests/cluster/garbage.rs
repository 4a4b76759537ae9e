//! Messages that no peer would send: an agreement counts or drops them, and never panics.

use crate::pump::{Cluster, D, id};
use base::{Duration, Instant, Prng};
use ng_agreement::{Action, Agreement};
use std::sync::Arc;
use wire::entry::RemovalCause;
use wire::message::{Order, Suspicion};
use wire::{
    Charter, ClientId, Configuration, Edition, Entry, EntryKind, Incarnation, Life, Message,
    NodeSet, Op, Seq, Stint, Term,
};

/// Small numbers near what is in use, and now and then the largest.
struct Garbage(Prng);

impl Garbage {
    fn number(&mut self) -> u64 {
        if self.0.chance(1, 20) { u64::MAX - self.0.below(2) } else { self.0.below(9) }
    }
    fn short(&mut self) -> u32 {
        if self.0.chance(1, 20) { u32::MAX } else { self.0.below(4) as u32 }
    }
    fn op(&mut self) -> Op {
        Op(self.number())
    }
    /// Seldom a newer life: one of the own node ends the agreement.
    fn life(&mut self) -> Life {
        let newest = if self.0.chance(1, 300) { 3 } else { 2 };
        let incarnation = Incarnation(self.0.below(newest) as u32);
        Life { node: id(1 + self.0.below(5) as u8), incarnation }
    }
    fn term(&mut self) -> Term {
        Term { era: self.short(), counter: self.short(), life: self.life() }
    }
    fn kind(&mut self) -> EntryKind {
        let Life { node, incarnation } = self.life();
        match self.0.below(8) {
            0 => EntryKind::Noop,
            1 => EntryKind::Request {
                client: ClientId(self.number()),
                seq: Seq(self.number()),
                body: vec![1].into(),
            },
            2 => EntryKind::Cold {
                era: self.short(),
                admits: self.0.below(129) as u8,
                version: self.short(),
                electorate: self.nodes(),
                absent: self.nodes(),
            },
            5 => EntryKind::Configure { configuration: Arc::new(self.configuration()) },
            6 => EntryKind::Vote {
                version: self.short(),
                node,
                incarnation,
                votes: self.0.chance(1, 2),
            },
            3 => EntryKind::Admit { node, incarnation },
            4 => {
                let stint = Stint::of(1, self.op());
                EntryKind::Remove { node, incarnation, stint, cause: RemovalCause::Silent }
            }
            _ => {
                let proof = wire::entry::FenceProof::Operator;
                EntryKind::Fenced { node, incarnation, proof }
            }
        }
    }
    fn nodes(&mut self) -> NodeSet {
        NodeSet(u128::from(self.0.below(64)))
    }
    fn configuration(&mut self) -> Configuration {
        Configuration {
            version: self.short(),
            nodes: self.nodes(),
            interval_us: self.0.below(3) as u32 * 5_000,
            ..Configuration::plain(self.nodes(), self.nodes())
        }
    }
    fn edition(&mut self) -> Edition {
        Edition { version: self.short(), term: self.term(), digest: self.0.below(2) }
    }
    fn entries(&mut self) -> Vec<Entry> {
        let count = self.0.below(4);
        let entry = |g: &mut Self| Entry { term: g.term(), level: 1, kind: g.kind() };
        (0..count).map(|_| entry(self)).collect()
    }
    fn message(&mut self) -> Message {
        let (term, op, prev_op) = (self.term(), self.op(), self.op());
        match self.0.below(17) {
            0 | 1 => Message::Prepare {
                term,
                prev_op,
                prev_term: self.term(),
                entries: self.entries(),
                commit: op,
                release: self.op(),
                held: self.op(),
            },
            2 => Message::PrepareOk { term, op },
            3 => Message::Reject { term },
            4 => Message::Fetch { term, from: op },
            5 => {
                let set = vec![Suspicion { life: self.life(), stint: Stint(3), obituary: true }];
                Message::Suspect { term, number: self.number(), set }
            }
            6 => Message::PromiseRequest { term },
            7 => Message::Promise {
                term,
                commit: op,
                last_op: self.op(),
                last_term: self.term(),
                prev_op,
                prev_term: self.term(),
                tail: self.entries(),
            },
            8 => Message::Join {
                removed_at: op,
                op: prev_op,
                fresh: true,
                era: self.short(),
                edition: self.edition(),
            },
            9 => Message::Stale { node: self.life().node, highest: Incarnation(1) },
            10 => {
                let (client, seq, first) = (ClientId(1), Seq(self.number()), Seq(self.number()));
                Message::Request { client, seq, first, body: Vec::new().into() }
            }
            11 => Message::ColdRequest { term, edition: self.edition() },
            12 => Message::ColdPromise { term, edition: self.edition() },
            13 => Message::ColdRelease { term },
            14 => Message::Configure { configuration: Arc::new(self.configuration()) },
            15 => {
                let Edition { version, term, .. } = self.edition();
                let configuration = Arc::new(self.configuration());
                let electorate = self.nodes();
                Message::Charter { charter: Charter { version, term, electorate, configuration } }
            }
            _ if self.0.chance(1, 4) => Message::Ended { life: self.life() },
            _ if self.0.chance(1, 2) => {
                Message::Committed { prev_op, prev_term: self.term(), entries: self.entries() }
            }
            _ => Message::Order { life: self.life(), order: Order::Fenced },
        }
    }
}

fn drain(agreement: &mut Agreement, now: Instant) {
    while let Some(action) = agreement.poll_action() {
        match action {
            Action::Freeze { node, stint } => agreement.handle_frozen(now, node, stint, now + D),
            Action::StoreEra { era } => agreement.handle_era_stored(now, era),
            _ => {}
        }
    }
}

#[test]
fn no_message_makes_an_agreement_panic() {
    let mut handled = 0;
    for seed in 0..150 {
        let mut c = Cluster::running(3);
        let mut now = c.now;
        let mut garbage = Garbage(Prng::new(seed));
        let mut machine = c.machines.remove(&id(1 + (seed % 3) as u8)).unwrap();
        for _ in 0..300 {
            let (from, message) = (garbage.life(), garbage.message());
            machine.agreement.handle_message(now, from, message);
            drain(&mut machine.agreement, now);
            now += Duration::from_micros(700);
            machine.agreement.handle_timeout(now);
            drain(&mut machine.agreement, now);
            let _ = machine.agreement.waiting();
            if machine.agreement.poll_deadline().is_none() {
                break;
            }
            handled += 1;
        }
    }
    assert!(handled > 5_000, "{handled}: most of it was said to an agreement that had ended");
}
