//! What is in a program, by crate and by section, from the symbols of an unstripped build.
//! Never counts a byte twice: what two names share belongs to the first.

use crate::say;
use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, elf};
use std::collections::{BTreeMap, BTreeSet};

/// Crates shown by name; the rest is one line.
const CRATES_SHOWN: usize = 32;
/// What the compiler brings.
const STANDARD: &[&str] = &["core", "alloc", "std"];

/// Bytes of a program that is loaded, by who brought them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Breakdown {
    /// Code and data with a name, by crate.
    pub(crate) crates: BTreeMap<String, u64>,
    /// What has no name (texts, tables of the unwinder), by section.
    pub(crate) nameless: BTreeMap<String, u64>,
}

/// Reads an unstripped program.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn breakdown(program: &[u8]) -> Result<Breakdown> {
    let file = object::File::parse(program).context("the unstripped program")?;
    let mut breakdown = Breakdown::default();
    let mut loaded = BTreeMap::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            continue;
        };
        // What is all zero takes no room in the file.
        let in_file = section.file_range().is_some_and(|(_, bytes)| bytes > 0);
        if sh_flags.contains(elf::SHF_ALLOC) && in_file {
            let name = section.name().unwrap_or_default().to_owned();
            loaded.insert(section.index().0, (name, section.size()));
        }
    }
    let mut seen = BTreeSet::new();
    for symbol in file.symbols().filter(|symbol| symbol.size() > 0) {
        let Some((_, rest)) = symbol
            .section_index()
            .and_then(|index| loaded.get_mut(&index.0))
        else {
            continue;
        };
        if !seen.insert(symbol.address()) {
            continue;
        }
        *rest = rest.saturating_sub(symbol.size());
        let name = crate_of(symbol.name().unwrap_or_default());
        *breakdown.crates.entry(name).or_default() += symbol.size();
    }
    for (name, rest) in loaded.into_values().filter(|(_, rest)| *rest > 0) {
        *breakdown.nameless.entry(name).or_default() += rest;
    }
    Ok(breakdown)
}

/// The crate that a symbol is of: the first one named that is not the standard library, since a
/// generic of the library is there because of what it was filled with.
fn crate_of(symbol: &str) -> String {
    let Ok(name) = rustc_demangle::try_demangle(symbol) else {
        return "C and assembly".into();
    };
    let name = format!("{name:#}");
    let roots: Vec<&str> = roots(&name).collect();
    let ours = roots.iter().find(|root| !STANDARD.contains(root));
    ours.or(roots.first()).map_or_else(
        || "std".into(),
        |root| {
            if STANDARD.contains(root) {
                "std".into()
            } else {
                (*root).to_owned()
            }
        },
    )
}

/// The first words of all paths in a name.
fn roots(name: &str) -> impl Iterator<Item = &str> {
    let is_word = |at: char| at.is_ascii_alphanumeric() || at == '_';
    let starts = name.match_indices("::").filter_map(move |(at, _)| {
        let before = name.get(..at)?;
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, at)| is_word(*at))
            .last()?
            .0;
        // A word that follows `::` is not a path's first.
        (!before.get(..start)?.ends_with("::")).then(|| before.get(start..))?
    });
    // Closures and generated names begin with a digit or a brace.
    starts.filter(|root| root.starts_with(|at: char| at.is_ascii_lowercase()))
}

/// Shows a breakdown, largest first.
pub(crate) fn show(breakdown: &Breakdown) {
    let largest_first = |table: &BTreeMap<String, u64>| {
        let mut rows: Vec<_> = table
            .iter()
            .map(|(name, bytes)| (name.clone(), *bytes))
            .collect();
        rows.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        rows
    };
    let crates = largest_first(&breakdown.crates);
    let rest: u64 = crates
        .iter()
        .skip(CRATES_SHOWN)
        .map(|(_, bytes)| bytes)
        .sum();
    say("\n| crate | bytes |\n|---|---|");
    for (name, bytes) in crates.iter().take(CRATES_SHOWN) {
        say(format!("| {name} | {bytes} |"));
    }
    say(format!(
        "| {} others | {rest} |",
        crates.len().saturating_sub(CRATES_SHOWN)
    ));
    say("\n| without a name, in section | bytes |\n|---|---|");
    for (name, bytes) in largest_first(&breakdown.nameless) {
        say(format!("| {name} | {bytes} |"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_of_the_first_crate_that_is_not_the_standard_library() {
        for (symbol, of) in [
            (
                "_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE",
                "tokio",
            ),
            // core::ptr::drop_in_place<rustls::msgs::message::Message>
            (
                "_ZN4core3ptr51drop_in_place$LT$rustls..msgs..message..Message$GT$17h0123456789abcdefE",
                "rustls",
            ),
            ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "std"),
            ("GFp_x25519_scalar_mult", "C and assembly"),
        ] {
            assert_eq!(crate_of(symbol), of, "{symbol}");
        }
    }

    #[test]
    fn this_very_test_has_our_own_code_in_it() {
        let this = std::fs::read("/proc/self/exe").unwrap();
        let breakdown = breakdown(&this).unwrap();
        assert!(breakdown.crates["xtask"] > 0 && breakdown.crates["std"] > 0);
        assert!(breakdown.nameless.contains_key(".rodata"));
        let counted: u64 = breakdown
            .crates
            .values()
            .chain(breakdown.nameless.values())
            .sum();
        assert!(counted <= this.len() as u64);
    }
}
