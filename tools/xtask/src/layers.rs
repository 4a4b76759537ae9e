//! Who may import whom, held against `cargo metadata`. The same table, with reasons, is in ARCHITECTURE.md.

use crate::run::{cargo, output, root};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// What kind of crate it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Pure: no I/O, no clock, no unsafe.
    Core,
    /// I/O without policy.
    Edge,
    /// A program.
    Program,
}
use Kind::{Core, Edge, Program};

/// Folder, kind, and the workspace crates that it may import (by folder).
const TABLE: &[(&str, Kind, &[&str])] = &[
    ("fastpath/base", Core, &[]),
    ("fastpath/wire", Core, &["fastpath/base"]),
    ("fastpath/heartbeat", Core, &["fastpath/base", "fastpath/wire"]),
    ("fastpath/shm", Edge, &["fastpath/base", "fastpath/wire", "fastpath/heartbeat"]),
    ("fastpath/link", Edge, &["fastpath/base", "fastpath/wire"]),
    ("fastpath/netguard-fast", Program, FASTPATH),
    ("control/agreement", Core, &["fastpath/base", "fastpath/wire"]),
    ("control/membership", Core, &["fastpath/wire"]),
    ("control/driver", Core, &["fastpath/base", "fastpath/wire"]),
    (
        "control/services",
        Core,
        &["fastpath/base", "fastpath/wire", "control/membership", "control/driver"],
    ),
    ("control/node", Core, CORES),
    ("control/config", Edge, &[]),
    ("control/api", Edge, &[]),
    ("control/client", Edge, &["control/api"]),
    ("control/drivers/address", Edge, &["fastpath/base", "fastpath/wire", "control/driver"]),
    ("control/drivers/command", Edge, &["fastpath/base", "fastpath/wire", "control/driver"]),
    ("control/netguard-control", Program, CONTROL),
    // It rehearses the gate and the address driver and opens frames, all beside the daemons.
    (
        "control/doctor",
        Edge,
        &[
            "fastpath/base",
            "fastpath/wire",
            "fastpath/gate",
            "control/config",
            "control/api",
            "control/drivers/address",
        ],
    ),
    ("control/sim", Program, CORES),
    // It feeds every decoder, those of the edges too.
    ("control/proof", Program, PROOF),
    // The model's actors are the two cores that safety rests on, and nothing above them.
    (
        "control/model",
        Program,
        &["fastpath/base", "fastpath/wire", "fastpath/heartbeat", "control/agreement"],
    ),
    (
        "tools/ng",
        Program,
        &[
            "bench/harness",
            "control/api",
            "control/client",
            "control/config",
            "control/doctor",
            "fastpath/shm",
            "fastpath/heartbeat",
            "fastpath/base",
            "fastpath/wire",
        ],
    ),
    ("tools/xtask", Program, &[]),
    ("bench/harness", Edge, &["fastpath/base"]),
    (
        "bench/testbed",
        Edge,
        &[
            "bench/harness",
            "fastpath/base",
            "fastpath/wire",
            "fastpath/shm",
            "fastpath/heartbeat",
            "fastpath/gate",
            "control/api",
            "control/client",
        ],
    ),
    (
        "bench/failover",
        Program,
        &["bench/testbed", "fastpath/base", "control/api", "control/client"],
    ),
    ("bench/agree", Program, &["bench/testbed", "fastpath/base", "control/api", "control/client"]),
    ("bench/peers", Program, &["bench/testbed", "fastpath/base"]),
    // It listens on the wire, and speaks for nodes that are not there.
    (
        "bench/beat",
        Program,
        &["bench/testbed", "fastpath/base", "fastpath/wire", "fastpath/link", "control/config"],
    ),
    // It runs the cores over real sockets, all nodes in one process.
    (
        "bench/members",
        Program,
        &[
            "bench/testbed",
            "fastpath/base",
            "fastpath/wire",
            "fastpath/heartbeat",
            "fastpath/link",
            "control/agreement",
            "control/membership",
            "control/node",
        ],
    ),
    ("fastpath/gate", Edge, &["fastpath/base"]),
    ("drbd-glue", Edge, &["fastpath/base", "control/driver"]),
    ("deploy/disk", Edge, &["fastpath/base"]),
    ("deploy/lab", Edge, &["deploy/disk", "bench/testbed", "fastpath/base"]),
    (
        "deploy/proofs",
        Program,
        &[
            "deploy/disk",
            "deploy/lab",
            "bench/testbed",
            "drbd-glue",
            "fastpath/gate",
            "fastpath/base",
            "fastpath/wire",
            "control/driver",
            "control/drivers/address",
            "control/api",
            "control/client",
        ],
    ),
];

const FASTPATH: &[&str] = &[
    "fastpath/base",
    "fastpath/wire",
    "fastpath/heartbeat",
    "fastpath/shm",
    "fastpath/link",
    "fastpath/gate",
];

/// The control daemon performs what the cores decide: it knows every core, the map, the links and the drivers.
const CONTROL: &[&str] = &[
    "fastpath/base",
    "fastpath/wire",
    "fastpath/heartbeat",
    "fastpath/shm",
    "fastpath/link",
    "fastpath/gate",
    "control/agreement",
    "control/membership",
    "control/driver",
    "control/services",
    "control/node",
    "control/config",
    "control/api",
    "control/drivers/address",
    "control/drivers/command",
];

/// The node routes between all other cores; the simulator runs the cores and nothing else.
const CORES: &[&str] = &[
    "fastpath/base",
    "fastpath/wire",
    "fastpath/heartbeat",
    "control/agreement",
    "control/membership",
    "control/driver",
    "control/services",
    "control/node",
];

/// What takes bytes or entries from outside.
const PROOF: &[&str] = &[
    "fastpath/base",
    "fastpath/wire",
    "fastpath/heartbeat",
    "fastpath/shm",
    "control/agreement",
    "control/membership",
    "control/driver",
    "control/services",
    "control/node",
    "control/config",
    "control/api",
];

/// Outside crates that a core may use: they do no I/O.
const PURE: &[&str] = &["blake3", "bytemuck", "thiserror"];

/// Compares the table with what cargo says.
pub(crate) fn check() -> Result<()> {
    let list = ["metadata", "--format-version", "1", "--no-deps", "--locked"];
    let metadata: serde_json::Value =
        serde_json::from_str(&output(cargo(&list))?).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let mut complaints = vec![];
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let folder = folder(package["manifest_path"].as_str().unwrap_or_default());
        let Some((_, kind, may)) = TABLE.iter().find(|row| row.0 == folder) else {
            complaints.push(format!("{name} ({folder}) is not in the import table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let wants = dependency["name"].as_str().unwrap_or_default();
            match dependency["path"].as_str() {
                Some(path) => {
                    let to = relative(path);
                    if !may.contains(&to.as_str()) {
                        complaints.push(format!("{folder} may not import {to}"));
                    }
                }
                None if *kind == Core && !PURE.contains(&wants) => {
                    complaints.push(format!("{folder} is a core and may not use {wants}"));
                }
                None => {}
            }
        }
        if *kind == Core {
            complaints.extend(core_is_pure(&folder)?);
        }
    }
    if complaints.is_empty() {
        return Ok(());
    }
    bail!(
        "the import table (tools/xtask/src/layers.rs, ARCHITECTURE.md) is not kept:\n  {}",
        complaints.join("\n  ")
    )
}

/// A core proves to the compiler that it has no I/O and no unsafe.
fn core_is_pure(folder: &str) -> Result<Vec<String>> {
    let path = root().join(folder).join("src/lib.rs");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let wanted = ["#![cfg_attr(not(test), no_std)]", "#![forbid(unsafe_code)]"];
    let missing = wanted.iter().filter(|line| !text.contains(**line));
    Ok(missing.map(|line| format!("{folder}/src/lib.rs is a core and lacks {line}")).collect())
}

fn folder(manifest: &str) -> String {
    Path::new(manifest).parent().map(|p| relative(&p.display().to_string())).unwrap_or_default()
}

fn relative(path: &str) -> String {
    let root = root();
    Path::new(path).strip_prefix(&root).map_or_else(|_| path.into(), |p| p.display().to_string())
}
