//! Medians, and what a process took of time and memory.
//! Never averages: one slow run must not hide behind many, nor the other way round.

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// First argument of this program when it stands between as a launcher.
pub const LAUNCH: &str = "launch";

/// What a finished process took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// From start to end, seconds.
    pub wall_s: f64,
    /// Processor time of it and its children, seconds.
    pub cpu_s: f64,
    /// Peak resident memory of the largest of its processes, KiB.
    pub peak_kib: f64,
}

/// Runs a program to its end through a small launcher of its own.
///
/// The kernel counts in a child's peak what its parent had mapped when it was started; the
/// launcher is a fresh process, so that this is about 2 MiB and not this program's size.
///
/// # Errors
/// When the program cannot be started or fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<Usage> {
    let launcher = std::env::current_exe().context("the path of this program")?;
    let output = Command::new(launcher)
        .arg(LAUNCH)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("launching {program}"))?;
    if !output.status.success() {
        bail!("{program} {arguments:?} ended with {}", output.status);
    }
    let usage: Value = serde_json::from_slice(&output.stdout).context("the launcher's line")?;
    let field = |name: &str| usage.get(name).and_then(Value::as_f64).context("a figure");
    Ok(Usage {
        wall_s: field("wall_s")?,
        cpu_s: field("cpu_s")?,
        peak_kib: field("peak_kib")?,
    })
}

/// The launcher's side: runs the command, and says in one line of JSON what it took.
///
/// # Errors
/// When it cannot be started or fails.
pub fn launch(program: &str, arguments: &[String]) -> Result<String> {
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("starting {program}"))?;
    let wall_s = started.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), 0).as_secs_f64()
            + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0)).as_secs_f64()
    };
    let cpu_s = seconds(usage.user_time()) + seconds(usage.system_time());
    Ok(json!({"wall_s": wall_s, "cpu_s": cpu_s, "peak_kib": usage.max_rss()}).to_string())
}

/// The middle of the values; of an even number the mean of the two in the middle.
///
/// # Errors
/// When there are none.
pub fn median(values: &[f64]) -> Result<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => Ok(f64::midpoint(*low, *high)),
        _ => bail!("no values"),
    }
}

/// The largest of the values, 0 without any.
#[must_use]
pub fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn kib(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("{name} in proc(5)"))?;
    let number = line.trim().trim_end_matches("kB").trim();
    number.parse().with_context(|| format!("{name} {number}"))
}

/// Proportional set size of a process, KiB.
///
/// # Errors
/// When the process is gone or another's.
pub fn pss_kib(process: u32) -> Result<f64> {
    kib(
        &fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?,
        "Pss:",
    )
}

/// Resident memory of a process that only it has, KiB.
///
/// # Errors
/// As [`pss_kib`].
pub fn anonymous_kib(process: u32) -> Result<f64> {
    kib(
        &fs::read_to_string(format!("/proc/{process}/status"))?,
        "RssAnon:",
    )
}

/// Resident memory of a process, KiB.
///
/// # Errors
/// As [`pss_kib`].
pub fn resident_kib(process: u32) -> Result<f64> {
    kib(
        &fs::read_to_string(format!("/proc/{process}/status"))?,
        "VmRSS:",
    )
}

/// Threads of a process.
///
/// # Errors
/// As [`pss_kib`].
pub fn threads(process: u32) -> Result<f64> {
    kib(
        &fs::read_to_string(format!("/proc/{process}/status"))?,
        "Threads:",
    )
}

/// One line on the machine and how busy it is: figures are worth no more than this line says.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("processor unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let load: Vec<_> = load.split(' ').take(3).collect();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{model}, {cores} cores, Linux {}, load {}",
        kernel.trim(),
        load.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).unwrap(), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).unwrap(), 2.5);
        assert!(median(&[]).is_err());
    }

    #[test]
    fn a_launched_program_is_measured_and_its_failure_told() {
        let line = launch("true", &[]).unwrap();
        let usage: Value = serde_json::from_str(&line).unwrap();
        assert!(usage["wall_s"].as_f64().unwrap() > 0.0);
        assert!(usage["peak_kib"].as_f64().unwrap() > 0.0);
        assert!(launch("false", &[]).is_err());
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let id = std::process::id();
        assert!(
            pss_kib(id).unwrap() > 0.0 && resident_kib(id).unwrap() >= anonymous_kib(id).unwrap()
        );
        assert!(threads(id).unwrap() >= 1.0);
    }
}
