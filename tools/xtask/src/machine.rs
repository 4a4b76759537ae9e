//! What a bare machine lacks is installed before it is missed: by root, or by the one line that is printed.

use crate::run::{cargo, command, has, is_root, run};
use anyhow::{Result, bail};

/// A program that some step needs, and the Debian package that has it.
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
}

/// The system tests and the demo: namespaces.
pub(crate) const BED: &[Need] = &[Need { program: "ip", package: "iproute2" }];
/// The lab: guests' tree, BMC, bridges.
pub(crate) const LAB: &[Need] = &[
    Need { program: "ip", package: "iproute2" },
    Need { program: "mmdebstrap", package: "mmdebstrap" },
    Need { program: "ipmi_sim", package: "openipmi" },
];
/// The failover bench and the soak: the peers beside ours.
pub(crate) const PEERS: &[Need] = &[
    Need { program: "ip", package: "iproute2" },
    Need { program: "keepalived", package: "keepalived" },
    Need { program: "corosync", package: "corosync" },
];

/// Those that only `bench peers` runs.
pub(crate) const MORE_PEERS: &[Need] = &[
    Need { program: "etcd", package: "etcd-server" },
    Need { program: "/usr/lib/frr/bfdd", package: "frr" },
];

/// Installs what is missing, or says the one line that does.
pub(crate) fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> =
        needs.iter().filter(|need| !has(need.program)).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_root() || !has("apt-get") {
        bail!(
            "this needs more packages: sudo apt-get install -y --no-install-recommends {packages}"
        );
    }
    run(command("apt-get", &["update", "-q"]))?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(missing);
    let mut apt = command("apt-get", &install);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run(apt)
}

/// cargo-deny, which cargo itself can build.
pub(crate) fn provide_deny() -> Result<()> {
    if cargo(&["deny", "--version"]).output().is_ok_and(|out| out.status.success()) {
        return Ok(());
    }
    run(cargo(&["install", "cargo-deny", "--locked", "--version", "0.20.2"]))
}
