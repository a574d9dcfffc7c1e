//! `cargo xtask bench [NAME…] [--quick] [--json] | --reliability | --size`: builds what is measured as it is shipped,
//! then measures.
//! Installs nothing but what builds the static agent: a peer that is missing is named with its Debian
//! package, and its row left empty.

use crate::cargo::{cargo, run};
use crate::{dist, reliability, tidy};
use anyhow::{Result, bail};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::process::Command;

pub(crate) fn run_all(mut arguments: lexopt::Parser) -> Result<()> {
    let words: Vec<_> = arguments.raw_args()?.collect();
    if words.iter().any(|word| word == "--reliability") {
        let others = words.iter().filter(|word| *word != "--reliability");
        let others: Vec<_> = others
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return reliability::run_all(&others);
    }
    if words.iter().any(|word| word == "--size") {
        let target = dist::native_triple();
        let flags = ["--target", &target, "--only-agent", "--size"];
        return dist::run(lexopt::Parser::from_args(flags));
    }
    known(&words)?;
    let agent = dist::native_agent()?;
    build()?;
    let target = tidy::workspace_root()?.join("target");
    let mut bench = Command::new(target.join("release/holdfast-bench"));
    bench
        .args(words)
        .arg("--target")
        .arg(&target)
        .arg("--agent")
        .arg(agent);
    let status = bench.status()?;
    if !status.success() {
        bail!("holdfast-bench ended with {status}");
    }
    Ok(())
}

/// Refuses a flag that nothing reads, before minutes of building.
fn known(words: &[OsString]) -> Result<()> {
    let mut arguments = lexopt::Parser::from_args(words);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("quick" | "json") | Value(_) => {}
            Short(_) | Long(_) => return Err(argument.unexpected().into()),
        }
    }
    Ok(())
}

/// Everything but the agent, for speed.
fn build() -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_nothing_reads_is_refused_before_anything_is_built() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(known(&words("scan agent --quick --json")).is_ok());
        let refusal = known(&words("scan --qick")).unwrap_err().to_string();
        assert!(refusal.contains("--qick"), "{refusal}");
    }
}
