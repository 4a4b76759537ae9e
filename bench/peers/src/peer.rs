//! What is compared: each on a bed of its own, made as well as its makers let it be made.

use crate::bfd::Bfd;
use crate::etcd::Etcd;
use crate::ring::Ring;
use anyhow::Result;
use base::{Duration, Instant};
use testbed::bed::Bed;
use testbed::cluster::Cluster;
use testbed::keepalived::Keepalived;
use testbed::power::{self, Cut};
use testbed::programs::Programs;
use testbed::record::Record;
use testbed::spec::Spec;
use testbed::topology::Shape;
use testbed::trial::Contender;

/// What was killed is gone within this.
const GONE: Duration = Duration::from_millis(2_000);
/// Nodes of each bed.
pub(crate) const NODES: u8 = 3;

/// One of them, running.
pub(crate) trait Peer {
    /// Waits until all nodes are up and ready, and returns the one to cut.
    fn settle(&mut self) -> Result<u8>;
    /// Cuts a node's power. Returns when what is measured was seen, too; none if it was not within `limit`. Looks while the
    /// node dies, which takes some programs half a second.
    fn cut(&mut self, node: u8, limit: Duration) -> Result<(Cut, Option<Instant>)>;
    /// Gives the node its power back and starts everything on it.
    fn restore(&mut self, node: u8) -> Result<()>;
    /// How often it has believed, since the last call, that a node failed which had not.
    fn mistakes(&mut self) -> Result<u64>;
}

/// Starts one.
type Start = fn(&Programs) -> Result<Box<dyn Peer>>;

/// One of them, in words.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What is measured from the cut on.
    pub(crate) until: &'static str,
    pub(crate) settings: &'static str,
    /// Where Debian puts its program, and in which package; nothing for our own.
    pub(crate) program: Option<(&'static str, &'static str)>,
    pub(crate) start: Start,
}

/// All, in the order of the table.
pub(crate) const KINDS: [Kind; 5] = [
    Kind {
        name: "netguard",
        until: "the address answers from another node; agreed by a majority",
        settings: "10 ms × 3, lease",
        program: None,
        start: |programs| {
            let shape = Shape { nodes: NODES, links: 1 };
            Ok(Box::new(Address::new(Cluster::start(Spec { shape, ..Spec::default() }, programs)?)))
        },
    },
    Kind {
        name: "keepalived",
        until: "the address answers from another node; no quorum",
        settings: "VRRPv3, advert_int 0.01, priorities 254 to 252, real-time 50, rlimit_rttime 2 s",
        program: Some(("/usr/sbin/keepalived", "keepalived")),
        start: |programs| Ok(Box::new(Address::new(Keepalived::start(NODES, programs)?))),
    },
    Kind {
        name: "corosync",
        until: "the slowest survivor has the new membership; no address moves",
        settings: "udpu, token 36, token_coefficient 0, token_retransmits_before_loss_const 1, join 30, consensus 43",
        program: Some(("/usr/sbin/corosync", "corosync")),
        start: |programs| Ok(Box::new(Ring::start(programs)?)),
    },
    Kind {
        name: "bfdd",
        until: "the session is down at the slowest survivor; nothing is agreed, no address moves",
        settings: "FRR, 10 ms × 3, without real-time (it has none)",
        program: Some(("/usr/lib/frr/bfdd", "frr")),
        start: |programs| Ok(Box::new(Bfd::start(programs)?)),
    },
    Kind {
        name: "etcd",
        until: "the first write after the leader's cut is acknowledged by a survivor",
        settings: "heartbeat-interval 10, election-timeout 50, data on a RAM disk",
        program: Some(("/usr/bin/etcd", "etcd-server")),
        start: |programs| Ok(Box::new(Etcd::start(programs)?)),
    },
];

/// Cuts a node's power while `look` looks.
pub(crate) fn cut_and_look<T: Send>(
    bed: &Bed,
    node: u8,
    look: impl FnOnce() -> T + Send,
) -> Result<(Cut, T)> {
    std::thread::scope(|scope| {
        let looking = scope.spawn(look);
        let cut = power::cut(bed.topology(), node);
        match looking.join() {
            Ok(seen) => Ok((cut?, seen)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Gives it its power back, once nothing of it is left.
pub(crate) fn restore(bed: &mut Bed, node: u8) -> Result<()> {
    for mut process in bed.processes(node).drain(..) {
        process.wait(GONE);
    }
    Ok(bed.restore(node)?)
}

/// Those that move an address: the observer sees it answer.
struct Address<C>(C);

impl<C: Contender> Address<C> {
    const fn new(contender: C) -> Self {
        Self(contender)
    }
}

impl<C: Contender> Peer for Address<C> {
    fn settle(&mut self) -> Result<u8> {
        Ok(self.0.settle()?)
    }
    fn cut(&mut self, node: u8, limit: Duration) -> Result<(Cut, Option<Instant>)> {
        self.0.bed_mut().observer().record().begin_window();
        let cut = self.0.cut(node)?;
        let observer = self.0.bed_mut().observer();
        let answer = observer.wait_for(cut.at, limit, |it| it.node != node);
        Ok((cut, answer.map(|answer| answer.received)))
    }
    fn restore(&mut self, node: u8) -> Result<()> {
        Ok(self.0.restore(node)?)
    }
    fn mistakes(&mut self) -> Result<u64> {
        let mut record = self.0.bed_mut().observer().record();
        let moves = moves(&record);
        record.begin_window();
        Ok(moves)
    }
}

/// How often the address went to another node.
fn moves(record: &Record) -> u64 {
    let nodes: Vec<u8> = record.normal().map(|answer| answer.node).collect();
    nodes.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}
