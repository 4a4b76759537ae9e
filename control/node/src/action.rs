//! What the edge must do, in the order in which it is polled.

use crate::command::{CommandDone, CommandRefused};
use agreement::{Destination, Roster};
use alloc::sync::Arc;
use driver::Job;
use membership::View;
use wire::{
    Charter, Configuration, Generation, Incarnation, Message, NodeId, Op, ServiceId, Stint,
};

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Send a message of the agreement.
    Send {
        /// To whom.
        to: Destination,
        /// What.
        message: Message,
    },
    /// Store `frozen` on the board, load what was echoed before (`Board::freeze`), and answer with [`crate::Node::handle_frozen`]
    /// before the next action is performed (R-ACK 1, PROTOCOL 5.3b).
    Freeze {
        /// The node.
        node: NodeId,
        /// The stint.
        stint: Stint,
    },
    /// Take the freeze back (R-ACK 3).
    Unfreeze {
        /// The node.
        node: NodeId,
    },
    /// Store `closed` on the board before anything more is sent (R-SELF).
    CloseLease {
        /// The own stint.
        stint: Stint,
    },
    /// Clear `closed`: the own removal was truncated.
    ReopenLease,
    /// Store the era durably, then answer with [`crate::Node::handle_era_stored`] (R-ERA).
    StoreEra {
        /// The era.
        era: u32,
    },
    /// Store the charter durably, then answer with [`crate::Node::handle_configuration_stored`] (R-CONF-DURABLE).
    StoreConfiguration {
        /// Instead of what was stored before.
        charter: Charter,
    },
    /// A configuration with a document is agreed: answered at once with [`crate::Node::handle_document`]. Settings and peers
    /// follow it.
    Configured(Arc<Configuration>),
    /// This node is configured no more: it has begun to leave; end when it has left, and stay away.
    Dropped,
    /// The log has an entry of a feature level that this release does not understand: what runs here was told to stop; leave
    /// when it has, and come back with a newer release.
    Outdated {
        /// That level.
        level: u16,
    },
    /// Voters, lives and stints by the committed log, and the electorate that may be next: to the board, in order with
    /// what is sent (R-LEASE-CONF).
    Publish(Roster),
    /// A newer life of this node exists: what runs here was told to stop; leave when it has.
    Superseded {
        /// Its incarnation.
        highest: Incarnation,
    },
    /// This life was said to be off, and the other of a pair went on alone (R-FENCE): what runs here was told to stop;
    /// leave when it has, and begin again.
    SaidOff,
    /// The agreed state at this op cannot be read here: another release wrote it. What runs here was told to stop; leave
    /// when it has.
    Unreadable {
        /// The last op that is in it.
        op: Op,
    },
    /// This life never voted, and a higher number of its node is known: begin again above it
    /// (R-RENUMBER).
    Renumber {
        /// The highest number known.
        above: Incarnation,
    },
    /// Hand a job to the drivers of its service. Jobs of one service are done one after the other.
    Run(Job),
    /// Board word: this generation is held open here, 0 = none. Polled before the start that it is
    /// for.
    Open {
        /// The service.
        service: ServiceId,
        /// The generation.
        generation: Generation,
    },
    /// Board word: this node owns something, peers answer its beats at once.
    Owner(bool),
    /// The answer to [`crate::Node::handle_command`].
    Reply {
        /// The caller's tag.
        tag: u64,
        /// What came of it.
        result: Result<CommandDone, CommandRefused>,
    },
    /// Another view is agreed.
    ViewChanged(View),
    /// A service's phase, owner, generation or reason changed.
    ServiceChanged(ServiceId),
}
