//! Where the linker puts code that an idle agent does not run: `cross/layout.ld`.
//! Never decides what is cold: the script names it, and the check holds it to have an effect.

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};
use std::path::Path;

const COLD: &str = ".text.cold";
/// Less than one piece of what the kernel maps at once would mean that the script's names are stale.
const COLD_BYTES_MIN: u64 = 64 * 1024;

/// The compiler's flag that makes the linker read the script.
pub(crate) fn flag(root: &Path) -> String {
    let script = root.join("cross").join("layout.ld");
    format!("-Clink-arg=-Wl,-T,{}", script.display())
}

/// What is wrong with an agent's layout.
///
/// # Errors
/// When it is no program.
pub(crate) fn fault(program: &[u8]) -> Result<Option<String>> {
    let file = object::File::parse(program).context("the program")?;
    let bytes = file.section_by_name(COLD).map_or(0, |cold| cold.size());
    Ok((bytes < COLD_BYTES_MIN).then(|| {
        format!(
            "{bytes} B stand apart as not run when idle, at least {COLD_BYTES_MIN} B are expected: do the names in cross/layout.ld still fit?"
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mangled path, as far as a pattern spells it: each name has its length before it.
    fn is_path(mut rest: &str) -> bool {
        while !rest.is_empty() {
            let digits = rest.len()
                - rest
                    .trim_start_matches(|at: char| at.is_ascii_digit())
                    .len();
            let (length, name) = rest.split_at(digits);
            let Some(after) = length.parse().ok().and_then(|length: usize| {
                let name = name.get(..length)?;
                name.starts_with(|at: char| at.is_ascii_alphabetic())
                    .then_some(length)
            }) else {
                return false;
            };
            rest = &name[after..];
        }
        true
    }

    #[test]
    fn each_name_in_the_script_has_its_length_before_it() {
        let root = crate::tidy::workspace_root().unwrap();
        let script = std::fs::read_to_string(root.join("cross/layout.ld")).unwrap();
        let patterns = script.lines().filter_map(|line| {
            let pattern = line.trim().strip_prefix("*(")?;
            pattern.strip_suffix(")")
        });
        let mut paths = 0;
        for pattern in patterns {
            // C's names have no lengths.
            let Some(path) = pattern.strip_prefix(".text.*") else {
                continue;
            };
            for part in path
                .split(['*', '?'])
                .filter(|part| part.starts_with(|at: char| at.is_ascii_digit()))
            {
                assert!(is_path(part), "{pattern}");
                paths += 1;
            }
        }
        assert!(paths > 10, "{paths}");
        assert!(!is_path("5tokio6process") && is_path("5tokio7process"));
    }

    #[test]
    fn a_program_whose_cold_code_is_not_apart_is_a_fault() {
        // This very test was linked without the script.
        let this = std::fs::read("/proc/self/exe").unwrap();
        let fault = fault(&this).unwrap().unwrap();
        assert!(fault.starts_with("0 B stand apart"), "{fault}");
    }
}
