//! `cargo xtask sim`: `--seed N [--without A,B] [--trace]` replays one world, `--seeds COUNT [--from N]`
//! runs many; with `--first` only until one breaks an invariant.
//! Never hides a seed: each violation names the line that replays it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's whole purpose is to print what it found"
)]

use holdfast_sim::{Case, Summary, run, shrink, trace};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str =
    "usage: holdfast-sim --seed N [--without A,B] [--trace] | --seeds COUNT [--from N] [--first]";

/// Violations of one run that are made small; the first ones say enough.
const SHRUNK_MAX: u64 = 5;

#[derive(Debug, Default)]
struct Options {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: Option<u64>,
    without: BTreeSet<u32>,
    trace: bool,
    first: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match name.as_str() {
            "--seed" => options.seed = Some(number(&name, &value())?),
            "--seeds" => options.seeds = Some(number(&name, &value())?),
            "--from" => options.from = Some(number(&name, &value())?),
            "--without" => {
                let without = value();
                let numbers = without.split(',').map(|text| number(&name, text));
                options.without = numbers.collect::<Result<_, _>>()?;
            }
            "--trace" => options.trace = true,
            "--first" => options.first = true,
            _ => return Err(format!("`{name}` is not known\n{USAGE}")),
        }
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}: `{value}` is not a number\n{USAGE}"))
}

fn main() -> ExitCode {
    match options() {
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
        Ok(Options {
            seed: Some(seed),
            without,
            trace: wanted,
            ..
        }) => one(&Case { seed, without }, wanted),
        Ok(options) => many(&options),
    }
}

fn one(case: &Case, wanted: bool) -> ExitCode {
    let (lines, outcome) = trace(case);
    if wanted {
        for line in lines {
            println!("{line}");
        }
    }
    match outcome {
        Ok(summary) => {
            println!("{case}: holds; {summary}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{case}: VIOLATION {why}");
            ExitCode::FAILURE
        }
    }
}

fn many(options: &Options) -> ExitCode {
    let count = options.seeds.unwrap_or(100);
    let from = options.from.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs() << 16)
    });
    println!(
        "seeds {from} to {}",
        from.saturating_add(count.saturating_sub(1))
    );
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let end = from.saturating_add(count);
    let found = Mutex::new((Summary::default(), 0_u64));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&next, end, options.first, &found));
        }
    });
    let (total, violations) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{count} worlds in {:.1} s, {violations} violations",
        started.elapsed().as_secs_f64()
    );
    println!("{total}");
    if violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Takes one seed after another; worlds share nothing.
fn work(next: &AtomicU64, end: u64, first: bool, found: &Mutex<(Summary, u64)>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let outcome = run(seed);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(summary) => found.0.add(&summary),
            Err(why) => {
                found.1 += 1;
                if first {
                    next.store(end, Ordering::Relaxed);
                }
                let many = first || found.1 > SHRUNK_MAX;
                drop(found);
                println!("seed {seed}: VIOLATION {why}");
                println!("  replay: cargo xtask sim --seed {seed} --trace");
                if !many {
                    println!("  smallest: cargo xtask sim {} --trace", shrink(seed));
                }
            }
        }
    }
}
