//! What a BMC's chassis calls: `chassis SOCKET NODE get power | set power 0|1 | set reset 1`.

use anyhow::{Result, bail};
use lab::Lab;
use testbed::os;

/// What `ipmi_sim` hands over.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The lab's name.
    lab: String,
    /// Which node's chassis.
    node: String,
    /// `get power`, `set power 0`, `set power 1`, `set reset 1` …
    words: Vec<String>,
}

/// Does it, and answers as `ipmi_sim` expects: `power:1`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let lab = Lab::attach(&arguments.lab)?;
    let node = lab.node(&arguments.node);
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["get", "power"] => println!("power:{}", i32::from(node.is_on()?)),
        ["get", other, ..] => println!("{other}:0"),
        ["set", "power", "0", ..] => drop(node.power_off(os::random())?),
        ["set", "power", "1", ..] => node.power_on_at_once()?,
        ["set", "reset", ..] => {
            node.power_off(os::random())?;
            node.power_on_at_once()?;
        }
        // Boot order, identify light: a chassis of the lab has none.
        ["set", ..] => {}
        _ => bail!("`{}` is no request of a chassis", words.join(" ")),
    }
    Ok(())
}
