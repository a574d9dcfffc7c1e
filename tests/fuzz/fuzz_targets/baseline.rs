//! Any text as a patch baseline: refused by name or read.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(
    dead_code,
    unused_imports,
    reason = "the file is the product's own, and only its parser is called here"
)]
#[path = "../../../agent/src/package_manager/mod.rs"]
mod package_manager;
#[allow(
    dead_code,
    unused_imports,
    reason = "the file is the product's own, and only its parser is called here"
)]
#[path = "../../../agent/src/patch/baseline.rs"]
mod baseline;

fuzz_target!(|text: &str| {
    let _ = baseline::Baseline::from_json(text);
});
