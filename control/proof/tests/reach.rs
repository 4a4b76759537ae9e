//! A case that comes to nothing proves nothing: how many cases of the first seeds commit, lead, change their configuration.

use ng_proof::apply::{self, Reached};
use ng_proof::choices::{Choices, random};
use ng_proof::decoders::agreed;
use ng_proof::{inputs, target};

const SEEDS: u64 = 400;

/// What the cases of a target's first seeds come to.
fn cases<T>(name: &str, run: impl Fn(&[u8]) -> Result<T, String>) -> Vec<T> {
    let target = target::named(name).unwrap();
    (1..=SEEDS).map(|seed| run(&target.input(seed)).unwrap()).collect()
}

/// At least so many of a hundred cases.
fn at_least<T>(percent: usize, what: &str, cases: &[T], holds: impl Fn(&T) -> bool) {
    let count = cases.iter().filter(|case| holds(case)).count();
    println!("{what}: {count} of {}", cases.len());
    assert!(count * 100 >= percent * cases.len(), "{what}: only {count} of {}", cases.len());
}

#[test]
fn logs_are_applied_by_several_nodes_and_say_something() {
    let cases: Vec<Reached> = cases("apply", apply::run);
    at_least(80, "one position compared", &cases, |it| it.compared >= 1);
    at_least(20, "ten positions compared", &cases, |it| it.compared >= 10);
    at_least(30, "a configuration or a vote in force", &cases, |it| it.versions >= 1);
    at_least(5, "three of them", &cases, |it| it.versions >= 3);
    at_least(10, "evidence", &cases, |it| it.fenced >= 1);
    at_least(4, "a level that is not understood", &cases, |it| it.outdated);
}

#[test]
fn a_node_commits_leads_and_stores() {
    let cases = cases("inputs", inputs::run);
    at_least(18, "something is committed", &cases, |it| it.committed);
    at_least(6, "it commits in a term of its own", &cases, |it| it.led);
    at_least(30, "a charter is ordered to be stored", &cases, |it| it.charter);
    at_least(3, "a configuration or a vote in force", &cases, |it| it.reconfigured);
}

/// Snapshots as they are made, not changed: whoever installs one has the state of who made it.
#[test]
fn snapshots_are_installed_and_say_the_same() {
    let snapshot = target::named("snapshot").unwrap();
    let installs = |seed| {
        let bytes = random(&mut base::Prng::new(seed), 2_000);
        agreed::install(&(snapshot.sample)(&mut Choices::new(&bytes)))
    };
    let cases: Vec<Option<bool>> = (1..=SEEDS).map(installs).collect();
    at_least(35, "installed", &cases, Option::is_some);
    assert!(!cases.contains(&Some(false)), "installed, and the state is another");
}
