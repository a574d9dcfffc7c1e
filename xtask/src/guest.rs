//! `cargo xtask guest [TEST…]`: makes a whole machine and runs the tests that need one.
//! Never changes this machine's package manager: what is of another architecture goes into a folder.

mod debian;

use crate::cargo::{build_programs, cargo, run as run_command};
use crate::install::{self, Wanted};
use crate::{dist, tidy};
use anyhow::{Context as _, Result};
use lexopt::prelude::*;
use std::path::PathBuf;

/// The machine's processor.
const TARGET: &str = "aarch64-unknown-linux-musl";

const PACKAGES: &[Wanted] = &[
    ("qemu-system-arm", "the machine"),
    ("e2fsprogs", "the file system on its disk"),
    (
        "debian-archive-keyring",
        "checks the signature of its kernel's archive",
    ),
];

/// Runs the tests, or those whose names hold one of the words.
///
/// # Errors
/// When a part cannot be had, or a test fails.
pub(crate) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let mut words = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(word) => words.push(word),
            Short(_) | Long(_) => return Err(argument.unexpected().into()),
        }
    }
    let folder = prepare()?;
    build_programs()?;
    let mut test = cargo(&["test", "-p", "holdfast-guest", "--"])?;
    // One machine at a time: each keeps a core busy.
    test.arg("--test-threads=1").args(words);
    test.env("HOLDFAST_GUEST_DIR", folder);
    run_command("tests with a whole machine", &mut test)
}

/// A folder with kernel, tools and the agent as it is shipped: what `HOLDFAST_GUEST_DIR` names.
///
/// # Errors
/// When something is missing that cannot be installed, fetched or built here.
pub(crate) fn prepare() -> Result<PathBuf> {
    install::debian(PACKAGES)?;
    let root = tidy::workspace_root()?;
    let folder = root.join("target").join("guest");
    debian::fetch(&folder)?;
    let agent = dist::agent(TARGET)?;
    std::fs::copy(&agent, folder.join("holdfast-agent"))
        .with_context(|| agent.display().to_string())?;
    Ok(folder)
}
