//! Lines into steps.

use crate::faults::Which;
use crate::shape::{Shape, Timing};
use base::Duration;
use driver::FencePolicy;
use services::Placement;
use wire::{NodeId, NodeSet, Stream};

/// A line that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A node: its number, a name given by `let`, or a role that is looked up when the step is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// By number.
    Node(NodeId),
    /// By a name.
    Named(String),
    /// Who holds a service open under a lease.
    Owner(String),
    /// The primary.
    Primary,
    /// The first node that is up and none of these.
    Other(Vec<Self>),
}

/// What is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The service is open under a lease there.
    Owner(String, Who),
    /// Nobody has it open under a lease.
    NoOwner(String),
    /// The node's present life is a member by the committed log.
    Member(Who),
    /// No life of the node is a member by the committed log.
    Removed(Who),
    /// No member has been removed since the last `mark` or `settle`.
    NoRemoval,
    /// So many members have been removed since then.
    Removals(u64),
    /// Nobody that is up holds a lease.
    NoLease,
    /// The node leads a term.
    Primary(Who),
    /// No node that is up has quorum by its own count.
    NoQuorum,
    /// The node has the committed log, and no vote of its own by it yet.
    Learned(Who),
    /// There is a primary, and it has committed, in the same era, what was committed at the last
    /// `mark` or `settle`.
    Kept,
    /// Exactly these vote by the committed log.
    Votes(Vec<Who>),
    /// The node holds a change of members or votes of which it does not know that it is agreed.
    Open(Who),
    /// The daemons of the node do not run.
    Down(Who),
    /// The node's present life has installed a snapshot.
    Installed(Who),
    /// The observer hears that node, and no other.
    Answer(String, Who),
    /// The observer hears nobody.
    Silence(String),
}

/// What the operator wants to be otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reform {
    /// A machine becomes a node, with a vote or without; it is switched on.
    Add(Who, bool),
    /// A node is configured no more.
    Drop(Who),
    /// A node is to be a witness, or a witness none any more.
    Witness(Who),
    /// Exactly these vote.
    Voters(Vec<Who>),
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Machines are switched on.
    Start(Vec<Who>),
    /// Everybody that is up is a member, and every service runs.
    Settle,
    /// Removals are counted from here.
    Mark,
    /// A name for a node.
    Let(String, Who),
    /// Power off.
    Cut(Vec<Who>),
    /// Processes are killed.
    Kill(Who, Which),
    /// Orderly end.
    Leave(Who),
    /// Processes do not run.
    Pause(Which, Who, Duration),
    /// Two sides do not hear each other.
    Partition(Vec<Who>, Vec<Who>),
    /// The second does not hear the first, or one process of it does not.
    OneWay(Vec<Who>, Vec<Who>, Option<Stream>),
    /// The second hears the first so much later, or one process of it does.
    Hold(Vec<Who>, Vec<Who>, Option<Stream>, Duration),
    /// A link is down, for all or for one.
    LinkDown(u8, Option<Who>),
    /// All walls come down.
    Heal,
    /// The operator moves a service.
    Move(String, Who),
    /// The operator says that the first is off, to the second; whether it is so is the schedule's
    /// business.
    ConfirmOff(Who, Who),
    /// The operator has failed nodes of a service tried again: an entry, if nothing else.
    Clear(String, Who),
    /// A node, running or not, gets a timing that the configuration names.
    Settings(Who, Timing),
    /// The operator wants other members or votes, asking a node.
    Reform(Reform, Who),
    /// The operator says that voters are off for good, asking a node.
    Override(Vec<Who>, Who),
    /// The operator wants a timing that the configuration names for all, asking a node.
    Retime(Who, Timing),
    /// Time passes.
    Run(Duration),
    /// Something is seen, within a time.
    Expect(Seen, Duration),
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The cluster.
    pub shape: Shape,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// Rules that it sees missing: it fails when one of them is off.
    pub catches: Vec<String>,
    /// Steps with their lines.
    pub steps: Vec<(usize, Step)>,
}

impl Scenario {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let mut scenario =
            Self { shape: Shape::calm(3), seed: 1, catches: Vec::new(), steps: Vec::new() };
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                scenario.line(number, &words).map_err(|what| Mistake { line: number, what })?;
            }
        }
        Ok(scenario)
    }

    fn line(&mut self, number: usize, words: &[&str]) -> Result<(), String> {
        if self.configure(words)? {
            return if self.steps.is_empty() {
                Ok(())
            } else {
                Err("configuration comes before the first step".into())
            };
        }
        self.steps.push((number, step(words)?));
        Ok(())
    }

    /// True if the line is configuration.
    fn configure(&mut self, words: &[&str]) -> Result<bool, String> {
        let shape = &mut self.shape;
        match words {
            ["nodes", n] => *shape = Shape::calm(count(n)?),
            ["links", n] => shape.links = count(n)?,
            ["misses", n] => shape.misses = u32::from(count(n)?),
            ["interval", span] => shape.interval = duration(span)?,
            ["timing", span, n] => shape.others.push(timing(span, n)?),
            ["witness", n] => shape.witnesses.insert(node(n)?),
            ["configured", n @ ..] => shape.configured = set(n)?,
            ["voters", n @ ..] => shape.voters = set(n)?,
            ["store", span] => shape.store_max = duration(span)?,
            ["seed", n] => self.seed = n.parse().map_err(|_| format!("{n} is no number"))?,
            ["catches", rules @ ..] => self.catches = rules.iter().map(|r| (*r).into()).collect(),
            ["latency", span] => shape.quality.base = duration(span)?,
            ["snapshots", every, "kept", kept, "slice", slice] => {
                shape.limits.snapshot_every = u64::from(count(every)?);
                shape.limits.kept = u64::from(count(kept)?);
                shape.limits.slice = usize::from(count(slice)?);
            }
            ["again", span] => shape.again_max = duration(span)?,
            ["loss", share] => shape.quality.loss_ppm = percent(share)?,
            ["slow", "drivers", span] => {
                shape.manners.slow = 1_000;
                shape.manners.slow_max = duration(span)?;
            }
            ["service", name, policy, rest @ ..] => {
                let fence = match *policy {
                    "lease" => FencePolicy::Lease,
                    "fenced" => FencePolicy::Fenced,
                    other => return Err(format!("{other} is no policy: lease or fenced")),
                };
                let (placement, nodes) = match rest {
                    [nodes @ .., "fail-back"] => (Placement::FailBack, nodes),
                    nodes => (Placement::Sticky, nodes),
                };
                let nodes: Vec<NodeId> = nodes.iter().map(|n| node(n)).collect::<Result<_, _>>()?;
                shape.serve(name, fence, placement, &nodes);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn step(words: &[&str]) -> Result<Step, String> {
    Ok(match words {
        ["start" | "restart", who @ ..] => Step::Start(nodes(who)?),
        ["settle"] => Step::Settle,
        ["mark"] => Step::Mark,
        ["let", name, "=", rest @ ..] => Step::Let((*name).into(), role(rest)?),
        ["cut", who @ ..] => Step::Cut(nodes(who)?),
        ["kill", n] => Step::Kill(who(n), Which::Both),
        ["kill", n, process] => Step::Kill(who(n), which(process)?),
        ["leave", n] => Step::Leave(who(n)),
        ["pause", process, n, span] => Step::Pause(which(process)?, who(n), duration(span)?),
        ["partition", rest @ ..] => {
            let (a, b) = sides(rest, "|")?;
            Step::Partition(a, b)
        }
        ["oneway", rest @ ..] => {
            let (only, rest) = stream(rest);
            let (a, b) = sides(rest, "->")?;
            Step::OneWay(a, b, only)
        }
        ["hold", rest @ .., span] => {
            let (only, rest) = stream(rest);
            let (a, b) = sides(rest, "->")?;
            Step::Hold(a, b, only, duration(span)?)
        }
        ["link", link, "down"] => Step::LinkDown(digit(link)?, None),
        ["link", link, "down", n] => Step::LinkDown(digit(link)?, Some(who(n))),
        ["heal"] => Step::Heal,
        ["confirm", n, "off", "at", at] => Step::ConfirmOff(who(n), who(at)),
        ["clear", service, "at", n] => Step::Clear((*service).into(), who(n)),
        ["move", service, n] => Step::Move((*service).into(), who(n)),
        ["settings", n, span, misses] => Step::Settings(who(n), timing(span, misses)?),
        ["retime", span, misses, "at", n] => Step::Retime(who(n), timing(span, misses)?),
        ["reform", "add", n, "at", at] => Step::Reform(Reform::Add(who(n), true), who(at)),
        ["reform", "add", n, "without", "vote", "at", at] => {
            Step::Reform(Reform::Add(who(n), false), who(at))
        }
        ["reform", "drop", n, "at", at] => Step::Reform(Reform::Drop(who(n)), who(at)),
        ["reform", "witness", n, "at", at] => Step::Reform(Reform::Witness(who(n)), who(at)),
        ["reform", "voters", n @ .., "at", at] => Step::Reform(Reform::Voters(nodes(n)?), who(at)),
        ["override", n @ .., "at", at] => Step::Override(nodes(n)?, who(at)),
        ["run", span] => Step::Run(duration(span)?),
        ["expect", what @ .., "within", span] => Step::Expect(seen(what)?, duration(span)?),
        ["expect", what @ ..] => Step::Expect(seen(what)?, Duration::ZERO),
        _ => return Err(format!("`{}` is no step", words.join(" "))),
    })
}

fn seen(words: &[&str]) -> Result<Seen, String> {
    Ok(match words {
        ["owner", service, n] => Seen::Owner((*service).into(), who(n)),
        ["no", "owner", service] => Seen::NoOwner((*service).into()),
        ["member", n] => Seen::Member(who(n)),
        ["removed", n] => Seen::Removed(who(n)),
        ["no", "removal"] => Seen::NoRemoval,
        ["removals", n] => Seen::Removals(u64::from(digit(n)?)),
        ["no", "lease"] => Seen::NoLease,
        ["no", "quorum"] => Seen::NoQuorum,
        ["primary", n] => Seen::Primary(who(n)),
        ["kept"] => Seen::Kept,
        ["learned", n] => Seen::Learned(who(n)),
        ["votes", n @ ..] => Seen::Votes(nodes(n)?),
        ["open", n] => Seen::Open(who(n)),
        ["down", n] => Seen::Down(who(n)),
        ["installed", n] => Seen::Installed(who(n)),
        ["answer", service, n] => Seen::Answer((*service).into(), who(n)),
        ["silence", service] => Seen::Silence((*service).into()),
        _ => return Err(format!("`{}` is nothing to expect", words.join(" "))),
    })
}

fn role(words: &[&str]) -> Result<Who, String> {
    Ok(match words {
        ["owner", service] => Who::Owner((*service).into()),
        ["primary"] => Who::Primary,
        ["other", rest @ ..] => Who::Other(rest.iter().map(|n| who(n)).collect()),
        [n] => who(n),
        _ => return Err(format!("`{}` names no node", words.join(" "))),
    })
}

fn who(word: &str) -> Who {
    node(word).map_or_else(|_| Who::Named(word.into()), Who::Node)
}

fn nodes(words: &[&str]) -> Result<Vec<Who>, String> {
    if words.is_empty() {
        Err("which nodes?".into())
    } else {
        Ok(words.iter().map(|n| who(n)).collect())
    }
}

fn sides(words: &[&str], between: &str) -> Result<(Vec<Who>, Vec<Who>), String> {
    let at = words.iter().position(|w| *w == between);
    let at = at.ok_or_else(|| format!("the sides are parted by `{between}`"))?;
    Ok((nodes(&words[..at])?, nodes(&words[at + 1..])?))
}

/// Whose frames: of one process, if it is named.
fn stream<'a, 'b>(words: &'a [&'b str]) -> (Option<Stream>, &'a [&'b str]) {
    match words {
        ["fast", rest @ ..] => (Some(Stream::Fast), rest),
        ["control", rest @ ..] => (Some(Stream::Control), rest),
        rest => (None, rest),
    }
}

fn which(word: &str) -> Result<Which, String> {
    match word {
        "fast" => Ok(Which::Fast),
        "control" => Ok(Which::Control),
        "both" => Ok(Which::Both),
        other => Err(format!("{other} is no process: fast, control or both")),
    }
}

fn node(word: &str) -> Result<NodeId, String> {
    word.parse().ok().and_then(NodeId::new).ok_or_else(|| format!("{word} is no node"))
}

fn set(words: &[&str]) -> Result<NodeSet, String> {
    words.iter().map(|n| node(n)).collect()
}

fn digit(word: &str) -> Result<u8, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

fn count(word: &str) -> Result<u8, String> {
    digit(word).ok().filter(|n| *n > 0).ok_or_else(|| format!("{word} is no number above 0"))
}

fn percent(word: &str) -> Result<u64, String> {
    let number = word.strip_suffix('%').and_then(|w| w.parse::<f64>().ok());
    let number = number.filter(|n| (0.0..=100.0).contains(n));
    number.map(|n| (n * 10_000.0) as u64).ok_or_else(|| format!("{word} is no share: 1%"))
}

fn timing(span: &str, misses: &str) -> Result<Timing, String> {
    Ok(Timing { interval: duration(span)?, misses: u32::from(count(misses)?) })
}

fn duration(word: &str) -> Result<Duration, String> {
    let units = [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    for (unit, ns) in units {
        if let Some(number) = word.strip_suffix(unit).and_then(|w| w.parse::<u64>().ok()) {
            return Ok(Duration(number.saturating_mul(ns)));
        }
    }
    Err(format!("{word} is no time: 40ms, 2s"))
}

#[cfg(test)]
mod tests {
    use super::{Scenario, Seen, Step, Who};
    use crate::shape::id;
    use base::Duration;

    #[test]
    fn lines_become_steps() {
        let text = "nodes 3\nservice vip lease 1 2 3\n\nlet a = owner vip # who\ncut a 2\n\
                    expect owner vip 3 within 40ms\npartition 1 | 2 3";
        let scenario = Scenario::parse(text).unwrap();
        assert_eq!(scenario.shape.services[0].nodes, [id(1), id(2), id(3)]);
        let steps: Vec<_> = scenario.steps.into_iter().collect();
        assert_eq!(steps[0], (4, Step::Let("a".into(), Who::Owner("vip".into()))));
        assert_eq!(steps[1].1, Step::Cut(vec![Who::Named("a".into()), Who::Node(id(2))]));
        let seen = Seen::Owner("vip".into(), Who::Node(id(3)));
        assert_eq!(steps[2].1, Step::Expect(seen, Duration::from_millis(40)));
        assert!(matches!(&steps[3].1, Step::Partition(a, b) if a.len() == 1 && b.len() == 2));
    }

    #[test]
    fn a_mistake_names_its_line() {
        for (text, line) in [
            ("nodes 3\nfly 2", 2),
            ("run 5", 1),
            ("nodes 0", 1),
            ("partition 1 2", 1),
            ("start 1\nnodes 3", 2),
            ("service vip maybe 1", 1),
            ("expect nonsense within 4ms", 1),
        ] {
            assert_eq!(Scenario::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
