//! What goes in and comes out.

use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Duration;
use wire::{Charter, Entry, Incarnation, Life, Message, NodeId, NodeSet, Op, Stint};

use crate::roster::Roster;

/// Most own requests that wait for their commit.
pub const OUTSTANDING_MAX: usize = 64;
/// A joining life is admitted when it is at most this many entries behind.
pub const ADMIT_WITHIN: u64 = 256;

/// What one life is told at its start.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// This life.
    pub me: Life,
    /// What this node holds durably of the agreed configuration, or what its file says if it holds nothing.
    pub charter: Charter,
    /// Heartbeat interval; the agreed configuration's, once one is committed.
    pub interval: Duration,
    /// Intervals of silence that make a suspect.
    pub misses: u32,
    /// The longest deadline that a life may have declared whose beats an earlier life of this node echoed: by the durable
    /// configuration and the one before it. Never less than the own one counts.
    pub longest: Duration,
    /// Bound of a clock's rate error in parts per million.
    pub rate_ppm: u32,
    /// Highest era that any life of this node promised, from its durable record.
    pub era_promised: u32,
    /// Highest feature level that this release understands. Its entries are made at the agreed one.
    pub level: u16,
    /// Bounds of the log and its snapshots.
    pub limits: Limits,
    /// Rules that are switched off to see the checkers bite. Empty in the product.
    #[cfg(feature = "mutations")]
    pub mutations: Vec<&'static str>,
}

/// Bounds of the log and its snapshots, equal on all nodes: equal logs then give equal snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// A snapshot is made when the committed op is a multiple of this.
    pub snapshot_every: u64,
    /// And when the entries committed since the last one have so many bytes.
    pub snapshot_bytes: usize,
    /// Entries kept for those that fall behind, besides what a member lacks.
    pub kept: u64,
    /// Bytes of entries kept so.
    pub kept_bytes: usize,
    /// Largest slice of a snapshot in bytes, at most what one message carries.
    pub slice: usize,
    /// Entries that may wait for their commit; then requests are refused.
    pub waiting: u64,
    /// Bytes of entries that may wait so.
    pub waiting_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            snapshot_every: 4_096,
            snapshot_bytes: 8 << 20,
            kept: 65_536,
            kept_bytes: 64 << 20,
            slice: wire::message::SLICE_MAX,
            waiting: 4_096,
            waiting_bytes: 8 << 20,
        }
    }
}

impl Settings {
    /// The deadline D = interval × misses.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.interval * u64::from(self.misses)
    }
    /// D of the slowest, for all that rests on what former lives did.
    pub(crate) fn longest(&self) -> Duration {
        self.longest.max(self.deadline())
    }
    /// R-COLD-WAIT: D·(1+2ρ), with the longest D.
    pub(crate) fn cold_wait(&self) -> Duration {
        let deadline = self.longest();
        if self.off("cold-wait") {
            return Duration::ZERO;
        }
        deadline + Duration(deadline.0.saturating_mul(2 * u64::from(self.rate_ppm)) / 1_000_000)
    }
    /// True if no rule is switched off.
    #[cfg(feature = "mutations")]
    pub(crate) fn is_whole(&self) -> bool {
        self.mutations.is_empty()
    }
    /// No rule is ever off in the product.
    #[cfg(not(feature = "mutations"))]
    pub(crate) const fn is_whole(&self) -> bool {
        true
    }
    /// True if the named rule is switched off.
    #[cfg(feature = "mutations")]
    pub(crate) fn off(&self, rule: &str) -> bool {
        self.mutations.contains(&rule)
    }
    /// No rule is ever off in the product.
    #[cfg(not(feature = "mutations"))]
    pub(crate) const fn off(&self, _rule: &str) -> bool {
        false
    }
}

/// To whom a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Destination {
    /// Every configured node.
    All,
    /// One node.
    Node(NodeId),
}

/// What the edge must do, in this order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Send a message.
    Send {
        /// To whom.
        to: Destination,
        /// What.
        message: Message,
    },
    /// Stop echoing one stint (R-ACK 1) and answer with [`crate::Agreement::handle_frozen`] at once.
    Freeze {
        /// The node.
        node: NodeId,
        /// The stint.
        stint: Stint,
    },
    /// The removal was truncated: echo again (R-ACK 3).
    Unfreeze {
        /// The node.
        node: NodeId,
    },
    /// Close the own lease for a stint, before the next Send (R-SELF).
    CloseLease {
        /// The own stint.
        stint: Stint,
    },
    /// The own removal was truncated.
    ReopenLease,
    /// Store the era durably, then answer with [`crate::Agreement::handle_era_stored`].
    StoreEra {
        /// The era.
        era: u32,
    },
    /// Store the charter durably, then answer with [`crate::Agreement::handle_configuration_stored`] (R-CONF-DURABLE).
    StoreConfiguration {
        /// Instead of what was stored before.
        charter: Charter,
    },
    /// An entry is committed; each once, in order, from op 1 of each era, but for those that an
    /// [`Action::Install`] stands for.
    Committed {
        /// Where.
        op: Op,
        /// What. A repeated request appears as Noop: it is applied once.
        entry: Entry,
    },
    /// Right after [`Action::Committed`] of `op`: encode the state as it is now, and answer with
    /// [`crate::Agreement::handle_snapshot`] before the next action.
    Snapshot {
        /// The last op that is in it.
        op: Op,
    },
    /// The state after `op` comes from a snapshot: it takes the place of everything so far, also of another era's. The
    /// next [`Action::Committed`] is that of the op that follows.
    Install {
        /// The last op that is in it.
        op: Op,
        /// The slices as a replica gave them to [`crate::Agreement::handle_snapshot`].
        slices: Vec<Arc<[u8]>>,
    },
    /// Voters, lives and stints by the committed log have changed, or the electorate that may be in force next: to the
    /// board before anything is sent that rests on it (R-LEASE-CONF).
    Publish(Roster),
    /// The own membership ended by a committed removal, or the era ended: stop everything.
    Reflex {
        /// Op of the removal; 0 if the era ended.
        removed_at: Op,
    },
    /// A newer life of this node exists: stop and leave.
    Superseded {
        /// Its incarnation.
        highest: Incarnation,
    },
    /// By the agreed log this life was said to be off, and its vote is given away (R-FENCE): stop everything; its node
    /// comes back as a new life.
    SaidOff,
    /// The log has an entry of a feature level that this release does not understand: stop before anything of it is
    /// applied, and come back with a newer release.
    Outdated {
        /// That level.
        level: u16,
    },
    /// This life has never voted and a higher number of its node is known: begin again as a life above it (R-RENUMBER).
    Renumber {
        /// The highest number known.
        above: Incarnation,
    },
}

/// Why a request is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Larger than an entry may be.
    TooLarge,
    /// Too many requests of this node wait already.
    TooMany,
    /// Too much waits for its commit already: the cluster has no quorum, or is slower than its writers.
    Busy,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request is larger than 1 MiB",
            Self::TooMany => {
                "64 requests of this node wait already; the cluster has no quorum or is slow"
            }
            Self::Busy => {
                "too many entries wait to be agreed already; the cluster has no quorum or is slow"
            }
        })
    }
}

/// Why the operator's word about the other half of a pair is not taken (R-FENCE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceRefused {
    /// It was heard less than a deadline ago.
    Heard,
    /// This life has no vote: what the other agreed alone may be newer than all it knows.
    NoVote,
}

impl core::fmt::Display for FenceRefused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Heard => "the node is heard: it cannot be off",
            Self::NoVote => {
                "this node has restarted and has no vote yet, so that the other may have agreed more than it knows: only \
                 a cold start helps, which takes both nodes"
            }
        })
    }
}

/// Why a wanted configuration is not taken (PROTOCOL 8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigureRefused {
    /// Its version is not the next one: another change came first.
    Version {
        /// The version in force.
        in_force: u32,
    },
    /// Nobody votes in it, or only witnesses do: nobody could lead.
    NobodyLeads,
    /// Voters or witnesses that are not among its nodes.
    NotConfigured(NodeSet),
    /// Of its voters too many are silent: the votes could not follow.
    Majority {
        /// Voters of it that are silent.
        silent: NodeSet,
        /// How many of it must live.
        need: usize,
    },
    /// No interval or no misses.
    Timing,
    /// The document is larger than an entry may be.
    TooLarge,
    /// Its feature level is below the present one.
    LevelFalls {
        /// The present one.
        level: u16,
    },
    /// A member's release does not understand its feature level.
    LevelTooHigh(NodeId),
}

impl core::error::Error for ConfigureRefused {}
impl core::error::Error for OverrideRefused {}

impl core::fmt::Display for ConfigureRefused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version { in_force } => {
                write!(
                    f,
                    "version {in_force} is in force: another change came first, look at it and try again"
                )
            }
            Self::NobodyLeads => f.write_str("no voter would be left that may lead"),
            Self::NotConfigured(nodes) => {
                write!(f, "voters or witnesses are no nodes of it: {nodes:?}")
            }
            Self::Majority { silent, need } => write!(
                f,
                "{need} of its voters must live for the votes to follow, and these are silent: {silent:?}"
            ),
            Self::Timing => f.write_str("interval and misses must be more than 0"),
            Self::TooLarge => f.write_str("the document is too large"),
            Self::LevelFalls { level } => write!(f, "the feature level never falls: it is {level}"),
            Self::LevelTooHigh(node) => {
                write!(f, "the release of {node:?} does not understand this feature level yet")
            }
        }
    }
}

/// Why an operator's override of a cold start is not taken (PROTOCOL 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverrideRefused {
    /// This life has, or may have, a vote in a log: it cannot begin another one. Restart it first.
    NotFresh,
    /// A primary speaks: the cluster has a log.
    PrimarySpeaks,
    /// Who is heard is not off.
    Heard(NodeSet),
    /// They have no vote: nothing is gained by naming them.
    NotVoters(NodeSet),
    /// This node may not lead.
    MayNotLead,
}

impl core::fmt::Display for OverrideRefused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotFresh => f.write_str(
                "this life has a vote in a log, so that it cannot help to begin another: restart it first",
            ),
            Self::PrimarySpeaks => f.write_str("a primary speaks: the cluster has its log"),
            Self::Heard(nodes) => write!(f, "these are heard, so that they are not off: {nodes:?}"),
            Self::NotVoters(nodes) => write!(f, "these have no vote: {nodes:?}"),
            Self::MayNotLead => f.write_str("this node is a witness or has no vote: ask another one"),
        }
    }
}

base::machine! {
    /// What a replica is at the moment.
    pub Status {
        /// No vote yet: follows, or waits for a cold start.
        Learner,
        /// Acknowledges the primary of its term.
        Follower,
        /// Collects promises for a term of its own.
        Candidate,
        /// Orders the entries.
        Primary,
        /// Has promised a term whose primary it has not heard yet.
        Silent,
    }
    /// What makes it something else.
    StatusEvent {
        /// A Prepare of its term or a higher one came, and it has a vote.
        FollowPrimary: Learner | Follower | Candidate | Primary | Silent => Follower;
        /// A Prepare came, and it has no vote.
        LearnFrom: Learner | Follower | Candidate | Primary | Silent => Learner;
        /// It promised another's term.
        PromiseOther: Follower | Candidate | Primary | Silent => Silent;
        /// It stands for a term of its own.
        Stand: Follower | Candidate | Primary | Silent => Candidate;
        /// Its promises suffice.
        Win: Candidate => Primary;
        /// A majority of fresh lives promised it an era.
        BeginEra: Learner => Primary;
        /// Its vote was taken.
        LoseVote: Follower | Silent | Candidate => Learner;
        /// It forgets its log for a later era.
        ForgetEra: Learner | Follower | Candidate | Primary | Silent => Learner;
    }
}

/// What keeps this life from acting, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// No log yet; a first start or restart of all needs a majority of fresh lives.
    ColdStart {
        /// Fresh lives heard, this one included.
        fresh: NodeSet,
        /// How many are needed.
        need: usize,
    },
    /// A majority of the voters' lives is over, so that nobody can be admitted: only a cold start helps.
    LivesEnded {
        /// Nodes whose voting life is over.
        ended: NodeSet,
        /// How many living ones are needed.
        need: usize,
    },
    /// One of a pair without a witness, and the other life is silent: both are needed, or evidence that it is off.
    Evidence {
        /// The silent life.
        about: Life,
    },
    /// Follows a primary, not admitted yet.
    Admission,
    /// Removed from the view while alive; asks to be admitted again.
    Readmission,
    /// A change of primary is under way, or cannot succeed because too few voters answer.
    Primary {
        /// Voters that promised this life's own candidacy, if it stands.
        promised: NodeSet,
        /// How many are needed.
        need: usize,
    },
    /// Primary, but its entries do not commit: too few acknowledge.
    Acknowledgements {
        /// Voters that acknowledge, this one included.
        have: NodeSet,
        /// How many are needed.
        need: usize,
    },
}
