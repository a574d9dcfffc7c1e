//! The deb packages in a running Debian: docs/install/deb.md, command by command.

use super::{CHANGED, ENVIRONMENT, Machine, Trial};
use super::{both_processes, fill_activation, gone, next_number, next_version};
use super::{serving, system, upgraded};
use crate::say;
use anyhow::{Result, ensure};
use holdfast_cross::package::contents::{self, System};
use holdfast_cross::package::deb;
use std::path::Path;

/// Installs, registers, upgrades, removes and purges agent and bridge.
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
    let mut page = trial.page("deb.md", &trial.names.deb)?;
    let printed = machine.follow(&page, "The bridge")?;
    fill_activation(&mut page, &printed)?;
    machine.follow(&page, "The agent")?;
    serving(&machine)?;
    units(&machine)?;
    std::fs::write(machine.path(ENVIRONMENT), CHANGED)?;
    let before = both_processes(&machine)?;
    page.fill("VERSION", &next_number(&trial.packed.agent.version));
    machine.follow(&page, "Upgrade")?;
    upgraded(&machine, &before, ".dpkg-dist")?;
    for program in ["holdfast-agent", "holdfast-bridge"] {
        let changed = machine.run(&format!("dpkg --verify {program}"))?;
        ensure!(
            changed
                .lines()
                .all(|line| line.contains(" c /etc/holdfast/")),
            "dpkg --verify {program}: {changed}"
        );
    }
    machine.follow(&page, "Remove")?;
    gone(&machine)?;
    ensure!(
        machine.has(ENVIRONMENT) && machine.has("/var/lib/holdfast/identity.json"),
        "removed: the configuration and the node's identity stay"
    );
    machine.follow(&page, "Remove every trace")?;
    ensure!(
        !machine.has("/etc/holdfast") && !machine.has("/var/lib/holdfast"),
        "purged: nothing of the agent stays"
    );
    ensure!(
        machine.has("/var/lib/holdfast-bridge/ca.key") && !machine.has("/usr/bin/holdfast-bridge"),
        "purged: of the bridge only its keys and database stay"
    );
    say("    deb: docs/install/deb.md from the bridge to the purge, in a running Debian");
    Ok(())
}

/// What systemd itself says of the units.
fn units(machine: &Machine) -> Result<()> {
    for unit in ["holdfast-bridge", "holdfast-agent"] {
        // The manual is there, and man is not.
        let said = machine.run(&format!(
            "systemd-analyze verify --man=no {unit}.service 2>&1"
        ))?;
        ensure!(said.is_empty(), "systemd-analyze verify: {said}");
        let exposure = machine.run(&format!(
            "systemd-analyze security --no-pager {unit}.service | tail -n 1"
        ))?;
        say(format!("    systemd-analyze security: {}", exposure.trim()));
    }
    Ok(())
}

/// What was packed, and the same as its next version.
fn both_versions(trial: &Trial<'_>, folder: &Path) -> Result<()> {
    let architecture = &trial.names.deb;
    for package in [
        contents::agent(&trial.packed.agent, System::Debian)?,
        contents::bridge(trial.bridge, System::Debian)?,
    ] {
        for package in [next_version(&package), package] {
            let name = format!("{}_{}_{architecture}.deb", package.name, package.version);
            std::fs::write(folder.join(name), deb::write(&package, architecture)?)?;
        }
    }
    Ok(())
}
