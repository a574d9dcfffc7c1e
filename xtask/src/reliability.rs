//! `cargo xtask bench --reliability [NAME…] [--quick]`: runs what stands for the reliability promise, one
//! after another at full counts, and prints one table of the figures that the runs recorded.
//! Never decides a verdict: a test says whether its figure is within its bound.

mod list;
mod table;

use crate::cargo::{build_programs, cargo, run};
use crate::say;
use anyhow::{Context as _, Result, bail};
use holdfast_e2e::figures;
use list::{Build, PROOFS, Proof, Run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use table::{Row, render};

/// How a run ended.
enum End {
    Passed,
    Failed(String),
}

struct Options {
    names: Vec<String>,
    quick: bool,
}

pub(crate) fn run_all(words: &[String]) -> Result<()> {
    let options = options(words)?;
    let chosen: Vec<&Proof> = PROOFS
        .iter()
        .filter(|proof| options.names.is_empty() || options.names.iter().any(|n| n == proof.name))
        .collect();
    build(&chosen)?;
    let folder = tempfile::TempDir::with_prefix("holdfast-figures-")?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for proof in PROOFS {
        if !chosen.iter().any(|other| other.name == proof.name) {
            rows.push(Row::silent(proof, "not run: not asked for"));
            continue;
        }
        let file = folder.path().join(proof.name);
        say(format!("==> {}: {}", proof.point, proof.name));
        let started = Instant::now();
        let end = prove(proof, options.quick, &file)?;
        let seconds = started.elapsed().as_secs();
        let mut found = figures_of(proof, &file)?;
        match end {
            End::Passed if found.is_empty() => {
                found.push(Row::silent(proof, "passed, and recorded no figure"));
                failed.push(proof.name);
            }
            End::Passed => {}
            End::Failed(why) => {
                say(format!("    FAILED: {why}"));
                found.push(Row::silent(proof, "FAILED"));
                failed.push(proof.name);
            }
        }
        say(format!("    {seconds} s"));
        rows.extend(found.into_iter().map(|row| row.after(seconds)));
    }
    conclude(&rows, &failed, options.quick)
}

fn options(words: &[String]) -> Result<Options> {
    let mut options = Options {
        names: Vec::new(),
        quick: false,
    };
    for word in words {
        match word.as_str() {
            "--quick" => options.quick = true,
            name if PROOFS.iter().any(|proof| proof.name == name) => {
                options.names.push(name.to_owned());
            }
            other => {
                let known: Vec<_> = PROOFS.iter().map(|proof| proof.name).collect();
                bail!(
                    "`{other}` stands for no figure: there are {}, and --quick",
                    known.join(", ")
                );
            }
        }
    }
    Ok(options)
}

fn build(chosen: &[&Proof]) -> Result<()> {
    build_programs()?;
    if chosen.iter().any(|proof| proof.build == Build::Release) {
        let arguments = [
            "build",
            "--release",
            "-p",
            "holdfast-agent",
            "-p",
            "holdfast-bridge",
        ];
        run(
            "building both for speed (a first build takes about 6 minutes)",
            &mut cargo(&arguments)?,
        )?;
    }
    Ok(())
}

/// Runs one; its figures go into `file`.
fn prove(proof: &Proof, quick: bool, file: &Path) -> Result<End> {
    let mut command = match proof.run {
        Run::Test(package, target, test) => {
            let mut arguments = vec!["test", "--quiet", "-p", package];
            match target {
                "" => arguments.push("--lib"),
                target => arguments.extend(["--test", target]),
            }
            if proof.build == Build::Release {
                arguments.push("--release");
            }
            arguments.extend(["--", "--exact", test, "--nocapture"]);
            cargo(&arguments)?
        }
        Run::Chore(full, short) => {
            let mut command = Command::new(std::env::current_exe().context("this program")?);
            command.args(if quick { short } else { full });
            command
        }
    };
    command.env(figures::FILE, file);
    if !quick {
        command.env("HOLDFAST_FULL", "1");
    }
    if matches!(proof.run, Run::Chore(..)) {
        let status = command.status().context("this program")?;
        return Ok(if status.success() {
            End::Passed
        } else {
            End::Failed(status.to_string())
        });
    }
    // Seeds and progress come over standard error; the harness's own words only matter when it fails.
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cargo test")?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(match (output.status.success(), said.contains("1 passed")) {
        (true, true) => End::Passed,
        (true, false) => End::Failed("there is no such test".into()),
        (false, _) => End::Failed(said.trim().to_owned()),
    })
}

/// What a run recorded. A figure that was recorded again is the last one.
fn figures_of(proof: &Proof, file: &PathBuf) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut rows = BTreeMap::new();
    for (place, line) in text.lines().enumerate() {
        let row = Row::read(proof, line).with_context(|| format!("{}: {line}", proof.name))?;
        let place = rows.get(&row.figure).map_or(place, |(place, _)| *place);
        rows.insert(row.figure.clone(), (place, row));
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn conclude(rows: &[Row], failed: &[&str], quick: bool) -> Result<()> {
    let counts = if quick { "CI's" } else { "full" };
    say(format!(
        "\nReliability, {counts} counts\n\n{}",
        render(rows)
    ));
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    if missed > 0 {
        say(format!("{missed} figures MISSED their bounds"));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if missed > 0 {
        bail!("a bound is missed");
    }
    Ok(())
}
