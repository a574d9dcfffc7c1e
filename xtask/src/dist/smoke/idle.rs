//! What an agent costs that is connected and has nothing to do.
//! Never right after its start: the threads of its first reports end first.

use crate::say;
use anyhow::{Context as _, Result};
use holdfast_cross::budgets::Idle;
use holdfast_e2e::{Link, until};
use std::time::{Duration, Instant};

/// For the threads of what was just done to end.
const SETTLED: Duration = Duration::from_secs(30);
/// How long it is watched: short, so that an hour's figures are extrapolated from it.
const WATCHED: Duration = Duration::from_secs(45);
const HOUR_S: f64 = 3600.0;

/// A moment of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    threads: u64,
    pss_kib: u64,
    anonymous_kib: u64,
    /// Times that its threads slept: each is followed by one wake-up.
    slept: u64,
}

impl Moment {
    /// Looks at a process of this machine.
    ///
    /// # Errors
    /// When it is gone or another's.
    pub(super) fn of(process: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{process}/{name}");
            std::fs::read_to_string(&path).with_context(|| path)
        };
        let (status, smaps) = (read("status")?, read("smaps_rollup")?);
        Ok(Self {
            threads: number(&status, "Threads:")?,
            pss_kib: number(&smaps, "Pss:")?,
            anonymous_kib: number(&status, "RssAnon:")?,
            slept: number(&status, "voluntary_ctxt_switches:")?,
        })
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PSS {:.2} MiB, {:.2} MiB of it anonymous, {} threads",
            kib_to_mib(self.pss_kib),
            kib_to_mib(self.anonymous_kib),
            self.threads
        )
    }
}

fn number(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .with_context(|| format!("{name} in proc(5)"))
}

/// What is above the budget in a moment.
pub(super) fn above(moment: Moment, budget: &Idle) -> Vec<String> {
    let mut faults = Vec::new();
    if moment.threads > u64::from(budget.threads) {
        faults.push(format!(
            "{} threads, {} allowed",
            moment.threads, budget.threads
        ));
    }
    let mib = kib_to_mib(moment.pss_kib);
    if mib > budget.pss_mib {
        faults.push(format!("PSS {mib:.2} MiB, {} allowed", budget.pss_mib));
    }
    faults
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn kib_to_mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_hour(count: u64, seconds: f64) -> f64 {
    count as f64 * HOUR_S / seconds
}

/// Watches an idle agent, prints what it costs, and returns what is above its budget.
///
/// # Errors
/// When the process is gone.
pub(super) fn faults(process: u32, link: &Link, budget: &Idle) -> Result<Vec<String>> {
    // A thread that stays is found below; here it is only given the time to go.
    let _ = until(
        "the threads of the first reports have ended",
        SETTLED,
        || Ok((Moment::of(process)?.threads <= u64::from(budget.threads)).then_some(())),
    );
    let (first, bytes) = (Moment::of(process)?, link.bytes());
    let started = Instant::now();
    std::thread::sleep(WATCHED);
    let last = Moment::of(process)?;
    let seconds = started.elapsed().as_secs_f64();
    let floor = budget.pss_mib_floor.map_or_else(String::new, |floor| {
        format!(
            " ({:.2} MiB above the floor)",
            kib_to_mib(last.pss_kib) - floor
        )
    });
    say(format!(
        "    idle: {last}{floor}; from {seconds:.0} s: {:.0} wake-ups and {:.0} B of TLS an hour",
        per_hour(last.slept.saturating_sub(first.slept), seconds),
        per_hour(link.bytes().saturating_sub(bytes), seconds),
    ));
    Ok(above(last, budget))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_thread_or_more_memory_is_a_fault() {
        // This very test has threads of its own beside it.
        let this = std::thread::spawn(|| Moment::of(std::process::id()).unwrap())
            .join()
            .unwrap();
        let budget = |threads, pss_mib| Idle {
            threads,
            pss_mib,
            pss_mib_floor: None,
        };
        assert_eq!(above(this, &budget(u32::MAX, 1e6)), Vec::<String>::new());
        let faults = above(this, &budget(1, 1e6));
        assert!(
            faults.len() == 1 && faults[0].ends_with("threads, 1 allowed"),
            "{faults:?}"
        );
        let faults = above(this, &budget(u32::MAX, 0.0));
        assert!(
            faults.len() == 1 && faults[0].starts_with("PSS"),
            "{faults:?}"
        );
    }
}
