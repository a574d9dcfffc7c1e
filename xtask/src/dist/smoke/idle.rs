//! What an agent costs that is connected and has nothing to do.
//! Never right after its start: the threads of its first reports end first.

use crate::say;
use anyhow::{Context as _, Result};
use holdfast_cross::budgets::Idle;
use holdfast_e2e::{Link, until};
use std::time::{Duration, Instant};

/// For the threads of what was just done to end.
const SETTLED: Duration = Duration::from_secs(30);
/// How long it is watched: two pings, from which an hour's figures are extrapolated.
const WATCHED: Duration = Duration::from_secs(80);
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

/// What an idle agent costs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    /// At the end of the time that it was watched.
    moment: Moment,
    wakeups_per_hour: f64,
    tls_bytes_per_hour: f64,
}

/// What is above the budget.
fn above(cost: &Cost, budget: &Idle) -> Vec<String> {
    let moment = cost.moment;
    [
        (
            "threads",
            "",
            count(moment.threads),
            f64::from(budget.threads),
        ),
        ("PSS", " MiB", kib_to_mib(moment.pss_kib), budget.pss_mib),
        (
            "anonymous memory",
            " MiB",
            kib_to_mib(moment.anonymous_kib),
            budget.anonymous_mib,
        ),
        (
            "wake-ups",
            " an hour",
            cost.wakeups_per_hour,
            budget.wakeups_per_hour,
        ),
        (
            "TLS",
            " B an hour",
            cost.tls_bytes_per_hour,
            budget.tls_bytes_per_hour,
        ),
    ]
    .into_iter()
    .filter(|(_, _, found, allowed)| found > allowed)
    .map(|(what, unit, found, allowed)| {
        let digits = if unit == " MiB" { 2 } else { 0 };
        format!("{what} {found:.digits$}{unit}, {allowed} allowed by cross/budgets.toml")
    })
    .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn count(of: u64) -> f64 {
    of as f64
}

fn kib_to_mib(kib: u64) -> f64 {
    count(kib) / 1024.0
}

fn per_hour(found: u64, seconds: f64) -> f64 {
    count(found) * HOUR_S / seconds
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
    let moment = Moment::of(process)?;
    let seconds = started.elapsed().as_secs_f64();
    let cost = Cost {
        moment,
        wakeups_per_hour: per_hour(moment.slept.saturating_sub(first.slept), seconds),
        tls_bytes_per_hour: per_hour(link.bytes().saturating_sub(bytes), seconds),
    };
    let floor = budget.pss_mib_floor.map_or_else(String::new, |floor| {
        let above = kib_to_mib(moment.pss_kib) - floor;
        format!(" ({above:.2} MiB above the floor)")
    });
    say(format!(
        "    idle: {moment}{floor}; from {seconds:.0} s: {:.0} wake-ups and {:.0} B of TLS an hour",
        cost.wakeups_per_hour, cost.tls_bytes_per_hour,
    ));
    Ok(above(&cost, budget))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Idle = Idle {
        pss_mib: 2.0,
        pss_mib_floor: None,
        anonymous_mib: 0.5,
        threads: 1,
        wakeups_per_hour: 400.0,
        tls_bytes_per_hour: 5000.0,
    };

    fn cost() -> Cost {
        Cost {
            moment: Moment {
                threads: 1,
                pss_kib: 2048,
                anonymous_kib: 512,
                slept: 0,
            },
            wakeups_per_hour: 400.0,
            tls_bytes_per_hour: 5000.0,
        }
    }

    #[test]
    fn what_is_just_within_its_budget_is_no_fault() {
        assert_eq!(above(&cost(), &ALLOWED), Vec::<String>::new());
    }

    #[test]
    fn each_figure_above_its_budget_is_a_fault_of_its_own() {
        type Doctor = fn(&mut Cost);
        let doctored: [(Doctor, &str); 5] = [
            (|cost| cost.moment.threads = 2, "threads 2, 1 allowed"),
            (|cost| cost.moment.pss_kib = 2068, "PSS 2.02 MiB, 2 allowed"),
            (
                |cost| cost.moment.anonymous_kib = 532,
                "anonymous memory 0.52 MiB, 0.5 allowed",
            ),
            (
                |cost| cost.wakeups_per_hour = 401.0,
                "wake-ups 401 an hour, 400 allowed",
            ),
            (
                |cost| cost.tls_bytes_per_hour = 5001.0,
                "TLS 5001 B an hour, 5000 allowed",
            ),
        ];
        for (doctor, said) in doctored {
            let mut cost = cost();
            doctor(&mut cost);
            let faults = above(&cost, &ALLOWED);
            assert!(
                faults.len() == 1 && faults[0].starts_with(said),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn a_process_with_a_second_thread_is_seen_as_such() {
        // This very test has the harness's thread beside it.
        let this = std::thread::spawn(|| Moment::of(std::process::id()).unwrap());
        let this = this.join().unwrap();
        assert!(this.threads > 1 && this.pss_kib >= this.anonymous_kib);
        assert!(this.anonymous_kib > 0);
    }
}
