//! `ng-proof-guided`: one target under libFuzzer, which keeps the inputs that reach new code and changes those further.
//!
//! It wants the compiler's coverage counters, which the stable compiler makes when it is asked to: `cargo xtask fuzz
//! --guided` gives the flags. The target is named by the variable `NETGUARD_TARGET`; the arguments are libFuzzer's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ng_proof::target::{self, Target};
use std::sync::LazyLock;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("NETGUARD_TARGET").unwrap_or_default();
    target::named(&name).unwrap_or_else(|| {
        eprintln!("NETGUARD_TARGET names no target: {name:?}");
        std::process::exit(2)
    })
});

fuzz_target!(|input: &[u8]| {
    // libFuzzer ends at a panic and keeps the input.
    if let Err(what) = (TARGET.check)(input) {
        panic!("{}: {what}", TARGET.name);
    }
});
