//! Dates the build: the agent's first floor of time. `SOURCE_DATE_EPOCH` makes builds reproducible.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let given = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let seconds = given.unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    });
    println!("cargo::rustc-env=HOLDFAST_BUILT_UNIX_S={seconds}");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
}
