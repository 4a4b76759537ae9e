//! Why a link cannot be opened.

use std::io;
use std::net::SocketAddr;
use wire::LinkId;

/// Each names the link and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has the port.
    #[error(
        "link {link}: UDP port {} on {} is taken by another program; stop it \
         (ss -lunp shows it), or set another port in netguard.toml on all nodes",
        own.port(), own.ip()
    )]
    InUse {
        /// The link.
        link: LinkId,
        /// What was to be bound.
        own: SocketAddr,
    },
    /// The address is not this host's.
    #[error(
        "link {link}: no interface of this host has the address {}; \
         correct the node's address in netguard.toml, or bring the interface up first",
        own.ip()
    )]
    NotLocal {
        /// The link.
        link: LinkId,
        /// What was to be bound.
        own: SocketAddr,
    },
    /// The interface is gone.
    #[error(
        "link {link}: the interface of {} (index {interface}) is gone; bring it up first",
        own.ip()
    )]
    NoInterface {
        /// The link.
        link: LinkId,
        /// Its own address.
        own: SocketAddr,
        /// The interface's index.
        interface: u32,
    },
    /// A privilege is missing.
    #[error("link {link}: may not {doing}: {source}; start as root or with CAP_NET_RAW")]
    Forbidden {
        /// The link.
        link: LinkId,
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Addresses of both families, or a group that is none.
    #[error(
        "link {link}: {field} does not fit the other addresses of the link; correct netguard.toml"
    )]
    Mismatch {
        /// The link.
        link: LinkId,
        /// Which setting.
        field: &'static str,
    },
    /// Its interface is no Ethernet: there are no frames of our own.
    #[error(
        "link {link}: {interface} is no Ethernet interface; set frames = \"udp\" for this link in netguard.toml, on all nodes"
    )]
    NotEthernet {
        /// The link.
        link: LinkId,
        /// Its interface.
        interface: String,
    },
    /// The longest frame does not fit the interface.
    #[error(
        "link {link}: frames of {needed} bytes do not fit {interface}, whose MTU is {mtu}; \
         raise it (ip link set {interface} mtu 1500), or set frames = \"udp\" for this link in netguard.toml, on all nodes"
    )]
    SmallMtu {
        /// The link.
        link: LinkId,
        /// Its interface.
        interface: String,
        /// Its MTU.
        mtu: usize,
        /// What the longest frame needs of it.
        needed: usize,
    },
    /// Anything else the system says.
    #[error("link {link}: cannot {doing}: {source}")]
    System {
        /// The link.
        link: LinkId,
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}
