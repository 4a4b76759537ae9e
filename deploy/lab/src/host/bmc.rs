//! A node's BMC: `ipmi_sim` of the package openipmi, speaking IPMI over LAN, whose power switch is
//! the lab's.

use super::Folders;
use crate::error::{Context, LabError, Result};
use crate::spec::{BMC_PASSWORD, BMC_USER, NodeSpec};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// One BMC; it has power as long as the lab runs.
#[derive(Debug)]
pub(crate) struct Bmc {
    started: std::result::Result<Child, String>,
}

impl Bmc {
    /// Starts it. Why it could not start is told by [`Bmc::check`].
    pub(crate) fn start(folders: &Folders, logs: &Path, node: &NodeSpec) -> Self {
        Self { started: start(folders, logs, node).map_err(|error| error.to_string()) }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match &self.started {
            Ok(_) => Ok(()),
            Err(why) => Err(LabError::Missing(format!("BMC: {why}"))),
        }
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        if let Ok(child) = &mut self.started {
            // It may have ended already; then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(folders: &Folders, logs: &Path, node: &NodeSpec) -> Result<Child> {
    let folder = folders.root.join("bmc").join(&node.name);
    fs::create_dir_all(folder.join("state")).context(folder.display().to_string())?;
    let program = std::env::current_exe().context("this program's own path")?;
    write(&folder.join("lan.conf"), &lan(node, &program, &folders.root))?;
    write(&folder.join("node.emu"), EMULATION)?;
    let log = logs.join(format!("{}-bmc.log", node.name));
    let log = File::create(&log).context(log.display().to_string())?;
    let errors = log.try_clone().context("log of the BMC")?;
    Command::new("ipmi_sim")
        .args(["-n", "-c", "lan.conf", "-f", "node.emu", "-s", "state"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .context("`ipmi_sim` (package openipmi)")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).context(path.display().to_string())
}

/// The LAN side, one statement a line; the program gets `get power`, `set power 0|1`, `set reset 1`.
fn lan(node: &NodeSpec, program: &Path, root: &Path) -> String {
    let lab = root.file_name().unwrap_or_default().to_string_lossy();
    let kinds = "none md2 md5 straight";
    let rights = ["callback", "user", "operator", "admin"]
        .map(|level| format!("  allowed_auths_{level} {kinds}\n"))
        .concat();
    format!(
        "name \"bmc-{name}\"\nset_working_mc 0x20\nstartlan 1\n  addr {address} 623\n  priv_limit admin\n{rights}  \
         guid {id:032x}\nendlan\nchassis_control \"{program} chassis {lab} {name}\"\n\
         user 2 true \"{BMC_USER}\" \"{BMC_PASSWORD}\" admin 10 {kinds}\n",
        name = node.name,
        address = node.bmc_address(),
        id = node.id,
        program = program.display(),
    )
}

/// A controller without sensors: the lab needs its chassis only.
const EMULATION: &str = "mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";
