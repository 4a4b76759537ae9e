//! `netguard-lab`: the lab for a person (`cargo xtask lab`), and the programs that the lab itself is made of.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use lab::host::{self, Folders};
use lab::message::Ended;
use lab::{Lab, Spec, image};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use testbed::os;

mod chassis;
mod terminal;

#[derive(Parser)]
#[command(name = "netguard-lab", about = "Real kernels, disks and power on one machine", version)]
struct Arguments {
    /// Which lab; labs of different names run side by side.
    #[arg(long, default_value = "main", global = true)]
    lab: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots two storage nodes `a` and `b`, a witness `w` and a client `c`.
    Up {
        /// Where the guests' tree of packages is kept, and the logs.
        #[arg(long)]
        cache: PathBuf,
        /// Stay, and end the lab with this process.
        #[arg(long)]
        hold: bool,
    },
    /// Ends it.
    Down,
    /// Shows the nodes.
    Status,
    /// Runs a command in a node: `run a -- cat /proc/drbd`.
    Run {
        /// Where.
        node: String,
        /// What.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// A shell in a node; it ends with `exit`.
    Shell {
        /// Where.
        node: String,
    },
    /// Works a node's power switch.
    Power {
        /// Of which node.
        node: String,
        /// How.
        #[arg(value_enum)]
        to: To,
        /// What its disks forget when the power goes.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Plugs a node's cable in or out.
    Link {
        /// Which node.
        node: String,
        /// `service` or `storage`.
        bridge: String,
        /// In or out.
        #[arg(value_enum)]
        to: Cable,
    },
    /// Shows what a disk was asked so far.
    Disk {
        /// Which disk: `a-0`.
        disk: String,
    },
    /// Makes a disk behave badly, in JSON as the block server reads it, or `none`.
    Fault {
        /// Which disk: `a-0`.
        disk: String,
        /// How.
        fault: String,
    },
    /// Makes the guests' tree of packages, if it is not there.
    Image {
        /// Where it is kept.
        #[arg(long)]
        cache: PathBuf,
    },
    /// (the lab's outer process)
    #[command(hide = true)]
    Serve {
        /// The lab's folder.
        root: PathBuf,
    },
    /// (the lab's supervisor)
    #[command(hide = true)]
    Supervise {
        /// The lab's folder.
        root: PathBuf,
    },
    /// (what a BMC calls)
    #[command(hide = true)]
    Chassis(chassis::Arguments),
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum To {
    On,
    Off,
    Cycle,
    State,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Cable {
    In,
    Out,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("netguard-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let name = arguments.lab.as_str();
    match arguments.command {
        Command::Up { cache, hold } => up(name, &cache, hold)?,
        Command::Down => Lab::attach(name)?.down()?,
        Command::Status => status(&Lab::attach(name)?)?,
        Command::Run { node, argv } => return run_in(&Lab::attach(name)?, &node, &argv),
        Command::Shell { node } => return terminal::shell(&Lab::attach(name)?, &node),
        Command::Power { node, to, seed } => power(&Lab::attach(name)?, &node, to, seed)?,
        Command::Link { node, bridge, to } => {
            Lab::attach(name)?.node(&node).link(&bridge, to == Cable::In)?;
        }
        Command::Disk { disk } => println!("{:#?}", Lab::attach(name)?.disk(&disk)?),
        Command::Fault { disk, fault } => {
            let fault = match fault.as_str() {
                "none" => None,
                text => Some(serde_json::from_str(text).context("the fault, in JSON")?),
            };
            Lab::attach(name)?.set_fault(&disk, fault)?;
        }
        Command::Image { cache } => println!("{}", image::provide(&cache)?.display()),
        Command::Serve { root } => host::serve(&Folders { root })?,
        Command::Supervise { root } => host::supervise(&Folders { root })?,
        Command::Chassis(arguments) => chassis::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &str, cache: &Path, hold: bool) -> Result<()> {
    os::catch_interrupts();
    let image = image::provide(cache)?;
    let programs = std::env::current_exe().context("own path")?;
    let programs = programs.parent().context("own folder")?.to_owned();
    let lab = Lab::start(&Spec::pair(name, image, programs, cache.join("log").join(name)))?;
    if os::interrupted() {
        bail!("interrupted");
    }
    status(&lab)?;
    if hold {
        while !os::interrupted() {
            os::sleep(base::Duration::from_millis(50));
        }
        return Ok(lab.down()?);
    }
    lab.detach()?;
    println!("\nshell a · run a -- COMMAND · power a off · link a storage out · down");
    Ok(())
}

fn status(lab: &Lab) -> Result<()> {
    println!("{:<5} {:<6} {:>5} {:>24}", "node", "power", "boots", "clock offset ± error");
    for node in lab.nodes()? {
        let clock = node.clock.map_or_else(String::new, |it| {
            format!("{:.3} s ± {:.3} ms", it.offset as f64 / 1e9, it.error as f64 / 1e6)
        });
        let power = if node.on { "on" } else { "off" };
        println!("{:<5} {power:<6} {:>5} {clock:>24}", node.name, node.boots);
    }
    println!("logs: {}", lab.spec().logs.display());
    Ok(())
}

fn run_in(lab: &Lab, node: &str, argv: &[String]) -> Result<ExitCode> {
    os::catch_interrupts();
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut running = lab.node(node).spawn(&words)?;
    running.end_input()?;
    while running.is_running() && !os::interrupted() {
        print(running.next_piece(Duration::from_millis(100)).as_deref())?;
    }
    print(running.next_piece(Duration::ZERO).as_deref())?;
    if os::interrupted() {
        bail!("interrupted; the command was killed");
    }
    let output = running.wait(Duration::from_secs(1))?;
    eprint!("{}", output.stderr);
    match output.ended {
        Ended::Code(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        other => bail!("it ended by {other}"),
    }
}

fn print(piece: Option<&[u8]>) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(piece.unwrap_or_default()).and_then(|()| out.flush()).context("output")
}

fn power(lab: &Lab, node: &str, to: To, seed: Option<u64>) -> Result<()> {
    let node = lab.node(node);
    if matches!(to, To::Off | To::Cycle) {
        let cut = node.power_off(seed.unwrap_or_else(os::random))?;
        for (disk, report) in cut.disks {
            println!("{disk}: {report:?}");
        }
    }
    match to {
        To::On | To::Cycle => node.power_on()?,
        To::State => println!("{}", if node.is_on()? { "on" } else { "off" }),
        To::Off => {}
    }
    Ok(())
}
