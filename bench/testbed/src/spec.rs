//! What a cluster in the bed is to be like, and the files that say so to its daemons.

use crate::error::{Context, Result};
use crate::os;
use crate::topology::{Shape, address, floating, node_name};
use base::Duration;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The name of the service whose address the observer asks.
pub const SERVICE: &str = "floating";
/// The port of the heartbeats; the next one carries the agreement.
pub const PORT_BEATS: u16 = 5800;

/// A cluster to be built. The default is what the product promises its figures for.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `udp` or `ethernet`: what carries the beats, on every link.
    pub frames: String,
    /// Links whose beats go in Ethernet frames, from 1, whatever `frames` says.
    pub ethernet: Vec<u8>,
    /// Nodes and links.
    pub shape: Shape,
    /// The interval between beats, as the file has it: `10ms`.
    pub interval: String,
    /// Intervals of silence that make a suspect.
    pub misses: u32,
    /// `lease` or `fenced`.
    pub fence: String,
    /// `sticky` or `fail-back`.
    pub placement: String,
    /// `auto`, `none`, or the number of a core: where each fast path runs.
    pub core: String,
    /// What netguard-fast and -control get as NETGUARD_TEST_LOSS.
    pub loss: Option<String>,
    /// The daemons take probes: entries that change nothing.
    pub probes: bool,
    /// Nodes whose release understands another feature level, and which.
    pub levels: BTreeMap<u8, u16>,
    /// Nodes that vote and own nothing.
    pub witnesses: Vec<u8>,
    /// Nodes with power and network that the file does not have: they may be added later.
    pub left_out: Vec<u8>,
    /// Services beside the first, each with an address of its own, one above the other.
    pub services: Vec<String>,
    /// More sections for the end of the file.
    pub more: String,
    /// Settings can change on one node alone while it runs (`Cluster::rehearse`).
    pub rehearsed: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            frames: "udp".into(),
            ethernet: Vec::new(),
            shape: Shape { nodes: 3, links: 2 },
            interval: "10ms".into(),
            misses: 3,
            fence: "lease".into(),
            placement: "sticky".into(),
            // Three nodes share the cores of one machine: pinned, two of them would wait for each
            // other.
            core: "none".into(),
            loss: None,
            probes: false,
            levels: BTreeMap::new(),
            witnesses: Vec::new(),
            left_out: Vec::new(),
            services: Vec::new(),
            more: String::new(),
            rehearsed: false,
        }
    }
}

impl Spec {
    /// The interval between beats as a length of time; what the file cannot mean is zero.
    #[must_use]
    pub fn interval_length(&self) -> Duration {
        let text = self.interval.trim();
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0));
        let number = number.parse::<u64>().unwrap_or(0);
        match unit {
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_millis(number.saturating_mul(1_000)),
            _ => Duration::ZERO,
        }
    }

    /// Silence that makes a suspect.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.interval_length() * u64::from(self.misses)
    }

    /// The text of `netguard.toml`.
    #[must_use]
    pub fn text(&self, key_file: &Path) -> String {
        let Self { frames, interval, misses, fence, placement, core, more, .. } = self;
        let core = if core.parse::<u16>().is_ok() { core.clone() } else { format!("{core:?}") };
        let mut text = format!(
            "[cluster]\nname = \"bed\"\nkey_file = \"{}\"\n\
             heartbeat_interval = \"{interval}\"\nheartbeat_misses = {misses}\n",
            key_file.display()
        );
        let links = 1..=self.shape.links;
        for link in links.clone() {
            let frames = if self.ethernet.contains(&link) { "ethernet" } else { frames };
            let _ = write!(
                text,
                "\n[[link]]\nname = \"{}\"\nmode = \"multicast\"\n\
                 group = \"239.255.77.{link}\"\nframes = {frames:?}\nport = {PORT_BEATS}\n",
                link_name(link)
            );
        }
        for node in (1..=self.shape.nodes).filter(|node| !self.left_out.contains(node)) {
            let list: Vec<_> = links
                .clone()
                .map(|link| format!("{:?}", address(node, link).to_string()))
                .collect();
            let _ = write!(
                text,
                "\n[[node]]\nid = {node}\nname = \"{}\"\naddresses = [{}]\n",
                node_name(node),
                list.join(", ")
            );
            if self.witnesses.contains(&node) {
                text.push_str("witness = true\n");
            }
        }
        let names = std::iter::once(SERVICE).chain(self.services.iter().map(String::as_str));
        for (number, name) in (0..).zip(names) {
            let address = floating(number);
            let _ = write!(
                text,
                "\n[[service]]\nname = \"{name}\"\nplacement = \"{placement}\"\n\
                 fence = \"{fence}\"\n\
                 [[service.resource]]\nkind = \"address\"\naddress = \"{address}/24\"\n"
            );
        }
        let _ = write!(text, "\n[local]\ncore = {core}\n{more}");
        text
    }
}

/// The name of a link.
#[must_use]
pub fn link_name(link: u8) -> String {
    ["red", "blue", "green", "grey"]
        .get(usize::from(link) - 1)
        .map_or_else(String::new, |it| (*it).into())
}

/// The files of one node.
#[derive(Clone, Debug)]
pub struct NodeFiles {
    /// `netguard.toml`.
    pub config: PathBuf,
    /// The run directory: map and socket.
    pub run_dir: PathBuf,
    /// The state directory: what outlives a power cut.
    pub state_dir: PathBuf,
}

impl NodeFiles {
    /// Where they are, in the folder of the run.
    #[must_use]
    pub fn of(run: &Path, node: u8) -> Self {
        let dir = run.join(node_name(node));
        Self {
            config: dir.join("netguard.toml"),
            run_dir: dir.join("run"),
            state_dir: dir.join("state"),
        }
    }

    /// Where a test puts other settings for a node that runs.
    #[must_use]
    pub fn rehearsal(&self) -> PathBuf {
        self.config.with_file_name("rehearsal.toml")
    }

    /// The shared map.
    #[must_use]
    pub fn map(&self) -> PathBuf {
        self.run_dir.join("map")
    }

    /// Writes the configuration and makes the folders.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn write(&self, text: &str) -> Result<()> {
        for dir in [&self.run_dir, &self.state_dir] {
            fs::create_dir_all(dir).context(dir.display().to_string())?;
        }
        fs::write(&self.config, text).context(self.config.display().to_string())
    }
}

/// Makes a key that only root can read.
///
/// # Errors
/// When the disk does not take it.
pub fn write_key(path: &Path) -> Result<()> {
    let text: String = (0..4).map(|_| format!("{:016x}", os::random())).collect();
    fs::write(path, text + "\n").context("key")?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).context("key")
}

#[cfg(test)]
mod tests {
    use super::Spec;
    use base::Duration;
    use std::path::Path;

    #[test]
    fn intervals_are_read_as_the_product_reads_them() {
        let deadline = |text: &str| Spec { interval: text.into(), ..Spec::default() }.deadline();
        assert_eq!(deadline("10ms"), Duration::from_millis(30));
        assert_eq!(deadline("1s"), Duration::from_millis(3_000));
        assert_eq!(deadline("soon"), Duration::ZERO);
    }

    #[test]
    fn the_file_names_every_node_with_an_address_per_link() {
        let text = Spec::default().text(Path::new("/k"));
        assert!(text.contains("name = \"n3\"\naddresses = [\"10.77.1.3\", \"10.77.2.3\"]"));
        assert!(text.contains("name = \"blue\"\nmode = \"multicast\"\ngroup = \"239.255.77.2\""));
        assert!(text.contains("core = \"none\""));
        assert!(
            Spec { core: "1".into(), ..Spec::default() }
                .text(Path::new("/k"))
                .contains("core = 1\n")
        );
    }
}
