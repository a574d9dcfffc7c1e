//! A system that runs: its own init as process one (systemd-nspawn), a network of its own, and
//! nothing kept of what happens in it.
//! Never reaches this machine's services or network.

use super::ask;
use super::guide::Page;
use anyhow::{Context as _, Result};
use holdfast_e2e::{Running, until};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long anything in it may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running system; dropped, it is gone.
pub(super) struct Machine {
    _nspawn: Nspawn,
    /// Its process one, as this machine counts.
    init: String,
    console: tempfile::NamedTempFile,
}

/// What started the system, and would leave it running behind itself when killed alone.
struct Nspawn(Running);

impl Nspawn {
    /// The ids of its children: the system's process one, or what prepares it.
    fn children(&self) -> Vec<String> {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Nspawn {
    fn drop(&mut self) {
        for child in self.children() {
            // With a system's process one, the kernel ends all that runs in it.
            let _ = Command::new("kill").args(["-KILL", &child]).status();
        }
    }
}

impl Machine {
    /// Boots the system in a folder, which stays as it is, with another folder as `/packages`.
    /// It is up once `ready` ends well in it.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn boot(system: &Path, packages: &Path, ready: &str) -> Result<Self> {
        let console = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["--quiet", "--register=no", "--keep-unit", "--boot"])
            .args(["--private-network", "--volatile=overlay"])
            .arg(format!("--machine=holdfast-{}", std::process::id()))
            .arg(format!("--bind={}:/packages", packages.display()))
            .arg("--directory")
            .arg(system)
            // systemd of this release knows both hierarchies; one kernel may offer only this one.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .stdout(Stdio::from(console.reopen()?))
            .stderr(Stdio::from(console.reopen()?));
        let mut nspawn = Nspawn(Running::start(&mut command)?);
        // Its first child only prepares: whichever is there now, until one is up.
        let up = until("the system is up", PATIENCE, || {
            if let Some(status) = nspawn.0.ended()? {
                anyhow::bail!("systemd-nspawn: {status}");
            }
            let first = nspawn.children().into_iter().next();
            Ok(first.filter(|init| within(init, ready).is_ok()))
        });
        let init = up.with_context(|| end_of(&console))?;
        Ok(Self {
            _nspawn: nspawn,
            init,
            console,
        })
    }

    /// Waits until a condition holds.
    ///
    /// # Errors
    /// Those of the condition, and the bound, with the end of what the system said.
    pub(super) fn until(&self, what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
        let holds = until(what, PATIENCE, || Ok(condition()?.then_some(())));
        holds.with_context(|| end_of(&self.console))
    }

    /// Runs a line of `sh` as root in `/packages`; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub(super) fn run(&self, line: &str) -> Result<String> {
        within(&self.init, line)
    }

    /// Runs what a page shows below a heading; what it printed.
    ///
    /// # Errors
    /// At the first command that fails.
    pub(super) fn follow(&self, page: &Page, heading: &str) -> Result<String> {
        let mut printed = String::new();
        for command in page.commands(heading)? {
            printed += &self.run(&command)?;
        }
        Ok(printed)
    }

    /// Where a file of the system is for this machine.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Whether the system has a file.
    pub(super) fn has(&self, inside: &str) -> bool {
        self.path(inside).symlink_metadata().is_ok()
    }
}

fn within(init: &str, line: &str) -> Result<String> {
    // Not the environment of this machine's user.
    ask(Command::new("nsenter")
        .args(["--target", init, "--all", "env", "-i"])
        .args([
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
        ])
        .args(["sh", "-c", &format!("cd /packages && {line}")]))
}

/// The end of what a system said on its console.
fn end_of(console: &tempfile::NamedTempFile) -> String {
    let said = std::fs::read(console.path()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let from = said.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    format!(
        "the console's end: {}",
        said.get(from..).unwrap_or_default()
    )
}
