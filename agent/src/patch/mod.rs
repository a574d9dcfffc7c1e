//! Compares what is installed with a patch baseline.
//! Never changes the node: no lock, no fetch, no installation.

pub mod baseline;
pub mod debian;
pub mod evaluate;
pub mod report;

pub use baseline::{Baseline, BaselineError, ComplianceLevel};
pub use debian::{ScanError, scan};
pub use report::{Counts, Patch, PatchReport, PatchState};
