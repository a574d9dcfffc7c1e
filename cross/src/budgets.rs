//! The budgets: what a shipped program may cost, from the one table that says so.
//! Never measures.

use crate::TableError;
use serde::Deserialize;
use std::collections::BTreeMap;

const FILE: &str = "budgets.toml";
const TABLE: &str = include_str!("../budgets.toml");

/// The whole table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// The agent with all features.
    pub agent: Agent,
    /// The agent for the smallest devices.
    pub minimal: Agent,
    /// The patch scan, beside apt.
    pub scan: Scan,
}

/// What one shape of the agent may cost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Bytes of the stripped program, by triple.
    pub size_bytes: BTreeMap<String, u64>,
    /// Bytes of the libraries alone, by triple; held to nothing.
    #[serde(default)]
    pub floor_bytes: BTreeMap<String, u64>,
    /// Connected and idle, on x86_64.
    pub idle: Idle,
}

/// What an idle agent may take.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// Proportional set size, MiB.
    pub pss_mib: f64,
    /// That of the libraries alone; held to nothing.
    #[serde(default)]
    pub pss_mib_floor: Option<f64>,
    /// Of it what no file backs: heap, stacks, and what was written of the program's data; MiB.
    pub anonymous_mib: f64,
    /// Threads.
    pub threads: u32,
    /// Times that it wakes up.
    pub wakeups_per_hour: f64,
    /// Bytes within TLS and its records, both ways; TCP's and IP's headers come on top.
    pub tls_bytes_per_hour: f64,
}

/// What a patch scan may cost beside `apt list --upgradable` in the same run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Part of apt's time.
    pub time_part_of_apt: f64,
    /// Part of apt's peak memory.
    pub memory_part_of_apt: f64,
}

/// Reads the table.
///
/// # Errors
/// [`TableError::Syntax`].
pub fn all() -> Result<Budgets, TableError> {
    toml::from_str(TABLE).map_err(|error| TableError::Syntax {
        file: FILE,
        source: Box::new(error),
    })
}

impl Agent {
    /// Bytes allowed for a target.
    ///
    /// # Errors
    /// [`TableError::Budget`] where the table has none.
    pub fn size_bytes(&self, triple: &str) -> Result<u64, TableError> {
        let found = self.size_bytes.get(triple).copied();
        found.ok_or_else(|| TableError::Budget {
            what: "size",
            target: triple.to_owned(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::targets;

    #[test]
    fn every_target_has_a_size_above_its_floor() {
        let budgets = all().unwrap();
        for target in targets::all().unwrap() {
            let allowed = budgets.agent.size_bytes(&target.triple).unwrap();
            let floor = budgets.agent.floor_bytes[&target.triple];
            assert!(floor < allowed, "{}: {floor} {allowed}", target.triple);
        }
    }

    #[test]
    fn minimal_is_held_tighter_than_the_whole() {
        let budgets = all().unwrap();
        for (triple, bytes) in &budgets.minimal.size_bytes {
            assert!(*bytes < budgets.agent.size_bytes(triple).unwrap());
        }
        let (minimal, whole) = (&budgets.minimal.idle, &budgets.agent.idle);
        assert!(minimal.pss_mib < whole.pss_mib);
        assert!(minimal.anonymous_mib <= whole.anonymous_mib);
    }
}
