//! A few hundred seeds of every target, and inputs that once failed.

use ng_proof::{campaign, target};

/// Inputs that found something, by target.
const ONCE: &[(&str, &str)] = &[
    // Evidence that no owner was ever, with an op behind it: taken, and written without.
    (
        "planner",
        concat!(
            "020000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000000000000100000000000000000003000000010101000001000000000000000000000000",
            "000000000000000000000000000000000001010000000000000000000000000101010000000001000000000000000000",
            "000000000000000000000000000000000005010a00000000",
        ),
    ),
];

#[test]
fn no_decoder_and_no_node_fails_on_the_first_seeds() {
    for target in target::all() {
        for seed in 1..=400 {
            campaign::seed(target, seed).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

#[test]
fn what_once_failed_does_not_fail_again() {
    for (name, input) in ONCE {
        let target = target::named(name).unwrap_or_else(|| panic!("no target {name}"));
        let input = campaign::from_hex(input).unwrap();
        target.run(&input).unwrap_or_else(|what| panic!("{name} {input:?}: {what}"));
    }
}

/// What a writer writes is read: samples of every decoder, unchanged.
#[test]
fn samples_are_taken() {
    for target in target::all() {
        for seed in 0..50 {
            let mut dice = base::Prng::new(seed);
            let bytes = ng_proof::choices::random(&mut dice, 400);
            let sample = (target.sample)(&mut ng_proof::choices::Choices::new(&bytes));
            target.run(&sample).unwrap_or_else(|what| panic!("{}: {what}", target.name));
        }
    }
}
