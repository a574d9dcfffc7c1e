//! `cargo xtask sim --mutants [NAME…]`: shows that the simulated world bites. Each deliberate defect
//! goes into a copy of the tree, is built, and must break an invariant within 2,000 seeds.
//! Never touches the tree itself, and the product holds no switch for any of this.

mod list;

use crate::{say, tidy};
use anyhow::{Context as _, Result, bail};
use list::{MUTANTS, Mutant};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Seeds within which a defect must be found.
const SEEDS: u64 = 2_000;
/// The first of them.
const FROM: u64 = 1;

/// What a mutant came to.
struct Outcome {
    /// Worlds until the first that broke an invariant, and which.
    found: Option<(u64, String)>,
}

/// Runs the mutants of these names, or all.
///
/// # Errors
/// When one survives, is not to be found in the sources any more, or the tree as it is does not hold.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let root = tidy::workspace_root()?;
    let scratch = Scratch::new(&root);
    let chosen: Vec<&Mutant> = MUTANTS
        .iter()
        .filter(|mutant| names.is_empty() || names.iter().any(|name| name == mutant.name))
        .collect();
    let is_known = |name: &&String| MUTANTS.iter().any(|mutant| mutant.name == **name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        bail!("no mutant is called `{unknown}`");
    }
    scratch.copy()?;
    say("==> the tree as it is");
    let whole = scratch.attack()?;
    if let Some((_, what)) = whole.found {
        bail!("the tree as it is breaks an invariant: {what}");
    }
    say(format!("    {SEEDS} worlds hold"));
    say("mutant | worlds | invariant");
    let mut survivors = Vec::new();
    for mutant in chosen {
        let started = Instant::now();
        // Of the copy, which nobody edits meanwhile.
        let source = read(&scratch.tree, mutant)?;
        scratch.write(mutant.file, mutant.apply(&source)?.as_bytes())?;
        let outcome = scratch.attack();
        scratch.write(mutant.file, source.as_bytes())?;
        let seconds = started.elapsed().as_secs();
        match outcome.with_context(|| mutant.name)?.found {
            Some((worlds, what)) => {
                say(format!("{} | {worlds} | {what} ({seconds} s)", mutant.name));
            }
            None => {
                say(format!(
                    "{} | none of {SEEDS} | SURVIVES ({seconds} s)",
                    mutant.name
                ));
                survivors.push(mutant.name);
            }
        }
    }
    if survivors.is_empty() {
        return Ok(());
    }
    bail!("the simulated world does not notice: {survivors:?}")
}

/// A copy of the tree with a build of its own.
struct Scratch {
    root: PathBuf,
    tree: PathBuf,
    build: PathBuf,
}

impl Scratch {
    fn new(root: &Path) -> Self {
        let home = root.join("target").join("mutants");
        Self {
            root: root.to_owned(),
            tree: home.join("tree"),
            build: home.join("build"),
        }
    }

    /// Copies what has changed, so that a build only does again what it must.
    fn copy(&self) -> Result<()> {
        let listed = Command::new("git")
            .args(["ls-files", "-co", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .context("git ls-files")?;
        let names = String::from_utf8(listed.stdout).context("the names of the files")?;
        for name in names.lines() {
            // A file that is deleted and not yet committed is listed, too.
            if let Ok(content) = fs::read(self.root.join(name)) {
                self.write(name, &content)?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.tree.join(name);
        if fs::read(&path).is_ok_and(|found| found == content) {
            return Ok(());
        }
        let folder = path.parent().context("a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(&path, content).with_context(|| path.display().to_string())
    }

    /// Builds the simulated world of the copy, and runs it until an invariant breaks.
    fn attack(&self) -> Result<Outcome> {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "-p", "holdfast-sim", "--", "--first"])
            .args(["--seeds", &SEEDS.to_string(), "--from", &FROM.to_string()])
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            // What a defect leaves unused is no news.
            .env("RUSTFLAGS", "-Awarnings")
            .output()
            .context("cargo run -p holdfast-sim")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let violations = text.lines().filter_map(violation);
        let found = violations.min_by_key(|(seed, _)| *seed);
        if found.is_none() && !output.status.success() {
            // A panic is found, too; what does not build is not a mutant.
            let error = String::from_utf8_lossy(&output.stderr);
            if let Some(line) = error.lines().find(|line| line.contains("panicked at")) {
                return Ok(Outcome {
                    found: Some((0, line.to_owned())),
                });
            }
            bail!("{error}");
        }
        Ok(Outcome {
            found: found.map(|(seed, what)| (seed - FROM + 1, what)),
        })
    }
}

/// `seed N: VIOLATION after T ms: …`.
fn violation(line: &str) -> Option<(u64, String)> {
    let (seed, rest) = line
        .strip_prefix("seed ")?
        .split_once(": VIOLATION after ")?;
    let (_, what) = rest.split_once(": ")?;
    // The middle of a report about a world without end is of no use in a table.
    Some((seed.parse().ok()?, what.chars().take(120).collect()))
}

fn read(root: &Path, mutant: &Mutant) -> Result<String> {
    let path = root.join(mutant.file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

impl Mutant {
    /// The source with the defect in it.
    fn apply(&self, source: &str) -> Result<String> {
        let places = source.matches(self.before).count();
        if places != 1 {
            bail!(
                "mutant `{}`: its line stands {places} times in {}, not once: say anew what it changes",
                self.name,
                self.file
            );
        }
        Ok(source.replacen(self.before, self.after, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_mutant_still_has_its_line() {
        let root = tidy::workspace_root().unwrap();
        for mutant in MUTANTS {
            mutant.apply(&read(&root, mutant).unwrap()).unwrap();
        }
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len());
    }
}
