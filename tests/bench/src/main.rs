//! `holdfast-bench [NAME…] [--quick] [--json] [--target DIR] [--agent FILE]`: measures, then shows the table.
//! Never builds or installs; `cargo xtask bench` builds what this measures.

use anyhow::{Context as _, Result, bail};
use holdfast_bench::figures::{self, Figure};
use holdfast_bench::ground::Ground;
use holdfast_bench::measure;
use holdfast_bench::table::{Row, render};
use holdfast_bench::tls_state;
use lexopt::prelude::*;
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;

struct Options {
    names: Vec<String>,
    quick: bool,
    json: bool,
    target: PathBuf,
    agent: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        names: Vec::new(),
        quick: false,
        json: false,
        target: PathBuf::from("target"),
        agent: None,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(name) => options.names.push(name.string()?),
            Long("quick") => options.quick = true,
            Long("json") => options.json = true,
            Long("agent") => options.agent = Some(arguments.value()?.into()),
            Long("target") => options.target = arguments.value()?.into(),
            Short(_) | Long(_) => return Err(argument.unexpected().into()),
        }
    }
    Ok(options)
}

fn wanted(names: &[String]) -> Result<Vec<&'static Figure>> {
    if names.is_empty() {
        return Ok(figures::ALL.iter().collect());
    }
    let find = |name: &String| {
        let known = || figures::ALL.map(|figure| figure.name).join(", ");
        let found = figures::ALL.iter().find(|figure| figure.name == name);
        found.with_context(|| format!("no figure `{name}`: there are {}", known()))
    };
    names.iter().map(find).collect()
}

fn main() -> Result<()> {
    let mut raw = std::env::args().skip(1);
    match raw.next().as_deref() {
        Some(measure::LAUNCH) => {
            let program = raw.next().context("a program to launch")?;
            return say(measure::launch(&program, &raw.collect::<Vec<_>>())?);
        }
        Some(tls_state::TLS_STATE) => {
            let count = raw.next().context("a number of connections")?;
            return say(tls_state::resident_kib_each(count.parse()?)?);
        }
        _ => {}
    }
    let options = options()?;
    let figures = wanted(&options.names)?;
    let ground = Ground::new(&options.target, options.agent, options.quick)?;
    let machine = measure::machine();
    let mut rows: Vec<Row> = Vec::new();
    let mut failed = Vec::new();
    for figure in figures {
        note(format!("==> {}: {}", figure.name, figure.what));
        match (figure.measure)(&ground) {
            Ok(measured) => rows.extend(measured),
            // One figure that cannot be had must not hide the others.
            Err(why) => {
                rows.push(Row::missing(figure.name, format!("{why:#}")));
                failed.push(figure.name);
            }
        }
    }
    if std::env::var_os(holdfast_e2e::figures::FILE).is_some() {
        rows.iter().for_each(Row::record);
    }
    if options.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        say(json!({"machine": machine, "quick": options.quick, "rows": rows}))?;
    } else {
        say(format!("\n{machine}\n\n{}", render(&rows)))?;
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

fn say(text: impl std::fmt::Display) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

fn note(text: impl std::fmt::Display) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}
