//! The smallest scenario in full: the others take their time (`cargo xtask model`).

use ng_model::explore::Limits;
use ng_model::scenario::Scenario;
use std::time::Duration;

#[test]
fn a_small_exploration_is_complete_clean_and_not_empty() {
    let limits = Limits { threads: 1, states: 1_000_000, time: Duration::from_secs(120) };
    let scenario = Scenario::named("cold").unwrap();
    let outcome = scenario.exploration(scenario.quick, &[]).run(&limits);
    assert!(outcome.is_clean(), "{outcome:?}");
    assert!(outcome.unique > 1_000, "{outcome:?}");
}
