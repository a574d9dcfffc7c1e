//! `cargo xtask bench [NAME…] [--quick] [--json]`: builds what is measured as it is shipped, then measures.
//! Never installs: a peer that is missing is named with its Debian package, and its row left empty.

use crate::cargo::{cargo, run};
use crate::tidy;
use anyhow::{Result, bail};
use std::process::Command;

pub(crate) fn run_all(mut arguments: lexopt::Parser) -> Result<()> {
    build()?;
    let target = tidy::workspace_root()?.join("target");
    let mut bench = Command::new(target.join("release/holdfast-bench"));
    bench
        .args(arguments.raw_args()?)
        .arg("--target")
        .arg(&target);
    let status = bench.status()?;
    if !status.success() {
        bail!("holdfast-bench ended with {status}");
    }
    Ok(())
}

/// The agent in its own profile, since its size is a figure; everything else for speed.
fn build() -> Result<()> {
    run(
        "building the agent as it is shipped (a first build takes about 4 minutes on two cores)",
        &mut cargo(&["build", "--profile", "agent", "-p", "holdfast-agent"])?,
    )?;
    run(
        "building the bridge and the bench, optimised (a first build takes about 6 minutes)",
        &mut cargo(&[
            "build",
            "--release",
            "-p",
            "holdfast-bridge",
            "-p",
            "holdfast-bench",
            "--bin",
            "holdfast-bridge",
            "--bin",
            "holdfast-bench",
        ])?,
    )?;
    run(
        "building the journal's own measure",
        &mut cargo(&[
            "build",
            "--release",
            "-p",
            "holdfast-journal",
            "--example",
            "group_commit",
        ])?,
    )
}
