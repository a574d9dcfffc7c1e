//! `cargo xtask test`: installs what is missing, saying what and why, then runs every check.
//! Never hides a failure: the first one ends it.

mod prerequisites;

use crate::cargo::{build_programs, cargo, run};
use crate::{say, tidy};
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Seeds of the simulated world that each run takes: new ones with each commit.
const SEEDS: &str = "2000";

pub(crate) fn run_all() -> Result<()> {
    let started = Instant::now();
    let root = tidy::workspace_root()?;
    prerequisites::packages()?;
    let python = prerequisites::python(&root)?;
    run("formatting", &mut cargo(&["fmt", "--all", "--check"])?)?;
    run(
        "lints",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])?,
    )?;
    tidy::run()?;
    supply_chain()?;
    build_programs()?;
    run(
        "unit, property and end-to-end tests",
        &mut cargo(&["test", "--workspace"])?,
    )?;
    let simulation = [
        "run",
        "--quiet",
        "-p",
        "holdfast-sim",
        "--",
        "--seeds",
        SEEDS,
    ];
    run(
        "the simulated world",
        cargo(&simulation)?.args(first_seed(&root)),
    )?;
    run(
        "AWS CLI and boto3 against the real programs",
        &mut clients(&root, &python),
    )?;
    run(
        "the demo, once",
        &mut cargo(&["run", "--quiet", "-p", "xtask", "--", "demo", "--once"])?,
    )?;
    // Last: it takes minutes, and tells least about a change that broke something above.
    run(
        "the static agents of tier one: built, held to their budgets, run",
        &mut cargo(&[
            "run",
            "--quiet",
            "-p",
            "xtask",
            "--",
            "dist",
            "--tier",
            "1",
            "--only-agent",
            "--check",
            "--smoke",
        ])?,
    )?;
    say(format!(
        "==> all checks passed in {} min",
        started.elapsed().as_secs() / 60
    ));
    Ok(())
}

fn clients(root: &Path, python: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/clients",
        ])
        .current_dir(root);
    command.env("HOLDFAST_BIN_DIR", root.join("target").join("debug"));
    command
}

/// Where this commit's seeds begin. Each commit takes new ones, and every run of it the same: a
/// violation that one run finds stays until it is mended. Without git the clock says.
fn first_seed(root: &Path) -> Vec<String> {
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(root)
        .output();
    let commit = commit
        .ok()
        .and_then(|out| String::from_utf8(out.stdout).ok());
    let first = commit.and_then(|commit| u64::from_str_radix(commit.trim(), 16).ok());
    first.map_or_else(Vec::new, |first| vec!["--from".into(), first.to_string()])
}

/// Bans, licences and sources of the dependencies, where cargo-deny is installed. Building it
/// takes longer than all the other checks together, so it is not installed unasked.
fn supply_chain() -> Result<()> {
    let installed = cargo(&["deny", "--version"])?
        .output()
        .context("cargo deny")?
        .status
        .success();
    if !installed {
        say(
            "==> dependencies' licences and sources: skipped, cargo-deny is not installed (`cargo install --locked cargo-deny`)",
        );
        return Ok(());
    }
    run(
        "dependencies' licences, bans and sources",
        &mut cargo(&["deny", "check", "licenses", "bans", "sources"])?,
    )
}
