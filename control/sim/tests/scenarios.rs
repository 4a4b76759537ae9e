//! Every written schedule, each with three seeds; and again without the rules that it names.

use ng_sim::scenario::{Scenario, play};
use std::path::Path;

/// The schedules, by name.
fn schedules() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "{} schedules", paths.len());
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let scenario = Scenario::parse(&text).unwrap_or_else(|m| panic!("{name}: {m}"));
        (name, scenario)
    };
    paths.iter().map(read).collect()
}

#[test]
fn every_schedule_is_as_expected() {
    let mut failures = Vec::new();
    for (name, mut scenario) in schedules() {
        for seed in 1..=3 {
            scenario.seed = seed;
            if let Err(what) = play(&scenario, None) {
                failures.push(format!("{name}, seed {seed}: {what}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[cfg(feature = "mutations")]
#[test]
fn a_schedule_sees_that_a_rule_is_missing() {
    let seen = |what: &str| {
        let rules =
            ["I1 ", "I2 ", "I4 ", "I5 ", "I9 ", "S2b ", "R-CONF-DURABLE", "no needless move"];
        rules.iter().any(|rule| what.contains(rule))
    };
    let mut rules = 0;
    for (name, mut scenario) in schedules() {
        for rule in scenario.catches.clone() {
            rules += 1;
            // Rules that double each other are off together.
            let off = rule.split('+').map(|rule| &*rule.to_owned().leak());
            scenario.shape.mutations = off.collect();
            let results: Vec<_> = (1..=3)
                .map(|seed| {
                    scenario.seed = seed;
                    play(&scenario, None)
                })
                .collect();
            let caught = results.iter().any(|r| r.as_ref().is_err_and(|what| seen(what)));
            assert!(caught, "{name} without {rule}: {results:?}");
        }
    }
    assert!(rules >= 4, "{rules} rules");
}
