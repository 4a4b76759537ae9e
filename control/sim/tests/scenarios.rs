//! Every written schedule, each with three seeds.

use ng_sim::scenario::{Scenario, play};
use std::path::Path;

#[test]
fn every_schedule_is_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "{} schedules", paths.len());
    let mut failures = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut scenario = Scenario::parse(&text).unwrap_or_else(|m| panic!("{name}: {m}"));
        for seed in 1..=3 {
            scenario.seed = seed;
            if let Err(what) = play(&scenario, None) {
                failures.push(format!("{name}, seed {seed}: {what}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
