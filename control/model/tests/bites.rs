//! Rules that are switched off one by one: the exploration must find where it leads, or that it is complete proves
//! nothing. And rules that something else doubles: off, and still nothing is found in everything that can happen within
//! the bounds. (A random search can only say that it found nothing.) What the model does not reach is named with where
//! it is found; a rule that nobody accounts for fails the last test.
#![cfg(feature = "mutations")]

use ng_model::explore::{Limits, Outcome};
use ng_model::scenario::Scenario;
use ng_model::state::{Budget, Roles};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use wire::{NodeId, NodeSet};

const LEASE: &str = "I4 lease in view";

/// One thread, so that what is found is a shortest schedule.
const LIMITS: Limits = Limits { threads: 1, states: 20_000_000, time: Duration::from_secs(1_200) };

/// Rules that the quick bounds of a scenario miss: rule, scenario, what breaks.
const FOUND: &[(&str, &str, &str)] = &[
    // R-ACK, R-SELF.
    ("own-deadline", "removal", LEASE),
    ("freeze-echo", "removal", LEASE),
    ("self-remove", "removal", LEASE),
    ("margin", "clocks", LEASE),
    // Whose votes count, and how many it takes.
    ("incarnation-vote", "restart", "I2 survival"),
    ("admit-by-old-roster", "admission", "I10 quorum"),
    ("commit-majority", "restart", "I10 quorum"),
    ("promise-majority", "primary", "I8 voter life"),
    // A change of primary while other votes are agreed.
    ("own-term-commit", "overtaken", "I2 survival"),
    ("promise-binds", "overtaken", "I7 one promise"),
    // R-FENCE.
    ("evidence", "pair", "R-FENCE evidence is true"),
    ("evidence-life", "evidence-again", "R-FENCE evidence is true"),
    ("evidence-member", "evidence-fresh", "I1 agreement"),
    // Cold starts.
    ("cold-majority", "cold", "I10 quorum"),
    ("cold-wait", "bystander", "I9 one era"),
    // Votes that change.
    ("barrier", "taken", LEASE),
    ("lease-conf", "taken", LEASE),
    ("conf-durable", "exchange", "R-CONF-DURABLE latest votes"),
    ("cold-version", "exchange", "R-CONF-DURABLE latest votes"),
];

/// Rules that something else doubles, each with the scenario in which it would be missed:
///
/// * `fence-deadline`: evidence is about a life that has ended, and its lease with it.
/// * `obit-stint`: an obituary is the last word of its life; no later stint of that life has a lease.
/// * `join-removed-at`, `beat-stint`: one does what the other does (R-JOIN, R-STINT); both off is found below.
/// * `life-frame`: what an ended life said counts nowhere, because its slot has another life.
/// * `vote-before-log`: a vote given to who has no log yet, or taken while too few live, costs progress and nothing else:
///   each vote is committed by the electorate before it.
const DOUBLED: &[(&str, &str)] = &[
    ("fence-deadline", "pair"),
    ("obit-stint", "restart"),
    ("join-removed-at", "again"),
    ("beat-stint", "again"),
    ("life-frame", "restart"),
    ("vote-before-log", "taken"),
];

/// Rules with a test of their own below.
const BELOW: &[&str] = &["primary-ack", "old-leases"];

/// Rules that no schedule within small bounds misses, with where they are found.
const ELSEWHERE: &[(&str, &[&str])] = &[
    (
        "control/agreement/tests/cluster",
        &["promise-roster", "era-twice", "fresh-by-commit", "cold-binds"],
    ),
    ("control/sim/scenarios", &["learner-echo", "select-term", "afresh", "pair-store"]),
    (
        "control/sim/tests/mutations.rs",
        &["cold-voters", "echo-voter", "obit-reflex", "declared-seal", "declared-deadline"],
    ),
    // A lease by an echo that another stint earned: R-JOIN and R-STINT leave no such echo (PROTOCOL 11, R-BOTH).
    ("nowhere: doubled", &["lease-stint"]),
    // No exploration has a log so long that it is cut.
    (
        "control/agreement/tests/cluster/snapshots.rs",
        &["install-era", "install-older", "install-tail"],
    ),
];

fn scenario(name: &str) -> Scenario {
    Scenario::named(name).unwrap()
}

fn without(scenario: &Scenario, budget: Budget, rules: &[&'static str]) -> Outcome {
    let outcome = scenario.exploration(budget, rules).run(&LIMITS);
    let (states, took) = (outcome.unique, outcome.took.as_secs_f64());
    println!("{} without {rules:?}: {states} states, {took:.1} s", scenario.name);
    outcome
}

fn must_find(scenario: &Scenario, budget: Budget, rules: &[&'static str], broken: &str) {
    let outcome = without(scenario, budget, rules);
    let (found, path) = outcome.broken.unwrap_or_else(|| panic!("{rules:?}: nothing found"));
    path.iter().for_each(|line| println!("{line}"));
    assert_eq!(found, broken, "{rules:?}");
}

fn nodes(nodes: &[u8]) -> NodeSet {
    nodes.iter().filter_map(|n| NodeId::new(*n)).collect()
}

#[test]
fn a_rule_that_is_off_is_missed() {
    for (rule, name, broken) in FOUND {
        let scenario = scenario(name);
        must_find(&scenario, scenario.quick, &[rule], broken);
    }
}

#[test]
fn a_rule_that_is_doubled_is_not_missed_alone() {
    for (rule, name) in DOUBLED {
        let scenario = scenario(name);
        let outcome = without(&scenario, scenario.quick, &[rule]);
        assert!(outcome.is_clean(), "{rule}: {outcome:?}");
    }
}

/// The primary must have heard the member itself.
#[test]
fn a_primary_that_does_not_wait_for_its_own_deadline_is_found() {
    let mut removal = scenario("removal");
    removal.shape.roles = Roles(vec![("removals", nodes(&[3])), ("beats", nodes(&[1, 3]))]);
    must_find(&removal, removal.quick, &["primary-ack"], LEASE);
}

#[test]
fn a_join_of_an_earlier_stint_is_found_where_neither_rule_refuses_it() {
    let again = scenario("again");
    must_find(&again, again.quick, &["join-removed-at", "beat-stint"], LEASE);
}

/// A lease that was renewed just before its holder learned of the first vote is still held when the second is in force.
#[test]
fn a_vote_that_does_not_wait_for_old_leases_is_found() {
    let mut taken = scenario("taken");
    taken.shape.stride = 1;
    let budget = Budget { ticks: 2, turns: 0, ..taken.quick };
    must_find(&taken, budget, &["old-leases"], LEASE);
}

/// The rules that the cores can switch off are those that are accounted for here.
#[test]
fn no_rule_is_forgotten() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for source in ["../agreement/src", "../../fastpath/heartbeat/src"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|it| it == "rs") {
                let text = std::fs::read_to_string(file).unwrap();
                let rules = text.split("off(\"").skip(1).filter_map(|rest| rest.split('"').next());
                known.extend(rules.map(ToString::to_string));
            }
        }
    }
    let found = FOUND.iter().map(|(rule, ..)| *rule).chain(DOUBLED.iter().map(|(rule, _)| *rule));
    let elsewhere = ELSEWHERE.iter().flat_map(|(_, rules)| *rules).copied();
    let told: BTreeSet<String> =
        found.chain(BELOW.iter().copied()).chain(elsewhere).map(ToString::to_string).collect();
    assert_eq!(known, told);
}
