//! The sections as they were read: values that remember where they stood, and may be missing.

use crate::model::{
    Cluster, Config, Core, Fence, Frames, GateSockets, Link, Local, Mode, NetworkIo, Node,
    Placement, Resource, Service,
};
use crate::table::At;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct RawConfig {
    pub(crate) cluster: RawCluster,
    pub(crate) links: Vec<RawLink>,
    pub(crate) nodes: Vec<RawNode>,
    pub(crate) services: Vec<RawService>,
    pub(crate) local: RawLocal,
}

#[derive(Default)]
pub(crate) struct RawCluster {
    pub(crate) name: Option<String>,
    pub(crate) key_file: Option<At<PathBuf>>,
    pub(crate) interval: Option<Duration>,
    pub(crate) misses: Option<u32>,
}

pub(crate) struct RawLink {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<At<String>>,
    pub(crate) mode: Option<At<RawMode>>,
    pub(crate) group: Option<At<IpAddr>>,
    pub(crate) frames: Option<At<Frames>>,
    pub(crate) port: Option<At<u16>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawMode {
    Multicast,
    Broadcast,
    Unicast,
}

pub(crate) struct RawNode {
    pub(crate) span: Range<usize>,
    pub(crate) id: Option<At<u8>>,
    pub(crate) name: Option<At<String>>,
    /// `None` inside: it could not be read, its place counts.
    pub(crate) addresses: Option<At<Vec<At<Option<IpAddr>>>>>,
    pub(crate) witness: bool,
    pub(crate) vote: Option<At<bool>>,
}

impl RawNode {
    pub(crate) fn votes(&self) -> bool {
        self.vote.as_ref().is_none_or(|vote| vote.value)
    }

    pub(crate) fn shown(&self) -> String {
        match (&self.name, &self.id) {
            (Some(name), _) => name.value.clone(),
            (None, Some(id)) => format!("with id {}", id.value),
            (None, None) => "without name".into(),
        }
    }
}

pub(crate) struct RawService {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<At<String>>,
    pub(crate) nodes: Option<At<Vec<At<String>>>>,
    pub(crate) placement: Option<Placement>,
    pub(crate) fence: Option<At<Fence>>,
    pub(crate) resources: Vec<RawResource>,
}

impl RawService {
    pub(crate) fn shown(&self) -> &str {
        self.name.as_ref().map_or("without name", |name| name.value.as_str())
    }
}

pub(crate) struct RawResource {
    pub(crate) span: Range<usize>,
    /// With the place of its address or command line. `None`: it could not be read.
    pub(crate) resource: Option<At<Resource>>,
}

#[derive(Default)]
pub(crate) struct RawLocal {
    pub(crate) core: Option<Core>,
    pub(crate) priority: Option<u8>,
    pub(crate) gate_sockets: Option<GateSockets>,
    pub(crate) network_io: Option<NetworkIo>,
}

impl RawConfig {
    /// The configuration, if nothing is missing. The checks have told what is.
    pub(crate) fn build(self) -> Option<Config> {
        let cluster = Cluster {
            name: self.cluster.name?,
            key_file: self.cluster.key_file?.value,
            heartbeat_interval: self.cluster.interval?,
            heartbeat_misses: self.cluster.misses?,
        };
        let links = self.links.into_iter().map(RawLink::build).collect::<Option<Vec<_>>>()?;
        let mut nodes = self.nodes.into_iter().map(RawNode::build).collect::<Option<Vec<_>>>()?;
        nodes.sort_by_key(|node| node.id);
        let services = self
            .services
            .into_iter()
            .map(|service| service.build(&nodes))
            .collect::<Option<Vec<_>>>()?;
        let defaults = Local::default();
        let local = Local {
            core: self.local.core.unwrap_or(defaults.core),
            realtime_priority: self.local.priority.unwrap_or(defaults.realtime_priority),
            gate_sockets: self.local.gate_sockets.unwrap_or(defaults.gate_sockets),
            network_io: self.local.network_io.unwrap_or(defaults.network_io),
        };
        Some(Config { cluster, links, nodes, services, local })
    }
}

impl RawLink {
    fn build(self) -> Option<Link> {
        let mode = match self.mode?.value {
            RawMode::Multicast => Mode::Multicast { group: self.group?.value },
            RawMode::Broadcast => Mode::Broadcast,
            RawMode::Unicast => Mode::Unicast,
        };
        let frames = self.frames.map_or(Frames::default(), |at| at.value);
        Some(Link { name: self.name?.value, mode, frames, port: self.port?.value })
    }
}

impl RawNode {
    fn build(self) -> Option<Node> {
        let addresses =
            self.addresses?.value.into_iter().map(|at| at.value).collect::<Option<_>>()?;
        let vote = self.vote.is_none_or(|vote| vote.value);
        let (id, name) = (self.id?.value, self.name?.value);
        Some(Node { id, name, addresses, witness: self.witness, vote })
    }
}

impl RawService {
    fn build(self, nodes: &[Node]) -> Option<Service> {
        let ids = match self.nodes {
            Some(names) => names
                .value
                .iter()
                .map(|name| nodes.iter().find(|n| n.name == name.value).map(|n| n.id))
                .collect::<Option<Vec<_>>>()?,
            None => nodes.iter().filter(|node| !node.witness).map(|node| node.id).collect(),
        };
        Some(Service {
            name: self.name?.value,
            nodes: ids,
            placement: self.placement.unwrap_or_default(),
            fence: self.fence.map(|fence| fence.value).unwrap_or_default(),
            resources: self
                .resources
                .into_iter()
                .map(|raw| raw.resource.map(|at| at.value))
                .collect::<Option<_>>()?,
        })
    }
}
