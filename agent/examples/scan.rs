//! Scans a root (by default `/`) under Debian's default baseline and prints the counts: for measuring.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::path::PathBuf;

use holdfast_agent::patch::{Baseline, ScanError, scan};

fn main() -> Result<(), ScanError> {
    let root = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let report = scan(&root, &Baseline::debian_default())?;
    println!("{} packages, {:?}", report.patches.len(), report.counts);
    for warning in &report.warnings.list {
        println!("{}: {}", warning.path, warning.problem);
    }
    Ok(())
}
