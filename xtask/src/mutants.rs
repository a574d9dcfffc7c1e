//! `cargo xtask sim --mutants [NAME…]`: shows that the simulated world bites. Each deliberate defect
//! goes into a copy of the tree, is built, and must break an invariant within 2,000 seeds.
//! Never touches the tree itself, and the product holds no switch for any of this.

mod list;

use crate::{say, tidy};
use anyhow::{Context as _, Result, bail};
use list::{MUTANTS, Mutant};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Seeds within which a defect must be found.
const SEEDS: u64 = 2_000;
/// The first of them.
const FROM: u64 = 1;
/// How long they may take: many times what they do on an idle machine. A world has a bound on its
/// events, but a defect may spin inside one of them.
const TIME_MAX: Duration = Duration::from_secs(1_200);
/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(200);

/// What a mutant came to.
enum Outcome {
    /// Worlds until the first that broke an invariant, and which.
    Found(u64, String),
    Survives,
    /// Neither: the worlds were not run to their end.
    OutOfTime,
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
    match scratch.attack()? {
        Outcome::Survives => say(format!("    {SEEDS} worlds hold")),
        Outcome::Found(_, what) => bail!("the tree as it is breaks an invariant: {what}"),
        Outcome::OutOfTime => bail!("{SEEDS} worlds of the tree as it is take over {TIME_MAX:?}"),
    }
    say("mutant | worlds | invariant");
    let mut survivors = Vec::new();
    for mutant in chosen {
        let started = Instant::now();
        // Of the copy, which nobody edits meanwhile.
        let source = read(&scratch.tree, mutant)?;
        scratch.write(mutant.file, mutant.apply(&source)?.as_bytes())?;
        let outcome = scratch.attack();
        scratch.write(mutant.file, source.as_bytes())?;
        let (worlds, what) = match outcome.with_context(|| mutant.name)? {
            Outcome::Found(worlds, what) => (worlds.to_string(), what),
            Outcome::Survives => {
                survivors.push(mutant.name);
                (format!("none of {SEEDS}"), "SURVIVES".to_owned())
            }
            Outcome::OutOfTime => {
                survivors.push(mutant.name);
                let what = format!("OUT OF TIME after {TIME_MAX:?}");
                ("not known".to_owned(), what)
            }
        };
        let seconds = started.elapsed().as_secs();
        say(format!("{} | {worlds} | {what} ({seconds} s)", mutant.name));
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
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "holdfast-sim"])
            .arg("--no-default-features")
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            // What a defect leaves unused is no news.
            .env("RUSTFLAGS", "-Awarnings")
            .output()
            .context("cargo build -p holdfast-sim")?;
        if !built.status.success() {
            // What does not build is not a mutant.
            bail!("{}", String::from_utf8_lossy(&built.stderr));
        }
        let (said, complained) = (self.build.join("said"), self.build.join("complained"));
        let file = |path: &Path| fs::File::create(path).context("a file for what is said");
        let worlds = Command::new(self.build.join("debug").join("holdfast-sim"))
            .args(["--first", "--seeds", &SEEDS.to_string()])
            .args(["--from", &FROM.to_string()])
            .stdout(file(&said)?)
            .stderr(file(&complained)?)
            .spawn()
            .context("holdfast-sim")?;
        let Some(status) = wait(worlds)? else {
            return Ok(Outcome::OutOfTime);
        };
        let text = fs::read_to_string(&said).context("what the worlds came to")?;
        let violations = text.lines().filter_map(violation);
        if let Some((seed, what)) = violations.min_by_key(|(seed, _)| *seed) {
            return Ok(Outcome::Found(seed - FROM + 1, what));
        }
        if status.success() {
            return Ok(Outcome::Survives);
        }
        // A panic is found, too.
        let error = fs::read_to_string(&complained).context("why the worlds stopped")?;
        match error.lines().find(|line| line.contains("panicked at")) {
            Some(line) => Ok(Outcome::Found(0, line.to_owned())),
            None => bail!("{error}"),
        }
    }
}

/// How it ended; `None` when it did not, and was ended.
fn wait(mut child: Child) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    while started.elapsed() < TIME_MAX {
        if let Some(status) = child.try_wait().context("holdfast-sim")? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK);
    }
    child.kill().context("holdfast-sim")?;
    child.wait().context("holdfast-sim")?;
    Ok(None)
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
