//! Schedules that lose a committed entry when one rule is off, delivered message by message. They come from the
//! explorer that checked the protocol; "peers-1" and "peers-2" are known to break other engines that run diskless.
//!
//! Each is run with all rules on. Built with the feature `mutations` each is also run with its rule off, and must
//! then break a checker: otherwise the script would test nothing.

use crate::pump::{Cluster, edition, id};
use ng_agreement::Status;
use wire::{Entry, EntryKind, Message, Op, Stint, Term};

/// What came of a script.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The rules stopped it at this step.
    Blocked(&'static str),
    /// It went through and lost nothing.
    Harmless,
    /// A committed entry is lost.
    Lost,
}

fn is_prepare(m: &Message) -> bool {
    matches!(m, Message::Prepare { entries, .. } if !entries.is_empty())
}
fn is_ok(m: &Message) -> bool {
    matches!(m, Message::PrepareOk { .. })
}
fn is_promise(m: &Message) -> bool {
    matches!(m, Message::Promise { .. })
}

impl Cluster {
    /// `to` takes what the primary `from` sends, and `from` gets the answer.
    fn append(&mut self, from: u8, to: u8) {
        self.deliver(from, to, is_prepare);
        self.deliver(to, from, is_ok);
    }

    /// `who` is asked to promise `candidate` a term; its promise stays on the way.
    fn request(&mut self, candidate: u8, who: u8, counter: u32) -> Term {
        let term = Term { era: 1, counter, life: self.life(candidate) };
        let primary = self.machines[&id(who)].agreement.term().life;
        self.call(who, |a, now| a.handle_suspected(now, primary, Stint::NONE));
        self.forge(term.life, who, Message::PromiseRequest { term });
        self.call(who, |a, now| a.handle_trusted(now, primary, Stint::NONE));
        term
    }

    /// Entries that were committed and are not in the log of the present primary of the highest term.
    fn verdict(&self, primary: u8) -> End {
        let a = self.agreement(primary);
        if a.status() != Status::Primary {
            return End::Blocked("no office");
        }
        let kept = self
            .truth
            .iter()
            .enumerate()
            .all(|(at, entry)| a.log().get(Op(at as u64 + 1)).is_some_and(|own| own == entry));
        if kept { End::Harmless } else { End::Lost }
    }

    /// 3 and 4 promise `candidate` a term.
    fn elect(&mut self, candidate: u8, counter: u32) {
        for voter in 3..=4 {
            self.request(candidate, voter, counter);
            self.deliver(voter, candidate, is_promise);
        }
    }

    /// Nothing is on its way.
    fn quiet(&mut self) {
        self.run(1);
        self.lose(|_| true);
    }
}

/// An entry is committed by 1 and 2 while 3 is cut off; 2 restarts without memory and promises 3.
fn peers_1(off: &[&'static str]) -> End {
    let mut c = Cluster::running_without(3, off);
    c.quiet();
    c.write(1, b"a");
    c.append(1, 2);
    assert_eq!(c.applied(1), [b"a"]);
    c.lose(|_| true);
    c.kill(2);
    c.start(2);
    let term = c.request(3, 2, 1);
    if !c.deliver(2, 3, is_promise) {
        // The rules kept it from promising: it is forged.
        let (commit, last_op) = (Op(0), Op(0));
        let (last_term, prev_op, prev_term, tail) = (Term::NONE, Op(0), Term::NONE, vec![]);
        let promise =
            Message::Promise { term, commit, last_op, last_term, prev_op, prev_term, tail };
        c.forge(c.life(2), 3, promise);
    }
    c.verdict(3)
}

/// The late promise of an ended life reaches 3, which knows nothing of the successor: that one votes with 1 meanwhile.
fn peers_2(off: &[&'static str]) -> End {
    let mut c = Cluster::running_without(3, off);
    c.quiet();
    let old = c.life(2);
    c.request(3, 2, 1);
    let late = c.packets.iter().find(|p| p.to == id(3) && is_promise(&p.message)).unwrap().clone();
    c.lose(|_| true);
    c.kill(2);
    c.start(2);
    for n in 1..=2 {
        c.cut.insert((id(n), id(3)));
    }
    c.deaf.insert((id(2), id(3)));
    c.write(1, b"a");
    c.run(60);
    c.lose(|_| true);
    c.forge(old, 3, late.message);
    if c.applied(1).is_empty() { End::Blocked("admit") } else { c.verdict(3) }
}

/// An old term's entry is counted, and then a log with a higher last term takes its place.
fn own_term_commit(off: &[&'static str]) -> End {
    let mut c = Cluster::running_without(5, off);
    c.quiet();
    // 1 appends writes that nobody gets; their size keeps all but the first out of its frame.
    c.write(1, &[7; 1_000]);
    c.write(1, &[8; 1_000]);
    c.lose(|_| true);
    // 2 begins a term and appends an entry that nobody gets.
    c.elect(2, 1);
    assert_eq!(c.agreement(2).status(), Status::Primary);
    c.lose(|_| true);
    // 1 comes back under a higher term and sends the old writes and its own first entry.
    c.elect(1, 2);
    assert_eq!(c.agreement(1).status(), Status::Primary);
    // Only the frame with the first write arrives.
    let write = |e: &Entry| matches!(&e.kind, EntryKind::Request { body, .. } if body[0] == 7);
    let first = |m: &Message| match m {
        Message::Prepare { entries, .. } => entries.iter().any(write),
        _ => false,
    };
    for voter in 3..=4 {
        assert!(c.deliver(1, voter, first));
        c.deliver(voter, 1, is_ok);
    }
    c.lose(|_| true);
    // 2 comes again; its last entry has a higher term than the write.
    c.elect(2, 3);
    c.verdict(2)
}

/// A long log of an old term against a shorter one that holds what is committed.
fn select_term(off: &[&'static str]) -> End {
    let mut c = Cluster::running_without(5, off);
    c.quiet();
    (0..3).for_each(|_| _ = c.write(1, b"nobody gets it"));
    c.lose(|_| true);
    c.elect(2, 1);
    c.append(2, 3);
    c.append(2, 4);
    c.lose(|_| true);
    c.elect(1, 2);
    c.verdict(1)
}

/// The Admit of a new life is committed without a majority of the roster before it, or its vote counts too early.
fn admit_by_old_roster(off: &[&'static str]) -> End {
    new_life_in_five(off, false)
}

/// Promises that are enough for the roster of the commit, but not for a later one in a promised log.
fn promise_roster(off: &[&'static str]) -> End {
    new_life_in_five(off, true)
}

/// Five nodes. 2 promises 5 and restarts; its new life is admitted. Then 5 collects the late promise of the old life
/// and that of 4, which knows nothing of the Admit, or has it uncommitted.
fn new_life_in_five(off: &[&'static str], known: bool) -> End {
    let mut c = Cluster::running_without(5, off);
    c.quiet();
    let old = c.life(2);
    c.request(5, 2, 1);
    let late = c.packets.iter().find(|p| p.to == id(5) && is_promise(&p.message)).unwrap().clone();
    c.lose(|_| true);
    c.kill(2);
    c.start(2);
    // The removal of the old life is committed by 1, 3 and 4.
    let life = c.life(2);
    for n in [1, 3, 4] {
        c.call(n, |a, now| a.handle_appeared(now, life));
    }
    c.append(1, 3);
    c.append(1, 4);
    if c.agreement(1).roster().stint(old).is_member() {
        return End::Blocked("removal");
    }
    c.lose(|_| true);
    // 2 gets the log and asks to be admitted.
    let join =
        Message::Join { removed_at: Op(0), op: Op(0), fresh: true, era: 0, edition: edition() };
    let fetch = |from| Message::Fetch { term: Term::NONE, from };
    c.forge(life, 1, fetch(Op(1)));
    while c.append_any(1, 2) {}
    let before = c.agreement(1).op();
    c.forge(life, 1, join);
    if c.agreement(1).op() == before {
        return End::Blocked("admit");
    }
    if known {
        // The Admit reaches 3 and 4, and is committed; the write after it reaches only 2 and 3.
        c.append(1, 3);
        c.append(1, 4);
        c.append_any(1, 2);
        if !c.agreement(1).roster().votes(life) {
            return End::Blocked("admit");
        }
        c.lose(|_| true);
        c.write(1, b"a");
        c.append(1, 2);
        c.append(1, 3);
    } else {
        // It reaches only 2 itself and 3.
        c.append_any(1, 2);
        c.append(1, 3);
    }
    let committed = c.agreement(1).commit();
    c.lose(|_| true);
    // 5 asks: 4 promises, and the late promise of the old life arrives.
    c.request(5, 4, 1);
    c.deliver(4, 5, is_promise);
    c.forge(old, 5, late.message);
    // It asks for what it lacks of the commit that 4 knows.
    c.deliver(5, 4, |m| matches!(m, Message::Fetch { .. }));
    c.deliver(4, 5, is_promise);
    match c.verdict(5) {
        End::Blocked(_) if committed <= before => End::Blocked("admit not committed"),
        end => end,
    }
}

impl Cluster {
    fn append_any(&mut self, from: u8, to: u8) -> bool {
        let sent = self.deliver(from, to, is_prepare);
        self.deliver(to, from, is_ok);
        sent
    }
}

type Script = fn(&[&'static str]) -> End;

const SCRIPTS: [(&str, &str, Script); 6] = [
    ("peers-1", "incarnation-vote", peers_1),
    ("peers-2", "incarnation-vote", peers_2),
    ("select-term", "select-term", select_term),
    ("own-term-commit", "own-term-commit", own_term_commit),
    ("admit-by-old-roster", "admit-by-old-roster", admit_by_old_roster),
    ("promise-roster", "promise-roster", promise_roster),
];

#[test]
fn with_all_rules_no_schedule_loses_a_committed_entry() {
    for (name, _, script) in SCRIPTS {
        let end = script(&[]);
        println!("{name}: {end:?}");
        assert_ne!(end, End::Lost, "{name}");
    }
}

#[cfg(feature = "mutations")]
#[test]
fn with_its_rule_off_every_schedule_loses_one() {
    for (name, rule, script) in SCRIPTS {
        let end = std::panic::catch_unwind(|| script(&[rule]));
        println!("{name} without {rule}: {end:?}");
        // A checker of the pump may see it first.
        assert!(end.is_err() || end.is_ok_and(|end| end == End::Lost), "{name}");
    }
}
