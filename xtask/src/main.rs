//! Chores of the workspace, run as `cargo xtask <chore>`; `cargo xtask help` lists them.
//! Never part of the product; everything a user runs is in the two binaries.

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

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

const HELP: &str = "\
cargo xtask <chore>

  demo [--once] [--agents N]     build, then run a bridge and agents of this very machine
  test                           install what is missing (and say so), then run every check
  bench [NAME…] [--quick] [--json]
                                 print our figures beside a peer's
  bench --reliability [NAME…] [--quick]
                                 print what the reliability promise rests on: its tests' figures, at
                                 full counts unless --quick
  bench --size                   show what is in the agent, by crate and by feature
  dist [--target T]… [--tier 1|2|all] [--road rustup|debian] [--check] [--smoke] [--size]
       [--packages [--sign KEY] [--sign-rpm NAME]] [--twice] [--minimal] [--only-agent]
                                 build the static programs that are shipped, into dist/
  guest [TEST…]                  boot a whole machine under qemu, cut its power, kill it
  sim --seed N [--without A,B] [--trace]
                                 replay one run of the simulated world
  sim --seeds COUNT [--from N]   run many, new ones unless told
  sim --mutants [NAME…]          show that it finds deliberate defects
  tidy                           check the crate graph and the cores' purity
  model --from service-2.json --version X [--check]
                                 regenerate the SSM service table, or check it
";

fn main() -> Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    let chore = match arguments.next()? {
        Some(Value(name)) => name.string().context("the chore's name")?,
        Some(Short(_) | Long(_)) | None => "help".into(),
    };
    match chore.as_str() {
        "bench" => bench::run_all(arguments),
        "demo" => demo::run(arguments),
        "dist" => dist::run(arguments),
        "guest" => guest::run(arguments),
        "model" => model::run(arguments),
        "sim" => sim(arguments),
        "test" => test::run_all(),
        "tidy" => tidy::run(),
        "help" => {
            say(HELP);
            Ok(())
        }
        other => bail!("unknown chore `{other}`\n\n{HELP}"),
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
