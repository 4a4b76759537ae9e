//! What stands between two documents: steps in the operator's words, each with its cost; what the operator should know;
//! and what is refused.
//!
//! `ng config diff` shows it, `ng config apply` shows it before it asks, and the daemon that takes the order asks it once
//! more, by what it sees then. It is a pure function: it promises nothing that the agreement does not do, and refuses what
//! the agreement would have to leave half done.

use crate::model::{Config, Link, Node};
use crate::value::format_duration;
use std::collections::BTreeSet;
use std::time::Duration;

/// Votes above this number cost every entry time, and help only against more deaths at once.
const VOTES_USEFUL: usize = 7;
/// From the deadline to the answer of the next owner (SPECIFICATION).
const AFTER_DEADLINE: Duration = Duration::from_millis(10);

/// What holds while a change is judged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Situation {
    /// Ids of the nodes in the view.
    pub members: Vec<u8>,
    /// Ids of the nodes whose votes are in force; they follow the document one by one.
    pub voters: Vec<u8>,
    /// The primary of the agreement.
    pub primary: Option<u8>,
    /// Services that somebody owns, with the owner's id.
    pub owners: Vec<(String, u8)>,
}

/// What a step costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cost {
    /// Nobody notices.
    Nothing,
    /// It takes effect on a node when that node's daemons start the next time.
    Restart,
    /// A service moves to another node as planned: shorter than a failover.
    Move,
    /// A service is stopped and started again, or just stopped.
    Stop,
}

impl Cost {
    /// For programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Restart => "restart",
            Self::Move => "move",
            Self::Stop => "stop",
        }
    }
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What it is about: "node n4", "service web", "heartbeat".
    pub subject: String,
    /// What happens.
    pub what: String,
    /// What that costs.
    pub cost: Cost,
    /// The cost in words.
    pub costs: String,
}

/// A warning or a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// All that stands between two documents.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// What happens, in the order of the sections of the document.
    pub steps: Vec<Step>,
    /// What the operator should know before it does.
    pub warnings: Vec<Note>,
    /// Why it cannot be done; empty if it can.
    pub refusals: Vec<Note>,
}

impl Plan {
    /// True if both documents mean the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.refusals.is_empty()
    }

    pub(crate) fn step(
        &mut self,
        subject: impl Into<String>,
        what: impl Into<String>,
        cost: Cost,
        costs: impl Into<String>,
    ) {
        let (subject, what, costs) = (subject.into(), what.into(), costs.into());
        self.steps.push(Step { subject, what, cost, costs });
    }

    fn warn(&mut self, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(Note { message: message.into(), remedy: remedy.into() });
    }

    pub(crate) fn refuse(&mut self, message: impl Into<String>, remedy: impl Into<String>) {
        self.refusals.push(Note { message: message.into(), remedy: remedy.into() });
    }
}

/// Compares the document in force with the wanted one.
#[must_use]
pub fn plan(present: &Config, wanted: &Config, now: &Situation) -> Plan {
    let mut plan = Plan::default();
    cluster(present, wanted, &mut plan);
    links(present, wanted, &mut plan);
    nodes(present, wanted, now, &mut plan);
    crate::plan_services::services(present, wanted, now, &mut plan);
    votes(present, wanted, now, &mut plan);
    plan
}

fn cluster(present: &Config, wanted: &Config, plan: &mut Plan) {
    let (old, new) = (&present.cluster, &wanted.cluster);
    if old.name != new.name {
        plan.refuse(
            format!("the cluster's name cannot change, from {} to {}: every frame carries it", old.name, new.name),
            "keep the name; another name is another cluster, which begins with state directories of its own",
        );
    }
    if old.key_file != new.key_file {
        let (from, to) = (old.key_file.display(), new.key_file.display());
        plan.step(
            "key file",
            format!("{from} -> {to}"),
            Cost::Restart,
            "each node reads it at its next start; it must hold the same key",
        );
    }
    let (before, after) = (present.deadline(), wanted.deadline());
    let changed = [
        (old.heartbeat_interval != new.heartbeat_interval).then(|| {
            format!(
                "interval {} -> {}",
                format_duration(old.heartbeat_interval),
                format_duration(new.heartbeat_interval)
            )
        }),
        (old.heartbeat_misses != new.heartbeat_misses)
            .then(|| format!("misses {} -> {}", old.heartbeat_misses, new.heartbeat_misses)),
    ];
    let changed: Vec<String> = changed.into_iter().flatten().collect();
    if !changed.is_empty() {
        let total = |deadline: Duration| format_duration(deadline.saturating_add(AFTER_DEADLINE));
        let costs = if before == after {
            format!("no interruption; failover takes up to {} as before", total(after))
        } else {
            format!("no interruption; failover takes up to {}, now {}", total(after), total(before))
        };
        plan.step("heartbeat", changed.join(", "), Cost::Nothing, costs);
    }
}

fn links(present: &Config, wanted: &Config, plan: &mut Plan) {
    let mut stays = false;
    let count = present.links.len().max(wanted.links.len());
    for place in 0..count {
        let (subject, what) = match (present.links.get(place), wanted.links.get(place)) {
            (Some(old), Some(new))
                if (old.mode, old.frames, old.port) == (new.mode, new.frames, new.port) =>
            {
                stays = true;
                if old.name != new.name {
                    plan.step(
                        format!("link {}", old.name),
                        format!("is called {}", new.name),
                        Cost::Restart,
                        RENAMED,
                    );
                }
                continue;
            }
            (Some(old), Some(new)) => (&new.name, format!("{} -> {}", shown(old), shown(new))),
            (None, Some(new)) => (&new.name, format!("is added: {}", shown(new))),
            (Some(old), None) => (&old.name, "is removed".to_owned()),
            (None, None) => continue,
        };
        plan.step(format!("link {subject}"), what, Cost::Restart, LINK_COST);
    }
    if !stays {
        plan.refuse(
            "every link changes: a node that has restarted would not be heard by one that has not",
            "keep one link as it is, or add a second one first; restart the nodes one after another; then \
             change the other",
        );
    }
}

const RENAMED: &str = "each node shows the new name from its next start";
const LINK_COST: &str = "restart the daemons of each node, one after another; until the last has, this link is quiet \
                         between old and new";

fn shown(link: &Link) -> String {
    use crate::model::{Frames, Mode};
    let frames = if link.frames == Frames::Ethernet { "Ethernet frames, " } else { "" };
    match link.mode {
        Mode::Multicast { group } => format!("{frames}multicast {group} port {}", link.port),
        Mode::Broadcast => format!("{frames}broadcast port {}", link.port),
        Mode::Unicast => format!("{frames}unicast port {}", link.port),
    }
}

/// What a node's vote is called.
const fn vote_word(node: &Node) -> &'static str {
    match (node.vote, node.witness) {
        (true, true) => "witness",
        (true, false) => "vote",
        (false, _) => "no vote",
    }
}

fn nodes(present: &Config, wanted: &Config, now: &Situation, plan: &mut Plan) {
    for new in &wanted.nodes {
        let subject = format!("node {}", new.name);
        match present.node(new.id) {
            Some(old) => same_id(old, new, present, wanted, now, plan),
            None if present.for_node(&new.name).is_ok() => plan.refuse(
                format!("node {} would get another id ({})", new.name, new.id),
                "keep its id; to replace the machine, remove the node first and add the new one then",
            ),
            None => {
                let what = match vote_word(new) {
                    "no vote" => format!("is added (id {}) without a vote", new.id),
                    "witness" => format!(
                        "is added (id {}) as a witness: joins without its vote, then gets it once it has the log",
                        new.id
                    ),
                    _ => format!("is added (id {}): joins without a vote, then gets it once it has the log", new.id),
                };
                let costs = "no interruption; start its daemons with this document and the cluster's key";
                plan.step(subject, what, Cost::Nothing, costs);
            }
        }
    }
    for old in present.nodes.iter().filter(|old| wanted.node(old.id).is_none()) {
        // Told above, as a refusal.
        if wanted.for_node(&old.name).is_ok() {
            continue;
        }
        let mut what = format!("is removed (id {})", old.id);
        if now.primary == Some(old.id) {
            what.push_str(": it is the primary and hands over first;");
        } else {
            what.push(':');
        }
        if now.voters.contains(&old.id) {
            what.push_str(" its vote is taken,");
        }
        what.push_str(" it leaves the view and is forgotten");
        let moves: Vec<&str> = owned_by(old.id, now).collect();
        if moves.is_empty() {
            plan.step(
                format!("node {}", old.name),
                what,
                Cost::Nothing,
                "no interruption; its daemons end by themselves",
            );
        } else {
            let costs = format!("{} moves to another node first", moves.join(", "));
            plan.step(format!("node {}", old.name), what, Cost::Move, costs);
        }
    }
}

/// The services of a node.
pub(crate) fn owned_by(node: u8, now: &Situation) -> impl Iterator<Item = &str> {
    now.owners.iter().filter(move |(_, owner)| *owner == node).map(|(service, _)| service.as_str())
}

fn same_id(
    old: &Node,
    new: &Node,
    present: &Config,
    wanted: &Config,
    now: &Situation,
    plan: &mut Plan,
) {
    let moved = address_changes(old, new, present, wanted);
    if old.name != new.name {
        let another = !old.addresses.iter().any(|address| new.addresses.contains(address));
        if another {
            plan.refuse(
                format!(
                    "id {} is {}'s: {} would be another machine with its number",
                    new.id, old.name, new.name
                ),
                format!(
                    "give {} an id of its own, and remove {} if it is to go",
                    new.name, old.name
                ),
            );
            return;
        }
        plan.step(
            format!("node {}", old.name),
            format!("is called {}", new.name),
            Cost::Restart,
            format!("at their next start its daemons must be started with --node {}", new.name),
        );
    }
    let subject = format!("node {}", new.name);
    for what in moved {
        plan.step(
            &subject,
            what,
            Cost::Restart,
            format!("{}'s daemons must be restarted once it has the address", new.name),
        );
    }
    if vote_word(old) == vote_word(new) {
        return;
    }
    let what = match (vote_word(old), vote_word(new)) {
        (_, "no vote") => "loses its vote, and stays a member".to_owned(),
        ("no vote", "witness") => {
            "gets a vote and becomes a witness: owns nothing any more".to_owned()
        }
        ("no vote", _) => "gets a vote once it has the log".to_owned(),
        (_, "witness") => "becomes a witness: keeps its vote, owns nothing any more".to_owned(),
        (_, _) => "is no witness any more: it may own services and be primary".to_owned(),
    };
    let moves: Vec<&str> = owned_by(new.id, now).filter(|_| new.witness).collect();
    if moves.is_empty() {
        plan.step(subject, what, Cost::Nothing, "no interruption");
    } else {
        plan.step(
            subject,
            what,
            Cost::Move,
            format!("{} moves to another node first", moves.join(", ")),
        );
    }
}

/// Address by address, on the links that both documents have at that place.
fn address_changes(old: &Node, new: &Node, present: &Config, wanted: &Config) -> Vec<String> {
    let both = present.links.iter().zip(&wanted.links);
    let pairs = both.zip(old.addresses.iter().zip(&new.addresses));
    let changed = pairs.filter(|(_, (from, to))| from != to);
    changed
        .map(|((_, link), (from, to))| format!("address on link {}: {from} -> {to}", link.name))
        .collect()
}

/// Majority of so many votes.
const fn majority(votes: usize) -> usize {
    votes / 2 + 1
}

fn votes(present: &Config, wanted: &Config, now: &Situation, plan: &mut Plan) {
    let live: BTreeSet<u8> = now.members.iter().copied().collect();
    let force: BTreeSet<u8> = now.voters.iter().copied().collect();
    let target: BTreeSet<u8> =
        wanted.nodes.iter().filter(|node| node.vote).map(|node| node.id).collect();
    let name = |id: &u8| {
        let node = wanted.node(*id).or_else(|| present.node(*id));
        node.map_or_else(|| format!("node {id}"), |node| node.name.clone())
    };
    let names = |ids: &BTreeSet<u8>| ids.iter().map(name).collect::<Vec<_>>().join(", ");
    let carries = |electorate: &BTreeSet<u8>| {
        electorate.intersection(&live).count() >= majority(electorate.len())
    };
    if !carries(&force) {
        plan.refuse(
            format!(
                "there is no quorum: of {} only {} are members",
                names(&force),
                names(&(&force & &live))
            ),
            "`ng status` says what is missing; a change needs a majority of the votes in force",
        );
        return;
    }
    // As the agreement goes: given to members first, then taken, from the dead before the living.
    let mut electorate = &force | &(&target & &live);
    let mut going: Vec<u8> = electorate.difference(&target).copied().collect();
    going.sort_by_key(|id| live.contains(id));
    for id in going {
        electorate.remove(&id);
        if !carries(&electorate) {
            let left = &electorate & &live;
            plan.refuse(
                format!(
                    "without {}'s vote there would be no live majority: of {} only {} are members",
                    name(&id),
                    names(&electorate),
                    if left.is_empty() { "none".to_owned() } else { names(&left) },
                ),
                "bring the others back first, or add a voter and wait until it has its vote",
            );
            return;
        }
    }
    if target != present.nodes.iter().filter(|node| node.vote).map(|node| node.id).collect() {
        warn_of_votes(wanted, &target, &live, &name, plan);
    }
}

fn warn_of_votes(
    wanted: &Config,
    target: &BTreeSet<u8>,
    live: &BTreeSet<u8>,
    name: &dyn Fn(&u8) -> String,
    plan: &mut Plan,
) {
    let (votes, need) = (target.len(), majority(target.len()));
    if votes == 1 {
        plan.warn(
            "one vote is left: nothing runs while that node is down (S8)",
            "three votes survive one death",
        );
    } else if votes == 2 {
        let witness = wanted.nodes.iter().any(|node| node.witness);
        let what = if witness { "two votes, one a witness's" } else { "a pair without a witness" };
        plan.warn(
            format!("{what}: any death stops it until it is proven (S8, R-FENCE)"),
            "add a witness: `ng node add NAME --address A --witness`, on any small machine",
        );
    } else if votes.is_multiple_of(2) {
        plan.warn(
            format!(
                "{votes} votes survive the loss of {}, no more than {} do, and a split in halves stops both",
                votes - need,
                votes - 1
            ),
            "add a witness, or a node without a vote (--no-vote)",
        );
    }
    if votes > VOTES_USEFUL {
        plan.warn(
            format!("{votes} votes: every entry waits for {need}"),
            format!(
                "let {VOTES_USEFUL} vote, and the others be members without a vote (vote = false)"
            ),
        );
    }
    let there = target.intersection(live).count();
    if votes > 2 && there == need {
        let missing: Vec<String> = target.difference(live).map(name).collect();
        if !missing.is_empty() {
            plan.warn(
                format!(
                    "until {} has its vote and is a member, no voter may die",
                    missing.join(" or ")
                ),
                "start it soon",
            );
        }
    }
}
