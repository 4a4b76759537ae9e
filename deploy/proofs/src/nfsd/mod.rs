//! Proof 1: one nfsd per service, each in a network namespace of its own.
//!
//! * [`orders`]: the process of one instance; [`settings`]: what it is told.
//! * [`instance`]: hold, take, give; [`space`]: the namespaces; [`door`]: who else is let in.
//! * [`tracker`], [`ledger`], [`upcall`], [`pipe`]: who may reclaim NFSv4 state.
//! * [`keeper`]: what holds an instance that stands by in grace.
//! * [`monitor`], [`responder`]: who may reclaim NFSv3 locks; NFSv3 mounts.
//! * [`rpc`], [`xdr`]: ONC RPC.

pub mod door;
pub mod instance;
pub mod keeper;
pub mod ledger;
pub mod monitor;
pub mod orders;
pub mod pipe;
pub mod responder;
pub mod rpc;
pub mod settings;
pub mod space;
pub mod tracker;
pub mod upcall;
pub mod xdr;

use instance::InstanceError;

/// What a node does in proof 1.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Nfsd {
    /// One service's nfsd instance on this node; obeys orders on standard input.
    Instance(settings::Settings),
}

/// Does it.
pub fn run(command: Nfsd) -> Result<(), InstanceError> {
    match command {
        Nfsd::Instance(settings) => orders::serve(&settings),
    }
}
