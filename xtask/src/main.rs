//! Chores of this workspace, run as `cargo xtask <chore>`.
//! Never part of a shipped binary.

mod model;

use anyhow::{Context as _, bail};
use lexopt::prelude::*;

const USAGE: &str = "usage: cargo xtask model --from service-2.json --version X [--check]";

fn main() -> anyhow::Result<()> {
    let mut args = lexopt::Parser::from_env();
    let chore = match args.next()? {
        Some(Value(name)) => name.string().context("the chore's name")?,
        Some(Short(_) | Long(_)) | None => bail!("{USAGE}"),
    };
    match chore.as_str() {
        "model" => model::run(args),
        other => bail!("unknown chore {other:?}\n{USAGE}"),
    }
}
