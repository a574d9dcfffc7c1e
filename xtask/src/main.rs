//! Chores of the workspace, run as `cargo xtask <chore>`; `--help` explains each.
//! Never part of the product; everything a user runs is in the two binaries.

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;
use usage::Usage;

mod bench;
mod cargo;
mod demo;
mod dist;
mod guest;
mod install;
mod model;
mod mutants;
mod reliability;
mod test;
mod tidy;
mod usage;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let name = words.next().unwrap_or_else(|| "help".into());
    let name = name.to_string_lossy();
    match perform(&name, words.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(told(&name, &error));
            ExitCode::FAILURE
        }
    }
}

/// Runs a chore, or shows its page.
fn perform(name: &str, words: Vec<OsString>) -> Result<()> {
    if matches!(name, "help" | "--help" | "-h") {
        let page = words
            .first()
            .and_then(|word| usage::of(&word.to_string_lossy()));
        say(page.map_or_else(usage::overview, Usage::page));
        return Ok(());
    }
    let Some(usage) = usage::of(name) else {
        bail!("unknown chore `{name}`\n\n{}", usage::overview());
    };
    if words.iter().any(|word| word == "--help" || word == "-h") {
        say(usage.page());
        return Ok(());
    }
    let mut arguments = lexopt::Parser::from_args(words);
    match usage.name {
        "bench" => bench::run_all(arguments),
        "demo" => demo::run(arguments),
        "dist" => dist::run(arguments),
        "guest" => guest::run(arguments),
        "model" => model::run(arguments),
        "sim" => sim(arguments),
        "test" => nothing_more(&mut arguments).and_then(|()| test::run_all()),
        "tidy" => nothing_more(&mut arguments).and_then(|()| tidy::run()),
        other => bail!("the chore `{other}` has a page, and nothing that it does"),
    }
}

/// What went wrong, cause by cause. Without a backtrace: it would lead through this program, and
/// what fails is what it runs, or what it was asked for.
fn told(name: &str, error: &anyhow::Error) -> String {
    let mut text = format!("cargo xtask {name}: {error:#}");
    if error.is::<lexopt::Error>()
        && let Some(usage) = usage::of(name)
    {
        text += "\n\n";
        text += &usage.page();
    }
    text
}

/// Refuses whatever else was given.
fn nothing_more(arguments: &mut lexopt::Parser) -> Result<()> {
    match arguments.next()? {
        Some(argument) => Err(argument.unexpected().into()),
        None => Ok(()),
    }
}

/// Hands its arguments to the simulated world.
fn sim(mut arguments: lexopt::Parser) -> Result<()> {
    let given: Vec<_> = arguments.raw_args()?.collect();
    if let Some((first, names)) = given.split_first()
        && first == "--mutants"
    {
        let names = names.iter().map(|name| name.to_string_lossy().into_owned());
        return mutants::run(&names.collect::<Vec<_>>());
    }
    let mut command = cargo::cargo(&["run", "--quiet", "-p", "holdfast-sim", "--"])?;
    command.args(given);
    cargo::run("the simulated world", &mut command)
}

/// Says what a chore is at. On standard error: standard output is for what was asked for, so that
/// `--json` can be piped.
#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
fn progress(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// The one place of this crate that writes to standard output.
#[expect(
    clippy::print_stdout,
    reason = "a chore talks to the person who started it"
)]
fn say(text: impl std::fmt::Display) {
    println!("{text}");
}
