//! How often the lease of a healthy node lapses when its links lose beats. A lapse closes the gate
//! for a moment; it is never a failover by itself (PROTOCOL 5.6).

use anyhow::Result;
use base::Duration;
use serde::Serialize;
use testbed::cluster::Cluster;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::topology::Shape;

/// Loss on every link, by chance, and how many links there are.
const LOSSES: [(&str, &str, u8); 4] = [
    ("1", "seed=21,loss=0.01", 2),
    ("10", "seed=22,loss=0.1", 2),
    ("1", "seed=23,loss=0.01", 1),
    ("10", "seed=24,loss=0.1", 1),
];

/// What one loss did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lapses {
    /// `gate_lapse_per_hour`, with the loss in percent.
    pub(crate) id: String,
    unit: &'static str,
    /// Lapses per hour of one node.
    pub(crate) value: f64,
    /// Lapses counted.
    pub(crate) n: u64,
    /// Hours of one node that were looked at.
    pub(crate) node_hours: f64,
    /// Members that were removed.
    pub(crate) removals: u64,
}

/// Watches a cluster under each loss for `span`.
pub(crate) fn measure(span: Duration, programs: &Programs) -> Result<Vec<Lapses>> {
    let mut all = Vec::new();
    for (percent, loss, links) in LOSSES {
        let shape = Shape { nodes: 3, links };
        let spec = Spec { shape, loss: Some(loss.into()), ..Spec::default() };
        let mut cluster = Cluster::start(spec, programs)?;
        cluster.settle()?;
        let (before, removed) = counted(&cluster)?;
        let begin = os::now();
        while os::now().since(begin) < span && !os::interrupted() {
            os::sleep(Duration::from_millis(100));
        }
        let node_hours = hours(os::now().since(begin)) * cluster.alive().len() as f64;
        let (after, removals) = counted(&cluster)?;
        let n = after.saturating_sub(before);
        all.push(Lapses {
            id: format!("gate_lapse_per_hour, {percent} % loss, {links} links"),
            unit: "per node and hour",
            value: n as f64 / node_hours,
            n,
            node_hours,
            removals: removals.saturating_sub(removed),
        });
    }
    Ok(all)
}

/// Hours, as a fraction.
pub(crate) fn hours(span: Duration) -> f64 {
    span.millis() as f64 / 3_600_000.0
}

/// Lapses of all nodes, and removals as the first of them knows them.
fn counted(cluster: &Cluster) -> Result<(u64, u64)> {
    let mut lapses = 0;
    let mut removals = 0;
    for node in cluster.alive() {
        lapses += cluster.status(node)?.lease.lapses;
        removals = cluster.client(node)?.failovers(api::FAILOVERS_MAX)?.failovers.len() as u64;
    }
    Ok((lapses, removals))
}

impl std::fmt::Display for Lapses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, value, n, node_hours, removals, .. } = self;
        write!(f, "{id}: {value:.0} ({n} in {node_hours:.2} node hours; {removals} removals)")
    }
}
