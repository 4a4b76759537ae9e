//! What is committed anywhere, and what a new thing must keep to. It is part of the state: two states with the same cores
//! and different pasts are two. What lives have promised and acknowledged is not: the network still has it.
//!
//! Nothing here knows how the cores work; seats are derived from the committed entries a second time.

use crate::control::Fact;
use agreement::Agreement;
use std::collections::{BTreeMap, BTreeSet};
use wire::{Entry, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Op, Stint, Term};

/// What must hold (PROTOCOL 11).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// No op gets two different committed entries in one era.
    Agreement,
    /// A new primary's log has every entry that was committed in terms up to its own.
    Survival,
    /// Who holds a lease is, life and stint, a member by the log that is committed anywhere.
    LeaseInView,
    /// At most one node has the service by its own commit and holds a lease.
    OneOwner,
    /// A life acknowledges nothing below its promise; the entries of a term are those of its one primary.
    OnePromise,
    /// A primary's promises come from the roster's lives.
    VoterLife,
    /// Nothing new is committed in an era after a later one has begun, and no lease of it is held.
    OneEra,
    /// No commit without a majority of slots, each by its roster life in force; void ones have evidence in the log.
    Quorum,
    /// A life that is said to have ended has (R-FENCE).
    TrueEvidence,
    /// An era rests on the latest votes that are committed anywhere (R-CONF-DURABLE).
    LatestCharter,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Agreement,
        Self::Survival,
        Self::LeaseInView,
        Self::OneOwner,
        Self::OnePromise,
        Self::VoterLife,
        Self::OneEra,
        Self::Quorum,
        Self::TrueEvidence,
        Self::LatestCharter,
    ];
    /// Its name in PROTOCOL 11.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agreement => "I1 agreement",
            Self::Survival => "I2 survival",
            Self::LeaseInView => "I4 lease in view",
            Self::OneOwner => "I5 one owner",
            Self::OnePromise => "I7 one promise",
            Self::VoterLife => "I8 voter life",
            Self::OneEra => "I9 one era",
            Self::Quorum => "I10 quorum",
            Self::TrueEvidence => "R-FENCE evidence is true",
            Self::LatestCharter => "R-CONF-DURABLE latest votes",
        }
    }
}

/// Who votes, who holds a slot's vote, and the stint, by a prefix of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seats {
    seats: BTreeMap<NodeId, (Incarnation, Stint)>,
    /// The electorate.
    pub voters: NodeSet,
    /// Grows by one with each configuration and each vote.
    pub version: u32,
    /// When the electorate last changed.
    changed: Op,
    /// Version and votes of a pair, if the last change was the vote that made something else of it: that one is stored only
    /// when it is known to be committed, and the pair may begin again without it.
    pair: Option<(u32, NodeSet)>,
}

impl Seats {
    /// Takes the next entry.
    pub fn apply(&mut self, op: Op, entry: &Entry) {
        match entry.kind {
            EntryKind::Cold { version, electorate, .. } => {
                *self = Self { voters: electorate, version, changed: op, ..Self::default() };
            }
            EntryKind::Admit { node, incarnation } => {
                self.seats.insert(node, (incarnation, Stint::of(entry.term.era, op)));
            }
            EntryKind::Remove { node, incarnation, stint, .. } => {
                let removed = |seat: &&mut (Incarnation, Stint)| **seat == (incarnation, stint);
                if let Some(seat) = self.seats.get_mut(&node).filter(removed) {
                    seat.1 = Stint::NONE;
                }
            }
            EntryKind::Configure { ref configuration } => {
                if configuration.version == self.version + 1 {
                    (self.version, self.pair) = (self.version + 1, None);
                }
            }
            EntryKind::Vote { version, node, incarnation, votes } if version == self.version + 1 => {
                let (before, mut voters) = (self.version, self.voters);
                (self.version, self.pair) = (version, None);
                match self.seats.get(&node) {
                    Some((life, _)) if votes && *life == incarnation => voters.insert(node),
                    _ if !votes => voters.remove(node),
                    _ => {}
                }
                if voters != self.voters && !voters.is_empty() {
                    self.pair = (self.voters.len() == 2).then_some((before, self.voters));
                    (self.voters, self.changed) = (voters, op);
                }
            }
            EntryKind::Noop
            | EntryKind::Request { .. }
            | EntryKind::Fenced { .. }
            // Of another version: it changes nothing.
            | EntryKind::Vote { .. } => {}
        }
    }
    /// The seats after these entries, which begin at op 1.
    pub fn after<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut seats = Self::default();
        (1..).map(Op).zip(entries).for_each(|(op, entry)| seats.apply(op, entry));
        seats
    }
    /// True if `life` holds its slot's vote.
    #[must_use]
    pub fn votes(&self, life: Life) -> bool {
        let holds = self.seats.get(&life.node).is_some_and(|(i, _)| *i == life.incarnation);
        holds && self.voters.contains(life.node)
    }
    /// How many votes it takes.
    #[must_use]
    pub const fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
    /// The stint of `life`.
    #[must_use]
    pub fn stint(&self, life: Life) -> Stint {
        match self.seats.get(&life.node) {
            Some((incarnation, stint)) if *incarnation == life.incarnation => *stint,
            _ => Stint::NONE,
        }
    }
    /// Members by node.
    pub fn members(&self) -> impl Iterator<Item = (Life, Stint)> + '_ {
        let member = |(node, seat): (&NodeId, &(Incarnation, Stint))| {
            (Life { node: *node, incarnation: seat.0 }, seat.1)
        };
        self.seats.iter().filter(|(_, (_, stint))| stint.is_member()).map(member)
    }
}

/// The log of an era that is committed anywhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Era {
    /// Entries, each with the term of the life that was first to commit it.
    entries: Vec<(Entry, Term)>,
    /// Last op of the batch that begins it.
    batch: u64,
}

impl Era {
    fn seats(&self, op: Op) -> Seats {
        Seats::after(self.entries.iter().take(op.0 as usize).map(|(entry, _)| entry))
    }
    fn begun(&self) -> bool {
        self.batch > 0 && self.entries.len() as u64 >= self.batch
    }
}

/// The past: what is committed anywhere. What was said is still on its way ([`Said`]).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct History {
    eras: BTreeMap<u32, Era>,
}

/// What a message that was sent binds its sender to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Said {
    /// It promised a term, its own included.
    Promises(Term),
    /// It promised to begin an era.
    PromisesEra(Term),
    /// It gave up its era.
    GivesUp(Term),
    /// It acknowledged.
    Acknowledges(Term, Op),
}

impl Said {
    /// What a message says.
    #[must_use]
    pub const fn by(message: &Message) -> Option<Self> {
        Some(match message {
            Message::Promise { term, .. } | Message::PromiseRequest { term } => {
                Self::Promises(*term)
            }
            Message::ColdPromise { term, .. } => Self::PromisesEra(*term),
            Message::ColdRelease { term } => Self::GivesUp(*term),
            Message::PrepareOk { term, op } => Self::Acknowledges(*term, *op),
            _ => return None,
        })
    }
}

/// Something that the past forbids.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Broken {
    /// Which rule.
    pub rule: Rule,
    /// What was seen.
    pub text: String,
}

fn broken<T>(rule: Rule, text: String) -> Result<T, Broken> {
    Err(Broken { rule, text })
}

/// Voters of which one may go on alone.
const PAIR: usize = 2;

/// A life that does something, and its state after it.
#[derive(Clone, Debug)]
pub struct Actor<'a> {
    /// Which.
    pub life: Life,
    /// Its agreement afterwards.
    pub agreement: &'a Agreement,
    /// Lives that run.
    pub living: &'a [Life],
    /// What was said before, by whom; the network forgets nothing.
    pub said: Vec<(Life, Said)>,
}

impl Actor<'_> {
    /// Evidence in its log, committed or not.
    fn fenced(&self) -> impl Iterator<Item = (Op, &Entry)> {
        let log = self.agreement.log();
        log.after(Op::ZERO).filter(|(_, entry)| matches!(entry.kind, EntryKind::Fenced { .. }))
    }
    /// Slots that count as given for an entry at `op`. Evidence of the same term counts for what lies below it too:
    /// with two voters a survivor holds everything that can have been committed. What was given in a pair is given in that
    /// pair only.
    fn given(&self, seats: &Seats, op: Op, term: Term) -> NodeSet {
        if seats.voters.len() != PAIR {
            return NodeSet::EMPTY;
        }
        let life = |(at, entry): (Op, &Entry)| match entry.kind {
            EntryKind::Fenced { node, incarnation, .. }
                if at > seats.changed && (at <= op || entry.term == term) =>
            {
                Some(Life { node, incarnation })
            }
            _ => None,
        };
        self.fenced().filter_map(life).filter(|life| seats.votes(*life)).map(|l| l.node).collect()
    }
}

impl Actor<'_> {
    /// I7, by what this life said before.
    fn check_promise(&self, said: Said) -> Result<(), Broken> {
        let (what, term) = match said {
            Said::Promises(term) => ("promises", term),
            Said::Acknowledges(term, _) => ("acknowledges in", term),
            Said::PromisesEra(_) | Said::GivesUp(_) => return Ok(()),
        };
        // A promise to begin an era binds until its candidate has given up or is gone.
        let binds = |era: &Term| {
            era.era > term.era
                && self.living.contains(&era.life)
                && !self.said.contains(&(era.life, Said::GivesUp(*era)))
        };
        let promised = self.said.iter().filter(|(by, _)| *by == self.life).filter_map(
            |(_, said)| match said {
                Said::Promises(term) => Some(*term),
                Said::PromisesEra(term) => Some(*term).filter(binds),
                Said::GivesUp(_) | Said::Acknowledges(..) => None,
            },
        );
        match promised.max() {
            Some(promised) if term < promised => {
                let text = format!("{:?} {what} {term:?} after {promised:?}", self.life);
                broken(Rule::OnePromise, text)
            }
            _ => Ok(()),
        }
    }
}

impl History {
    /// A life did these things.
    pub fn takes(&mut self, by: &mut Actor<'_>, facts: &[Fact]) -> Result<(), Broken> {
        for fact in facts {
            match *fact {
                Fact::Says(said) => {
                    by.check_promise(said)?;
                    by.said.push((by.life, said));
                }
                Fact::Leads(term) => self.leads(by, term)?,
                Fact::Commits(op) => self.commits(by, op)?,
                Fact::Skips(op) => {
                    let text = format!("{:?} commits {op:?} out of order", by.life);
                    return broken(Rule::Agreement, text);
                }
            }
        }
        Ok(())
    }

    /// I2, and that a majority of the roster's lives promised (I8).
    fn leads(&mut self, by: &Actor<'_>, term: Term) -> Result<(), Broken> {
        let (life, log) = (by.life, by.agreement.log());
        if term.life != life {
            return broken(Rule::OnePromise, format!("{life:?} leads {term:?}"));
        }
        let committed = self.eras.get(&term.era).into_iter().flat_map(|era| &era.entries);
        for (op, (entry, first)) in (1..).map(Op).zip(committed) {
            if *first <= term && log.get(op) != Some(entry) {
                let has = log.get(op);
                let text = format!("{life:?} leads {term:?}; {op:?} is {has:?}, not {entry:?}");
                return broken(Rule::Survival, text);
            }
        }
        // The first term of an era rests on promises of fresh lives.
        if term.counter > 0 {
            let commit = by.agreement.commit();
            let own = log.after(Op::ZERO).take_while(|(op, _)| *op <= commit);
            let seats = Seats::after(own.map(|(_, entry)| entry));
            let given = by.given(&seats, commit, term);
            let mut slots = given;
            let promised =
                by.said.iter().filter(|(_, said)| *said == Said::Promises(term)).map(|(by, _)| *by);
            let valid = promised.chain([life]).filter(|life| seats.votes(*life));
            valid.for_each(|life| slots.insert(life.node));
            if slots.len() < seats.majority() {
                let text = format!("{life:?} leads {term:?} by {slots:?}");
                return broken(Rule::VoterLife, text);
            }
        }
        Ok(())
    }

    /// I1, I9, I10.
    fn commits(&mut self, by: &Actor<'_>, op: Op) -> Result<(), Broken> {
        let (life, log) = (by.life, by.agreement.log());
        // Who is first counts in the term of the last entry that it commits, whatever term it has entered since.
        let term = log.term_at(by.agreement.commit()).unwrap_or(Term::NONE);
        let Some(entry) = log.get(op) else {
            return broken(Rule::Agreement, format!("{life:?} commits {op:?}, which it has not"));
        };
        let number = entry.term.era;
        let (latest, latest_votes) = (self.era(), self.seats());
        let era = self.eras.entry(number).or_default();
        if let Some((known, _)) = era.entries.get(op.0 as usize - 1) {
            if known != entry {
                let text = format!("{life:?} commits {op:?} {entry:?}, before: {known:?}");
                return broken(Rule::Agreement, text);
            }
            return Ok(());
        }
        if era.entries.len() as u64 + 1 != op.0 {
            return broken(Rule::Agreement, format!("{life:?} commits {op:?} out of order"));
        }
        if number < latest {
            let text = format!("{life:?} commits {op:?} of era {number}; era {latest} has begun");
            return broken(Rule::OneEra, text);
        }
        if let EntryKind::Cold { admits, version, electorate, absent, .. } = entry.kind {
            // The last of it states the configuration.
            era.batch = 2 + u64::from(admits) + absent.len() as u64;
            Self::check_charter(life, version, electorate, &latest_votes)?;
        }
        era.entries.push((entry.clone(), term));
        let batch = era.batch;
        if op.0 >= batch {
            let from = if op.0 == batch { 1 } else { op.0 };
            for at in from..=op.0 {
                self.check_quorum(by, number, Op(at))?;
            }
        }
        if let EntryKind::Fenced { node, incarnation, .. } = entry.kind {
            let of = Life { node, incarnation };
            if by.living.contains(&of) {
                let text = format!("{life:?} commits that {of:?} has ended, and it runs");
                return broken(Rule::TrueEvidence, text);
            }
        }
        Ok(())
    }

    /// A follower that commits counts itself, and a primary its own holding: their acknowledgements may be on their way.
    fn check_quorum(&self, by: &Actor<'_>, number: u32, op: Op) -> Result<(), Broken> {
        let Some(era) = self.eras.get(&number) else { return Ok(()) };
        let seats = era.seats(Op(op.0.max(era.batch + 1) - 1));
        let Some((entry, first)) = era.entries.get(op.0 as usize - 1) else { return Ok(()) };
        let given = by.given(&seats, op, *first);
        let counts = |life: &Life| seats.votes(*life) && !given.contains(life.node);
        let acks = by.said.iter().filter_map(|(life, said)| match said {
            Said::Acknowledges(term, to) if *to >= op => Some((*term, *life)),
            _ => None,
        });
        let acks: BTreeSet<(Term, Life)> = acks.collect();
        let terms = acks.iter().map(|(term, _)| *term).chain([*first]);
        let votes = |term: Term| {
            let lives = acks.iter().filter(|(of, _)| *of == term).map(|(_, life)| *life);
            let lives = lives.chain([term.life, by.life]);
            lives.filter(counts).collect::<BTreeSet<Life>>().len()
        };
        let terms = terms.filter(|term| term.era == number && *term >= entry.term);
        let have = terms.map(votes).max().unwrap_or(0) + given.len();
        let need = seats.majority();
        if have >= need {
            return Ok(());
        }
        let text = format!("{op:?} of era {number} commits with {have} of {need}: {entry:?}");
        broken(Rule::Quorum, text)
    }

    /// A later era takes over the votes of the one before, and knows the last of them.
    fn check_charter(
        life: Life,
        version: u32,
        voters: NodeSet,
        seats: &Seats,
    ) -> Result<(), Broken> {
        let first = seats.voters.is_empty();
        let this = (version, voters);
        let known = this == (seats.version, seats.voters) || Some(this) == seats.pair;
        if first || version > seats.version || known {
            return Ok(());
        }
        let (known, of) = (seats.version, seats.voters);
        let text = format!("{life:?} begins by {voters:?}, version {version}; {known} has {of:?}");
        broken(Rule::LatestCharter, text)
    }

    /// Checks a lease that is held now (I4, I9).
    pub fn check_lease(&self, life: Life, stint: Stint) -> Result<(), Broken> {
        let (latest, era) = (self.era(), era_of(stint));
        if era < latest {
            let text = format!("{life:?} holds a lease of {stint:?}; era {latest} has begun");
            return broken(Rule::OneEra, text);
        }
        let member = self.eras.get(&era).map(|era| era.seats(Op(u64::MAX)).stint(life));
        if member == Some(stint) {
            return Ok(());
        }
        let text = format!("{life:?} holds a lease of {stint:?}; by the committed log: {member:?}");
        broken(Rule::LeaseInView, text)
    }

    /// The latest era that has begun; 0 before the first.
    #[must_use]
    pub fn era(&self) -> u32 {
        self.eras.iter().rev().find(|(_, era)| era.begun()).map_or(0, |(number, _)| *number)
    }
    /// Lives and votes by all that is committed.
    fn seats(&self) -> Seats {
        self.eras.get(&self.era()).map(|era| era.seats(Op(u64::MAX))).unwrap_or_default()
    }
    /// Who votes by all that is committed.
    #[must_use]
    pub fn voters(&self) -> NodeSet {
        self.seats().voters
    }
    /// The entries committed in the latest era.
    pub fn committed(&self) -> impl Iterator<Item = &Entry> {
        self.eras.get(&self.era()).into_iter().flat_map(|era| &era.entries).map(|(entry, _)| entry)
    }
}

/// The era that a stint's number names.
fn era_of(stint: Stint) -> u32 {
    let per_era = Stint::of(1, Op::ZERO).0;
    (stint.0 / per_era) as u32
}
