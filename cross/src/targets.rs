//! The targets: which, how they are called elsewhere, and what runs them here.
//! Never guesses a name: a system without one gets no package.

use crate::TableError;
use serde::Deserialize;

const FILE: &str = "targets.toml";
const TABLE: &str = include_str!("../targets.toml");

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Rust's name for it.
    pub triple: String,
    /// 1: built and run on each run of the checks; 2: on request.
    pub tier: u8,
    /// Whether the bridge is built for it too.
    pub bridge: bool,
    /// What the compiler is told beyond the triple, as its `-C` takes it.
    #[serde(default)]
    pub codegen: Vec<String>,
    /// What runs its programs on an x86_64 machine; `None`: the machine itself.
    #[serde(default)]
    pub emulator: Option<Emulator>,
    /// What package systems call it.
    pub packages: Architectures,
}

/// A user-mode emulator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulator {
    /// Its program.
    pub program: String,
    /// The smallest processor that the target promises to run on.
    pub cpu: String,
}

/// What package systems call an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architectures {
    /// Debian and its heirs.
    pub deb: String,
    /// RPM.
    pub rpm: String,
    /// opkg of OpenWrt.
    pub ipk: String,
    /// apk of Alpine.
    pub apk: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    target: Vec<Target>,
}

/// Every target, tier one first.
///
/// # Errors
/// [`TableError::Syntax`].
pub fn all() -> Result<Vec<Target>, TableError> {
    let table: Table = toml::from_str(TABLE).map_err(|error| TableError::Syntax {
        file: FILE,
        source: Box::new(error),
    })?;
    Ok(table.target)
}

/// One target by its triple.
///
/// # Errors
/// [`TableError::Target`], with those that there are.
pub fn find(triple: &str) -> Result<Target, TableError> {
    let targets = all()?;
    let found = targets.iter().find(|target| target.triple == triple);
    found.cloned().ok_or_else(|| TableError::Target {
        found: triple.to_owned(),
        known: targets
            .iter()
            .map(|target| target.triple.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

impl Target {
    /// Words that stand before a program of this target, so that this machine runs it.
    #[must_use]
    pub fn runner(&self) -> Vec<String> {
        let words = |emulator: &Emulator| {
            [emulator.program.as_str(), "-cpu", emulator.cpu.as_str()]
                .map(str::to_owned)
                .to_vec()
        };
        self.emulator.as_ref().map(words).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_target_stands_in_the_table_once_and_tier_one_first() {
        let targets = all().unwrap();
        let triples: BTreeSet<_> = targets.iter().map(|target| &target.triple).collect();
        assert_eq!(triples.len(), targets.len());
        assert!(targets.is_sorted_by_key(|target| target.tier));
        assert!(targets.iter().any(|target| target.tier == 1));
    }

    #[test]
    fn an_unknown_target_is_refused_with_those_that_there_are() {
        let refusal = find("x86_64-pc-windows-msvc").unwrap_err().to_string();
        assert!(refusal.contains("x86_64-pc-windows-msvc"), "{refusal}");
        assert!(
            refusal.contains("armv7-unknown-linux-musleabihf"),
            "{refusal}"
        );
    }
}
