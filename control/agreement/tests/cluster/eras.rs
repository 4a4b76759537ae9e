//! Schedules of cold starts that break an era when one rule is off (PROTOCOL 6), delivered message by message. With all
//! rules on each is stopped; with its rule off a checker of the pump sees two batches in one era (I1), or a commit in an
//! era that is over (I9).

use crate::pump::{Cluster, Packet, id};
use base::Duration;
use wire::{Message, Op, Term};

/// What came of a script, unless a checker saw something.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The rules stopped it at this step.
    Blocked(&'static str),
    /// It went through.
    Through,
}

fn is_prepare(m: &Message) -> bool {
    matches!(m, Message::Prepare { entries, .. } if !entries.is_empty())
}
fn is_ok(m: &Message) -> bool {
    matches!(m, Message::PrepareOk { .. })
}
fn is_request(m: &Message) -> bool {
    matches!(m, Message::ColdRequest { .. })
}
fn is_promise(m: &Message) -> bool {
    matches!(m, Message::ColdPromise { .. })
}

impl Cluster {
    /// `who` hears that these are fresh, and know era `era`, until it stands for the next; the requests stay on their
    /// way.
    fn stand(&mut self, who: u8, with: &[u8], era: u32) -> bool {
        let waits = |c: &Self| {
            let asks = |p: &Packet| p.from.node == id(who) && is_request(&p.message);
            !c.packets.iter().any(asks)
        };
        for _ in 0..20 {
            for other in with {
                let life = self.life(*other);
                let (removed_at, op) = (Op::ZERO, Op::ZERO);
                let edition = self.charter(id(*other)).edition();
                let join = Message::Join { removed_at, op, fresh: true, era, edition };
                self.forge(life, who, join);
            }
            self.run(10);
            if !waits(self) {
                return true;
            }
        }
        false
    }

    /// `other` is asked to begin the era of `who`; true if it promises, which reaches `who`.
    fn ask_for_era(&mut self, who: u8, other: u8) -> bool {
        self.lose_promises(other, who);
        self.deliver(who, other, is_request);
        self.deliver(other, who, is_promise)
    }
    fn lose_promises(&mut self, from: u8, to: u8) {
        self.lose(|p| p.from.node == id(from) && p.to == id(to) && is_promise(&p.message));
    }

    /// `to` takes all that the primary `from` sends; what it answers stays on its way.
    fn take_all(&mut self, from: u8, to: u8) {
        self.lose(|p| p.from.node == id(to) && p.to == id(from) && is_ok(&p.message));
        // The oldest first: `deliver` takes the newest, which a node asks the beginning of.
        for _ in 0..8 {
            let fits =
                |p: &Packet| p.from.node == id(from) && p.to == id(to) && is_prepare(&p.message);
            let Some(at) = self.packets.iter().position(fits) else { break };
            let first = self.packets.remove(at);
            self.forge(first.from, to, first.message);
        }
    }

    /// Messages stay on their way until they are delivered by hand.
    fn by_hand(&mut self) {
        self.hop = Duration::from_millis(1_000_000);
    }

    /// Five fresh lives of which nobody has heard.
    fn five_fresh(off: &[&'static str]) -> Self {
        let mut c = Self::empty(5, &[]);
        c.off = off.to_vec();
        c.by_hand();
        (1..=5).for_each(|n| c.start(n));
        c.run(40);
        c
    }
}

/// Era 1 begins with {3,4,5}; 5 restarts, forgets what its former life promised, and promises 1 the same number.
fn era_twice(off: &[&'static str]) -> End {
    let mut c = Cluster::five_fresh(off);
    if !c.stand(3, &[4, 5], 0) || !c.ask_for_era(3, 4) || !c.ask_for_era(3, 5) {
        return End::Blocked("first era");
    }
    for other in [4, 5] {
        c.take_all(3, other);
        c.deliver(other, 3, is_ok);
    }
    if c.agreement(3).commit() == Op::ZERO {
        return End::Blocked("first batch");
    }
    c.kill(5);
    c.lose(|_| true);
    // What it has stored of the batch's configuration would stop it too (R-CONF-DURABLE): the era's record is looked at.
    c.charters.remove(&id(5));
    c.start(5);
    c.run(40);
    if !c.stand(1, &[2, 5], 0) || !c.ask_for_era(1, 2) || !c.ask_for_era(1, 5) {
        return End::Blocked("promise");
    }
    for other in [2, 5] {
        c.take_all(1, other);
        c.deliver(other, 1, is_ok);
    }
    End::Through
}

/// Era 1 begins with {3,4,5}; 4 and 5 have acknowledged it, and nobody knows yet that it is committed. 5 helps 1 to
/// begin another.
fn fresh_by_commit(off: &[&'static str]) -> End {
    let mut c = Cluster::five_fresh(off);
    if !c.stand(3, &[4, 5], 0) || !c.ask_for_era(3, 4) || !c.ask_for_era(3, 5) {
        return End::Blocked("first era");
    }
    for other in [4, 5] {
        c.take_all(3, other);
    }
    // What they answer stays on its way.
    let late: Vec<_> =
        c.packets.iter().filter(|p| p.to == id(3) && is_ok(&p.message)).cloned().collect();
    c.lose(|_| true);
    if !c.stand(1, &[2, 5], 1) || !c.ask_for_era(1, 2) || !c.ask_for_era(1, 5) {
        return End::Blocked("promise");
    }
    for other in [2, 5] {
        c.take_all(1, other);
        c.deliver(other, 1, is_ok);
    }
    if c.agreement(1).commit() == Op::ZERO {
        return End::Blocked("second batch");
    }
    for packet in late {
        c.forge(packet.from, 3, packet.message);
    }
    End::Through
}

/// The new life of 2 is admitted by 1 and 3, and does not know it. 3 restarts, too, and 2 promises it an era. Then 2
/// hears of its admission, and acknowledges in the old era.
fn cold_binds(off: &[&'static str]) -> End {
    let mut c = Cluster::running_without(3, off);
    c.run(1);
    c.lose(|_| true);
    c.by_hand();
    c.kill(2);
    c.start(2);
    let life = c.life(2);
    for n in [1, 3] {
        c.call(n, |a, now| a.handle_appeared(now, life));
    }
    c.take_all(1, 3);
    c.deliver(3, 1, is_ok);
    // It gets the log and asks to be admitted.
    c.forge(life, 1, Message::Fetch { term: Term::NONE, from: Op(1) });
    c.take_all(1, 2);
    c.deliver(2, 1, is_ok);
    c.lose(|_| true);
    let (removed_at, op) = (Op::ZERO, Op::ZERO);
    let edition = c.charter(id(2)).edition();
    c.forge(life, 1, Message::Join { removed_at, op, fresh: true, era: 0, edition });
    c.take_all(1, 3);
    c.deliver(3, 1, is_ok);
    if !c.agreement(1).roster().votes(life) {
        return End::Blocked("admit");
    }
    c.write(1, b"late");
    let unheard: Vec<_> = c
        .packets
        .iter()
        .filter(|p| p.from.node == id(1) && p.to == id(2) && is_prepare(&p.message))
        .cloned()
        .collect();
    c.kill(3);
    c.lose(|_| true);
    c.start(3);
    c.run(70);
    if !c.stand(3, &[2], 1) {
        return End::Blocked("stand");
    }
    c.lose_promises(2, 3);
    c.deliver(3, 2, is_request);
    // Its promise stays on its way; it hears of its admission.
    for packet in unheard {
        c.forge(packet.from, 2, packet.message);
    }
    let late: Vec<_> = c
        .packets
        .iter()
        .filter(|p| p.from == life && p.to == id(1) && is_ok(&p.message))
        .cloned()
        .collect();
    c.deliver(2, 3, is_promise);
    c.take_all(3, 2);
    c.deliver(2, 3, is_ok);
    if c.agreement(3).commit() == Op::ZERO {
        return End::Blocked("second batch");
    }
    let before = c.agreement(1).commit();
    for packet in late {
        c.forge(packet.from, 1, packet.message);
    }
    if c.agreement(1).commit() == before { End::Blocked("acknowledge") } else { End::Through }
}

type Script = fn(&[&'static str]) -> End;

/// The rules that must be off together: a life that holds the batch of an era also knows its configuration, so that the
/// editions of two candidates differ, which stops what R-FRESH stops.
const SCRIPTS: [(&[&str], Script); 3] = [
    (&["era-twice"], era_twice),
    (&["fresh-by-commit", "cold-version"], fresh_by_commit),
    (&["cold-binds"], cold_binds),
];

#[test]
fn with_all_rules_no_schedule_breaks_an_era() {
    for (rules, script) in SCRIPTS {
        let end = script(&[]);
        println!("{rules:?}: {end:?}");
        let late = ["promise", "acknowledge", "second batch"];
        assert!(matches!(end, End::Blocked(at) if late.contains(&at)), "{rules:?}: {end:?}");
    }
}

#[cfg(feature = "mutations")]
#[test]
fn with_its_rule_off_every_schedule_breaks_one() {
    for (rules, script) in SCRIPTS {
        let end = std::panic::catch_unwind(|| script(rules));
        println!("without {rules:?}: {end:?}");
        assert!(end.is_err(), "{rules:?}: {end:?}");
    }
}
