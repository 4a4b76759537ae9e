//! Proof 3: the fast NFS takeover, by hand, in one resident process.
//!
//! * [`sequence`]: the takeover with a stamp after every step.
//! * [`mount`], [`exports`], [`tickle`], [`connections`]: its steps; the NFS driver will have them.
//! * [`checkpoint`]: what keeps the journal short beforehand.
//! * [`resident`]: priority, locked memory, the clock.
//! * [`client`]: a client that writes, syncs, reads and remembers; [`pattern`]: what it writes.
//! * [`error`]: what can go wrong.

pub mod checkpoint;
pub mod client;
pub mod connections;
pub mod error;
pub mod exports;
pub mod mount;
pub mod pattern;
pub mod resident;
pub mod sequence;
pub mod tickle;

use error::TakeoverError;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

/// What a node does in proof 3.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Takeover {
    /// Waits, ready, and takes over when standard input says "go".
    Standby(Box<sequence::Plan>),
    /// Tells the standby the clients' connections, every 100 ms.
    Owner {
        /// The service's address and port.
        #[arg(long)]
        service: SocketAddrV4,
        /// Where the standby listens.
        #[arg(long)]
        to: SocketAddr,
    },
    /// Keeps the journal of a mounted ext4 short.
    Checkpoint {
        /// Where it is mounted.
        #[arg(long)]
        folder: PathBuf,
        /// From one checkpoint to the next, in milliseconds.
        #[arg(long, default_value_t = 500)]
        every_ms: u64,
    },
    /// Writes and reads on a mounted export and remembers every operation.
    Client(client::Work),
    /// Compares a file with what the client wrote.
    Verify {
        /// The file, on the server's disk.
        #[arg(long)]
        file: PathBuf,
        /// As the client's.
        #[arg(long)]
        seed: u64,
        /// How many writes were acknowledged.
        #[arg(long)]
        count: u64,
    },
}

/// How often the owner tells the connections.
const TELL_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// Does it.
pub fn run(command: Takeover) -> Result<(), TakeoverError> {
    match command {
        Takeover::Standby(plan) => sequence::Standby::open(*plan)?.serve(),
        Takeover::Owner { service, to } => {
            let mut teller = connections::Teller::open(service, to)?;
            loop {
                teller.tell()?;
                std::thread::sleep(TELL_EVERY);
            }
        }
        Takeover::Checkpoint { folder, every_ms } => {
            checkpoint::run(&folder, base::Duration::from_millis(every_ms))
        }
        Takeover::Client(work) => client::run(&work),
        Takeover::Verify { file, seed, count } => {
            let verdict = pattern::verify(&file, seed, count)?;
            let text = serde_json::to_string(&verdict)
                .map_err(|e| TakeoverError::Asked(format!("a verdict that is no JSON: {e}")))?;
            sequence::say(&text)
        }
    }
}
