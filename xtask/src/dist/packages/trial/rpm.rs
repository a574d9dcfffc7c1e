//! The rpm packages by rpm itself, in a running system with systemd: docs/install/rpm.md, command
//! by command. The system is Debian's, for no RPM distribution can be fetched by a package registry.

use super::{CHANGED, ENVIRONMENT, Machine, Trial};
use super::{both_processes, fill_activation, gone, next_number, next_version};
use super::{serving, system, upgraded};
use crate::say;
use anyhow::{Result, ensure};
use holdfast_cross::package::contents::{self, System};
use holdfast_cross::package::{File, Package, Scripts, rpm};
use std::path::Path;

/// Debian's rpm wants to be told that it is meant.
const RPM: &str = "#!/bin/sh\ncase $1 in\n--install | --upgrade | --erase) exec /usr/bin/rpm --force-debian \"$@\" ;;\nesac\nexec /usr/bin/rpm \"$@\"\n";

/// Installs, registers, upgrades and erases agent and bridge.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn run(trial: &Trial<'_>) -> Result<()> {
    let packages = tempfile::tempdir()?;
    both_versions(trial, packages.path())?;
    let machine = Machine::boot(
        &system::debian(trial.root)?,
        packages.path(),
        "systemctl is-active multi-user.target",
    )?;
    std::fs::write(machine.path("/usr/local/bin/rpm"), RPM)?;
    machine.run("chmod 755 /usr/local/bin/rpm")?;
    machine.run("rpm --install --justdb shell.rpm")?;
    let mut page = trial.page("rpm.md", &trial.names.rpm)?;
    let printed = machine.follow(&page, "The bridge")?;
    fill_activation(&mut page, &printed)?;
    machine.follow(&page, "The agent")?;
    serving(&machine)?;
    verified(&machine, 0)?;
    std::fs::write(machine.path(ENVIRONMENT), CHANGED)?;
    let before = both_processes(&machine)?;
    page.fill("VERSION", &next_number(&trial.packed.agent.version));
    machine.follow(&page, "Upgrade")?;
    upgraded(&machine, &before, ".rpmnew")?;
    verified(&machine, 1)?;
    machine.follow(&page, "Remove")?;
    gone(&machine)?;
    ensure!(
        machine.has(&format!("{ENVIRONMENT}.rpmsave")),
        "erased: what the user wrote is saved"
    );
    ensure!(
        !machine.has("/usr/share/doc/holdfast-agent"),
        "erased: an empty folder stays"
    );
    ensure!(
        machine.has("/var/lib/holdfast/identity.json")
            && machine.has("/var/lib/holdfast-bridge/ca.key")
            && !machine.has("/usr/bin/holdfast-bridge"),
        "erased: identity, keys and database stay"
    );
    say("    rpm: docs/install/rpm.md from the bridge to the erasure, by rpm in a running system");
    Ok(())
}

/// rpm finds that many files of the agent changed, all of them configuration.
fn verified(machine: &Machine, changed: usize) -> Result<()> {
    // It ends with an error where something changed.
    let found = machine.run("rpm --verify holdfast-agent || true")?;
    let configuration = found.lines().filter(|line| line.contains(" c /etc/"));
    ensure!(
        configuration.count() == changed && found.lines().count() == changed,
        "rpm --verify: {found}"
    );
    Ok(())
}

/// What was packed, the same as its next version, and a package that says `/bin/sh` is there.
fn both_versions(trial: &Trial<'_>, folder: &Path) -> Result<()> {
    let architecture = &trial.names.rpm;
    let agent = contents::agent(&trial.packed.agent, System::Rpm)?;
    let shell = Package {
        name: "shell".into(),
        files: vec![File {
            path: "bin/sh".into(),
            content: Vec::new(),
            mode: 0o755,
            config: false,
        }],
        own_folders: Vec::new(),
        scripts: Scripts::default(),
        ..agent.clone()
    };
    std::fs::write(folder.join("shell.rpm"), rpm::write(&shell, architecture)?)?;
    for package in [agent, contents::bridge(trial.bridge, System::Rpm)?] {
        for package in [next_version(&package), package] {
            let name = format!("{}-{}-1.{architecture}.rpm", package.name, package.version);
            std::fs::write(folder.join(name), rpm::write(&package, architecture)?)?;
        }
    }
    Ok(())
}
