//! Explores the scenarios and prints what was visited.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use ng_model::explore::Limits;
use ng_model::scenario::{self, Scenario};
use ng_model::state::{Budget, Roles};
use std::time::Duration;
use wire::{NodeId, NodeSet};

/// Every schedule within bounds, on the agreement and the heartbeat themselves.
#[derive(Parser)]
#[command(name = "ng-model", version)]
struct Arguments {
    /// Only these scenarios.
    scenarios: Vec<String>,
    /// The larger bounds, which take minutes each.
    #[arg(long)]
    large: bool,
    /// Threads. With one, a counterexample is a shortest one.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Ends each scenario after so many seconds, complete or not.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Ends each scenario after so many generated states, complete or not.
    #[arg(long, default_value_t = 200_000_000)]
    states: usize,
    /// Other bounds: `ticks=3 beats=2 …` replace those parts.
    #[arg(long, value_delimiter = ',')]
    budget: Vec<String>,
    /// Sorts of messages that are always lost, instead of the scenario's.
    #[arg(long, value_delimiter = ',')]
    lose: Option<Vec<String>>,
    /// Whom faults may happen to, instead of the scenario's: `beats=2+3,removals=3`.
    #[arg(long, value_delimiter = ',')]
    may: Option<Vec<String>>,
    /// Terms after the first within an era, instead of the scenario's.
    #[arg(long)]
    terms: Option<u32>,
    /// Rules that are switched off (needs the feature `mutations`).
    #[arg(long)]
    without: Vec<String>,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("\nng-model: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.without.is_empty() && !cfg!(feature = "mutations") {
        bail!("built without the feature `mutations`: no rule can be switched off");
    }
    let named =
        |name: &String| Scenario::named(name).with_context(|| format!("no scenario {name}"));
    let chosen: Vec<Scenario> = if arguments.scenarios.is_empty() {
        scenario::all()
    } else {
        arguments.scenarios.iter().map(named).collect::<Result<_>>()?
    };
    let mut bad = 0;
    for scenario in chosen {
        bad += usize::from(!explore(&scenario, arguments)?);
    }
    if bad > 0 {
        bail!("{bad} of the explorations are not clean and complete");
    }
    Ok(())
}

fn explore(scenario: &Scenario, arguments: &Arguments) -> Result<bool> {
    let mut budget = if arguments.large { scenario.large } else { scenario.quick };
    change(&mut budget, &arguments.budget)?;
    // Some bytes a run.
    let off: Vec<&'static str> =
        arguments.without.iter().map(|rule| &*rule.clone().leak()).collect();
    println!("{}: {}\n  bounds {budget}", scenario.name, scenario.about);
    let limits = Limits {
        threads: arguments.threads,
        states: arguments.states,
        time: Duration::from_secs(arguments.seconds),
    };
    let mut scenario = scenario.clone();
    if let Some(lost) = &arguments.lose {
        scenario.shape.lost = lost.iter().map(|name| &*name.clone().leak()).collect();
    }
    if let Some(roles) = &arguments.may {
        scenario.shape.roles =
            Roles(roles.iter().map(|role| parse_role(role)).collect::<Result<_>>()?);
    }
    if let Some(terms) = arguments.terms {
        scenario.shape.terms = terms;
    }
    let outcome = scenario.exploration(budget, &off).run(&limits);
    println!(
        "  {} states, {} generated, depth {}, {:.1} s, {}",
        outcome.unique,
        outcome.generated,
        outcome.depth,
        outcome.took.as_secs_f64(),
        if outcome.complete { "complete" } else { "not complete" }
    );
    let [fasts, controls, boards, packets, pasts] = outcome.cores;
    println!(
        "  {fasts} fast, {controls} control, {boards} boards, {packets} frames, {pasts} pasts"
    );
    for name in &outcome.unseen {
        println!("  not seen: {name}");
    }
    if let Some((rule, path)) = &outcome.broken {
        println!("  BROKEN: {rule}");
        path.iter().for_each(|line| println!("  {line}"));
    }
    Ok(outcome.is_clean())
}

/// `beats=2+3`.
fn parse_role(text: &str) -> Result<(&'static str, NodeSet)> {
    let (part, nodes) = text.split_once('=').with_context(|| format!("{text}: part=1+2"))?;
    let node =
        |n: &str| n.parse().ok().and_then(NodeId::new).with_context(|| format!("{n}: no node"));
    Ok((part.to_owned().leak(), nodes.split('+').map(node).collect::<Result<_>>()?))
}

fn change(budget: &mut Budget, changes: &[String]) -> Result<()> {
    for change in changes {
        let (name, count) =
            change.split_once('=').with_context(|| format!("{change}: name=count"))?;
        let part = budget.part(name).with_context(|| format!("no bound is called {name}"))?;
        *part = count.parse().with_context(|| format!("{change}: no count"))?;
    }
    Ok(())
}
