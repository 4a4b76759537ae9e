//! One file per command; each makes the object that `-o json` prints, and a text from it.

mod bench;
mod change;
mod cluster;
mod config;
mod doctor;
mod failovers;
mod key;
mod links;
mod members;
mod orders;
#[cfg(test)]
mod samples;
mod stat;
mod status;
mod watch;
mod why;

use crate::args::{
    Applying, Args, BenchCommand, ClusterCommand, Command, ConfigCommand, FenceCommand, KeyCommand,
    NodeCommand, ServiceCommand,
};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use change::Source;
use netguard::Client;
use std::time::Duration;

type Done = Result<Exit, Failure>;

/// Does what the command line says.
pub(crate) fn run(args: &Args, output: &Output) -> Done {
    match &args.command {
        Command::Status => status::run(&mut connect(args)?, output),
        Command::Members => members::run(&mut connect(args)?, output),
        Command::Failovers { limit } => failovers::run(&mut connect(args)?, *limit, output),
        Command::Service(ServiceCommand::Move { service, node, wait }) => {
            let watch = if *wait { Some(connect(args)?.watch()?) } else { None };
            orders::move_service(&mut connect(args)?, service, node, watch, output)
        }
        Command::Why { service } => why::run(&mut connect(args)?, service.as_deref(), output),
        Command::Fence(FenceCommand::Confirm { node, yes }) => {
            orders::may_confirm(node, *yes, output)?;
            orders::confirm_off(&mut connect(args)?, node, output)
        }
        Command::Doctor { config, node, listen } => {
            let order = doctor::Order {
                config,
                node: node.as_deref(),
                listen_s: *listen,
                run_dir: &args.run_dir,
            };
            doctor::run(connect(args).map_err(|failure| failure.message), &order, output)
        }
        Command::Watch => watch::run(connect(args)?, output),
        Command::Config(ConfigCommand::Check { file, node, skip_key }) => {
            config::check(file, node.as_deref(), *skip_key, output)
        }
        Command::Config(ConfigCommand::Show { plain }) => {
            config::show(&mut connect(args)?, *plain, output)
        }
        Command::Config(ConfigCommand::Diff { file }) => {
            change::diff(&mut connect(args)?, file, output)
        }
        Command::Config(ConfigCommand::Apply { file, how }) => {
            apply(args, &Source::File(file), *how, output)
        }
        Command::Node(NodeCommand::Add { name, id, addresses, witness, no_vote, how }) => {
            let new =
                ::config::NewNode { name, id: *id, addresses, witness: *witness, vote: !*no_vote };
            apply(args, &Source::Add(new), *how, output)
        }
        Command::Node(NodeCommand::Remove { name, how }) => {
            apply(args, &Source::Remove(name), *how, output)
        }
        Command::Cluster(ClusterCommand::Override { absent, yes }) => {
            cluster::may_override(absent, *yes, output)?;
            cluster::override_absent(&mut connect(args)?, absent, output)
        }
        Command::Cluster(ClusterCommand::Upgrade) => cluster::upgrade(&mut connect(args)?, output),
        Command::Links => {
            let status = connect(args).and_then(|mut client| Ok(client.status()?));
            links::run(&args.run_dir, status.ok().as_ref(), output)
        }
        Command::Stat { all, trace } => stat::run(&args.run_dir, *all, *trace, output),
        Command::Bench(BenchCommand::Latency { seconds, slices, out }) => {
            let status = connect(args)?.status()?;
            let order = bench::latency::Order { slice_s: *seconds, slices: *slices, out };
            bench::latency::run(&args.run_dir, &status, &order, output)
        }
        Command::Bench(BenchCommand::Agree { count, out }) => {
            bench::agree::run(&mut connect(args)?, &args.run_dir, (*count, out), output)
        }
        Command::Bench(BenchCommand::Failover {
            service,
            cut,
            restore,
            trials,
            yes_cut_power,
            out,
        }) => {
            bench::failover::may_cut(service, *trials, restore.is_some(), *yes_cut_power)?;
            let (cut, restore, trials) = (cut.as_str(), restore.as_deref(), *trials);
            let order = bench::failover::Order { service, cut, restore, trials, out };
            bench::failover::run(&mut connect(args)?, &order, output)
        }
        Command::Key(KeyCommand::New { file }) => key::new(file, output),
    }
}

fn apply(args: &Args, source: &Source<'_>, how: Applying, output: &Output) -> Done {
    let how = change::How { yes: how.yes, wait: Duration::from_secs(how.wait) };
    let watch = || Ok(connect(args)?.watch()?);
    change::apply(&mut connect(args)?, watch, source, how, output)
}

fn connect(args: &Args) -> Result<Client, Failure> {
    let mut client = match &args.socket {
        Some(path) => Client::connect(path)?,
        None => Client::connect_in(&args.run_dir)?,
    };
    client.set_timeout(Duration::from_secs(args.timeout));
    Ok(client)
}
