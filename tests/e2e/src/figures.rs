//! Figures that a test measured, beside the bounds that the project promises: each is printed, and
//! recorded for `cargo xtask bench --reliability`. Never fails a test: what must hold, a test asserts.

use crate::say;
use serde_json::{Value, json};
use std::io::Write as _;

/// The file that takes each figure as a line of JSON; unset: they are only printed.
pub const FILE: &str = "HOLDFAST_FIGURES";

/// What is promised of a figure, in its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// This and nothing else: counts of what must not be, or of all that must.
    Exactly(f64),
    /// Only stated.
    None,
}

impl Bound {
    /// Whether a figure is within it; `None` when nothing was promised.
    #[must_use]
    pub fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
            Self::Exactly(wanted) => Some((value - wanted).abs() < f64::EPSILON),
            Self::None => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", number(most)),
            Self::AtLeast(least) => format!("≥ {}", number(least)),
            Self::Exactly(wanted) => number(wanted),
            Self::None => String::new(),
        }
    }
}

/// Prints and records a figure; whether it is within its bound.
pub fn record(name: &str, value: f64, unit: &str, bound: Bound) -> bool {
    let met = bound.is_met(value);
    let verdict = match met {
        Some(true) => format!(" (bound: {}): met", bound.words()),
        Some(false) => format!(" (bound: {}): MISSED", bound.words()),
        None => String::new(),
    };
    say(format!("{name}: {} {unit}{verdict}", number(value)));
    append(&json!({
        "figure": name,
        "value": number(value),
        "unit": unit,
        "bound": bound.words(),
        "met": met,
    }));
    met != Some(false)
}

/// Says that a figure could not be had on this machine, and why.
pub fn not_run(name: &str, why: &str) {
    say(format!("not run: {name}: {why}"));
    append(&json!({"figure": name, "not_run": why}));
}

/// One write of one line: several tests may append to the file.
fn append(line: &Value) {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let written = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        say(format!("{}: {error}", file.display()));
    }
}

/// Whole numbers as they are, others with three significant digits.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        at if at >= 100.0 => 0,
        at if at >= 10.0 => 1,
        at if at >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_the_figure_and_not_its_rounding() {
        assert_eq!(Bound::AtMost(5.0).is_met(5.0001), Some(false));
        assert_eq!(Bound::AtLeast(500.0).is_met(499.9), Some(false));
        assert_eq!(Bound::Exactly(0.0).is_met(0.0), Some(true));
        assert_eq!(Bound::Exactly(0.0).is_met(1.0), Some(false));
        assert_eq!(Bound::None.is_met(1e9), None);
    }

    #[test]
    fn counts_stay_whole() {
        for (value, text) in [(100_000.0, "100000"), (4.567, "4.57"), (0.0, "0")] {
            assert_eq!(number(value), text);
        }
    }
}
