//! Tries packages where they are meant for: installed, upgraded over a changed configuration and
//! removed by each system's own tools, in systems of their own that run. The commands are those of
//! docs/install/, so that what a reader types is what was tried.
//! Never touches this machine's packages or services.

mod alpine;
mod debian;
mod foreign;
mod guide;
mod machine;
mod openwrt;
mod rpm;
mod system;
mod tarball;

use super::{Packed, ask};
use crate::install::{self, Wanted};
use anyhow::{Context as _, Result, ensure};
pub(super) use foreign::foreign;
use guide::Page;
use holdfast_cross::package::Package;
use holdfast_cross::targets::Architectures;
use machine::Machine;
use std::path::Path;

const TOOLS: &[Wanted] = &[
    (
        "mmdebstrap",
        "makes the Debian systems that packages are tried in",
    ),
    ("systemd-container", "runs them"),
    ("rpm", "reads the rpm packages"),
    (
        "python3-venv",
        "loads the Alpine system that the apk is tried in",
    ),
    ("qemu-utils", "reads its disk image"),
    ("e2fsprogs", "reads the file system in it"),
];
/// What a user would have written into the agent's configuration.
const CHANGED: &str = "# mine\nHOLDFAST_LOG=debug\nHOLDFAST_AGENT_OPTIONS=\n";
const ENVIRONMENT: &str = "/etc/holdfast/agent.env";

/// Tries each package of this machine's own processor.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn native(
    root: &Path,
    folder: &Path,
    packed: &Packed,
    names: &Architectures,
) -> Result<()> {
    install::debian(TOOLS)?;
    let bridge = packed
        .bridge
        .as_ref()
        .context("the packages are tried with a bridge: leave --only-agent out")?;
    let trial = Trial {
        root,
        folder,
        packed,
        bridge,
        names,
    };
    debian::run(&trial)?;
    rpm::run(&trial)?;
    tarball::run(&trial)?;
    alpine::run(&trial)?;
    openwrt::run(&trial)
}

/// What every trial is told.
struct Trial<'a> {
    root: &'a Path,
    /// With the packages.
    folder: &'a Path,
    packed: &'a Packed,
    bridge: &'a holdfast_cross::package::contents::Subject,
    names: &'a Architectures,
}

impl Trial<'_> {
    /// A page of docs/install/ with what stands for a reader's own values filled in.
    fn page(&self, name: &str, architecture: &str) -> Result<Page> {
        let mut page = Page::read(self.root, name)?;
        page.fill("VERSION", &self.packed.agent.version);
        page.fill("ARCH", architecture);
        page.fill("TARGET", &super::super::native_triple());
        page.fill("HOST", "127.0.0.1");
        Ok(page)
    }
}

/// The same package as if it were the next version, with another default configuration.
fn next_version(package: &Package) -> Package {
    let mut next = package.clone();
    next.version = next_number(&package.version);
    for file in next.files.iter_mut().filter(|file| file.config) {
        file.content.extend(b"# of the next version\n");
    }
    next
}

/// The version of the upgrade.
fn next_number(version: &str) -> String {
    format!("{version}.1")
}

/// Fills in what `activation create` printed: its line is the register command.
fn fill_activation(page: &mut Page, printed: &str) -> Result<()> {
    for (flag, stands_for) in [
        ("--activation-id", "ID"),
        ("--activation-code", "CODE"),
        ("--ca-sha256", "SHA"),
    ] {
        let mut words = printed.split_whitespace().skip_while(|word| *word != flag);
        let value = words
            .nth(1)
            .with_context(|| format!("{flag} in {printed}"))?;
        page.fill(stands_for, value);
    }
    Ok(())
}

/// Waits until the one node that a bridge in a machine knows is online.
fn online(machine: &Machine, bridge: &str) -> Result<()> {
    machine.until("the bridge shows the node online", || {
        Ok(machine
            .run(&format!("{bridge} node list"))?
            .contains("Online"))
    })
}

/// What systemd says of a unit's main process.
fn main_process(machine: &Machine, unit: &str) -> Result<String> {
    machine.run(&format!("systemctl show --property MainPID {unit}"))
}

/// The bridge's verbs in a machine where its service has a user.
const BRIDGE: &str = "runuser -u holdfast-bridge -- holdfast-bridge";

/// Both services as a page installs them: active, the node online, the keys nobody else's.
fn serving(machine: &Machine) -> Result<()> {
    online(machine, BRIDGE)?;
    machine.run("systemctl is-active holdfast-bridge holdfast-agent")?;
    machine.run("systemctl is-enabled holdfast-bridge holdfast-agent")?;
    for (folder, whose) in [
        ("/var/lib/holdfast-bridge", "holdfast-bridge 700\n"),
        ("/var/lib/holdfast", "root 700\n"),
    ] {
        let found = machine.run(&format!("stat --format '%U %a' {folder}"))?;
        ensure!(found == whose, "{folder} is {found}");
    }
    Ok(())
}

/// What must be true after an upgrade: the user's configuration is as it was, the new default lies
/// beside it, and both services run the new version.
fn upgraded(machine: &Machine, before: &[String; 2], beside: &str) -> Result<()> {
    let kept = std::fs::read_to_string(machine.path(ENVIRONMENT))?;
    ensure!(
        kept == CHANGED,
        "the upgrade took the user's configuration: {kept}"
    );
    ensure!(
        machine.has(&format!("{ENVIRONMENT}{beside}")),
        "no new default beside the user's configuration"
    );
    let after = both_processes(machine)?;
    ensure!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| before != after),
        "a service was not restarted: {before:?}, {after:?}"
    );
    serving(machine)
}

fn both_processes(machine: &Machine) -> Result<[String; 2]> {
    Ok([
        main_process(machine, "holdfast-bridge")?,
        main_process(machine, "holdfast-agent")?,
    ])
}

/// What must be true after a removal: nothing runs, is enabled, or lies in the way.
fn gone(machine: &Machine) -> Result<()> {
    for path in [
        "/usr/bin/holdfast-agent",
        "/usr/lib/systemd/system/holdfast-agent.service",
        "/etc/systemd/system/multi-user.target.wants/holdfast-agent.service",
    ] {
        ensure!(!machine.has(path), "{path} is still there");
    }
    ensure!(
        machine.run("pgrep -x holdfast-agent").is_err(),
        "the agent still runs"
    );
    Ok(())
}
