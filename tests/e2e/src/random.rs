//! Seeded randomness and counts of the long tests: a subset by default, all of it on request.
//! Never takes a seed without printing it.

use crate::say;
use std::time::{SystemTime, UNIX_EPOCH};

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// `HOLDFAST_SEED`, else a new seed; prints the line that repeats the run.
    #[must_use]
    pub fn of(test: &str) -> Self {
        let seed = number("HOLDFAST_SEED").unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let nanoseconds = now.map_or(0, |now| u64::from(now.subsec_nanos()) ^ now.as_secs());
            Self(nanoseconds ^ u64::from(std::process::id()) << 32).number() >> 16
        });
        say(format!("{test}: HOLDFAST_SEED={seed}"));
        Self(seed)
    }

    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.number() % end).unwrap_or_default()
    }

    /// One of these; `None` of none.
    pub fn of_these<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }
}

/// How many cases a test runs: `HOLDFAST_CASES`, else all of them with `HOLDFAST_FULL`, else the
/// subset.
#[must_use]
pub fn cases(subset: usize, full: usize) -> usize {
    let asked = number("HOLDFAST_CASES").and_then(|cases| usize::try_from(cases).ok());
    let default = if std::env::var_os("HOLDFAST_FULL").is_some() {
        full
    } else {
        subset
    };
    asked.unwrap_or(default)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
