//! Proof 1: one nfsd per service, each in a network namespace of its own.
//!
//! * [`orders`]: the process of one instance; [`settings`]: what it is told.
//! * [`instance`]: hold, take, give; [`space`]: the namespaces; [`door`]: who else is let in.
//! * [`tracker`], [`ledger`], [`upcall`], [`pipe`]: who may reclaim NFSv4 state.
//! * [`keeper`]: what holds an instance that stands by in grace.
//! * [`grace`]: when it ends. [`monitor`], [`responder`]: NFSv3 locks and mounts.
//! * [`work`]: a client that never stops.
//! * [`rpc`], [`xdr`]: ONC RPC.

pub mod door;
pub mod grace;
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
pub mod work;
pub mod xdr;

use crate::takeover::sequence::say;
use instance::InstanceError;
use keeper::Introduction;
use std::net::IpAddr;

/// What a node does in proof 1.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Nfsd {
    /// One service's nfsd instance on this node; obeys orders on standard input.
    Instance(settings::Settings),
    /// Works on several mounts at once and remembers every operation.
    Work(work::Work),
    /// Asks an NFSv4.1 server for its owner and scope.
    Ask {
        /// Its address.
        server: IpAddr,
    },
}

/// Does it.
pub fn run(command: Nfsd) -> Result<(), InstanceError> {
    match command {
        Nfsd::Instance(settings) => orders::serve(&settings),
        Nfsd::Work(work) => Ok(work::run(&work)?),
        Nfsd::Ask { server } => {
            let Introduction { owner, scope } = keeper::introduce(server)?;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let told = serde_json::json!({ "owner": text(owner), "scope": text(scope) });
            Ok(say(&told.to_string())?)
        }
    }
}
