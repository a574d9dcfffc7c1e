//! Runs cargo and other programs with their output shown, and times each.
//! Never hides what a program said.

use crate::{progress, tidy};
use anyhow::{Context as _, Result, bail};
use std::process::Command;
use std::time::Instant;

/// A cargo command in the workspace's root.
///
/// # Errors
/// When the root cannot be found.
pub(crate) fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(tidy::workspace_root()?);
    // What `cargo run` says of this program is no news to another cargo; but ring builds anew when one
    // of these changes, and all that stands on it.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// Runs a command to its end, saying what and why, and how long it took.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn run(why: &str, command: &mut Command) -> Result<()> {
    progress(format!("==> {why}"));
    let started = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let seconds = started.elapsed().as_secs();
    if !status.success() {
        bail!(
            "{why}: {} ended with {status} after {seconds} s",
            command.get_program().display()
        );
    }
    progress(format!("    done in {seconds} s"));
    Ok(())
}

/// Builds the two programs, where the harness finds them: beside this one.
///
/// # Errors
/// When they do not build.
pub(crate) fn build_programs() -> Result<()> {
    let why =
        "building the agent and the bridge (a first build takes about 3 minutes on two cores)";
    run(
        why,
        &mut cargo(&["build", "-p", "holdfast-agent", "-p", "holdfast-bridge"])?,
    )
}
