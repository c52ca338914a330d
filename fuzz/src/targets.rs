//! One libFuzzer binary for all targets of Verge: `VERGE_FUZZ_TARGET` chooses, since libFuzzer
//! itself reads the arguments. `fuzz/run` builds and runs it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use verge_edge::fuzzing::{TARGETS, Target};

const VARIABLE: &str = "VERGE_FUZZ_TARGET";

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    match found {
        Some((_, target)) => *target,
        None => {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("{VARIABLE} is one of: {}", names.join(" "));
            std::process::exit(2);
        }
    }
});

fuzz_target!(
    init: {
        LazyLock::force(&CHOSEN);
    },
    |bytes: &[u8]| CHOSEN(bytes)
);
