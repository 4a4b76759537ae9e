//! `netguard.toml`: read, checked, and every fault told at once with its place and its remedy.
//!
//! [`load`] is what a daemon calls: file, checks, key. [`parse`] is the same without the file
//! system. What comes out are plain types; who needs the words of the cores maps them.
//!
//! Way through the crate: `table` reads values with their spans out of the parsed document, `read`
//! turns the sections into `raw` (values that remember where they stood), `check` looks at what
//! only shows between sections, `raw` becomes the [`Config`]. A fault never stops the reading, so
//! that one run shows them all.
//!
//! [`plan`] compares two documents: what would happen, what it costs, what is refused. [`add_node`] and its
//! neighbours change the text of one.
#![forbid(unsafe_code)]

mod check;
mod diagnostic;
mod edit;
mod hash;
mod key;
mod load;
mod model;
mod plan;
mod plan_services;
mod raw;
mod read;
mod suggest;
mod table;
mod value;

pub use diagnostic::{Diagnostic, Report, Severity};
pub use edit::{EditError, NewNode, add_node, remove_node, without_local};
pub use key::{Key, KeyFault, read_key};
pub use load::{Loaded, load, load_without_key, parse, read_text};
pub use model::{
    Cluster, Config, Core, Fence, Frames, GateSockets, Link, Local, Mode, NetworkIo, Node,
    Placement, Resource, Service, UnknownNode,
};
pub use plan::{Cost, Note, Plan, Situation, Step, plan};
pub use suggest::did_you_mean;
pub use value::format_duration;

/// Which key the key file holds, in every frame; another number will be the next key of a rotation.
pub const KEY_ID: u8 = 1;
/// Most links.
pub const LINKS_MAX: usize = 4;
/// Most nodes.
pub const NODES_MAX: usize = 128;
/// Most services.
pub const SERVICES_MAX: usize = 64;
/// Most resources of one service.
pub const RESOURCES_MAX: usize = 32;
/// Longest document that can be agreed on, in bytes: it is one entry of the log.
pub const DOCUMENT_MAX: usize = 64 << 10;
/// Longest name of anything, in bytes.
pub const NAME_MAX: usize = 63;
