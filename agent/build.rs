//! Dates the build: the agent's first floor of time. `HOLDFAST_BUILT_UNIX_S` or `SOURCE_DATE_EPOCH`
//! makes builds reproducible. Links again when the layout changed.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the date is taken from, first that is set.
const GIVEN: [&str; 2] = ["HOLDFAST_BUILT_UNIX_S", "SOURCE_DATE_EPOCH"];

fn main() {
    let given = GIVEN.iter().find_map(|name| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    });
    let seconds = given.unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    });
    println!("cargo::rustc-env=HOLDFAST_BUILT_UNIX_S={seconds}");
    for name in GIVEN {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    // The linker reads it, of which cargo knows nothing.
    println!("cargo::rerun-if-changed=../cross/layout.ld");
}
