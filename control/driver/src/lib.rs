//! The contract between the planner and what it drives: right, job, outcome.
//!
//! A driver starts something only with a [`Right`], and a right can only be made by
//! [`Right::grant`], which checks rule S3: generation g+1 starts only with evidence about the
//! owner of g that the service's fence policy accepts. Drivers know nothing of the planner and
//! nothing of each other.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use base::Instant;
use wire::{Generation, Op, ServiceId};

/// What must be known about the previous owner before the next one starts (S3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FencePolicy {
    /// Proof that it can do nothing any more. The default.
    #[default]
    Fenced,
    /// The end of its lease; only for services whose every resource is lease-bound.
    Lease,
}

/// What is known about the previous owner. Each names the log position that shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Nobody ever owned the service in this era, and every node that could have run it before is
    /// accounted for: admitted as a new life, or the service is lease-bound.
    NeverOwned,
    /// The owner itself reported that it has stopped.
    Stopped(Op),
    /// The owner was removed: its lease had ended before the removal could be agreed (S2).
    LeaseEnded(Op),
    /// The owner's life is over: a newer life of the node was admitted, whose start removed what
    /// was left.
    NewLife(Op),
    /// The operator asserts that the node is off.
    Operator(Op),
}

/// Why a start is not allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The policy wants more than the end of a lease.
    NeedsProof,
    /// Policy `lease`, but this resource goes on without a lease.
    NotLeaseBound {
        /// The resource's name.
        resource: String,
    },
    /// Policy `lease`, but the kernel's gate is not whole on this node (S2b).
    NoGate {
        /// What it lacks.
        lack: String,
    },
}

/// The right to start one generation of a service. Only [`Right::grant`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Right {
    service: ServiceId,
    generation: Generation,
    evidence: Evidence,
}

impl Right {
    /// Checks S3 and gives the right. `unbound` names a resource that is not lease-bound, `lack` says
    /// what this node's gate lacks, if that is so.
    pub fn grant(
        service: ServiceId,
        generation: Generation,
        evidence: Evidence,
        policy: FencePolicy,
        unbound: Option<&str>,
        lack: Option<&str>,
    ) -> Result<Self, Refused> {
        if policy == FencePolicy::Lease
            && let Some(resource) = unbound
        {
            return Err(Refused::NotLeaseBound { resource: resource.into() });
        }
        if policy == FencePolicy::Lease
            && let Some(lack) = lack
        {
            return Err(Refused::NoGate { lack: lack.into() });
        }
        if policy == FencePolicy::Fenced && matches!(evidence, Evidence::LeaseEnded(_)) {
            return Err(Refused::NeedsProof);
        }
        Ok(Self { service, generation, evidence })
    }
    /// The service.
    #[must_use]
    pub const fn service(&self) -> ServiceId {
        self.service
    }
    /// The generation that may start.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }
    /// What it rests on.
    #[must_use]
    pub const fn evidence(&self) -> Evidence {
        self.evidence
    }
}

/// What a driver is told to do with all resources of one service, in order (stops in reverse
/// order).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// Bring the service up.
    Start(Right),
    /// Take the service down for good and report when nothing of it is left.
    Stop {
        /// The service.
        service: ServiceId,
        /// The generation that stops.
        generation: Generation,
    },
    /// The lease lapsed: take down at once what is lease-bound, keep connections (reversible).
    Withdraw {
        /// The service.
        service: ServiceId,
        /// Its generation.
        generation: Generation,
    },
    /// The lease came back and the service is still this node's: bring back what was withdrawn.
    Restore {
        /// The service.
        service: ServiceId,
        /// Its generation.
        generation: Generation,
    },
}

/// What came of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The service.
    pub service: ServiceId,
    /// The generation.
    pub generation: Generation,
    /// What happened.
    pub result: Done,
    /// When the driver began, own clock.
    pub began: Instant,
    /// When it was done.
    pub ended: Instant,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// All resources are up.
    Started,
    /// Nothing of the service is left on this node.
    Stopped,
    /// The lease-bound parts are down.
    Withdrawn,
    /// They are back.
    Restored,
    /// The start failed and everything was taken down again.
    Failed {
        /// What the operator should read.
        reason: String,
    },
    /// Something could not be taken down: the node must be fenced before anybody else starts it.
    Stuck {
        /// What the operator should read.
        reason: String,
    },
    /// A running resource was found dead.
    Died {
        /// What the operator should read.
        reason: String,
    },
}
