//! The tarballs in a running system with systemd: docs/install/tarball.md, command by command.

use super::{CHANGED, ENVIRONMENT, Machine, Trial};
use super::{fill_activation, gone, next_number, next_version, serving, system};
use crate::say;
use anyhow::{Result, ensure};
use holdfast_cross::package::contents::{self, System};
use holdfast_cross::package::tarball;

/// Installs, registers, upgrades and removes agent and bridge.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn run(trial: &Trial<'_>) -> Result<()> {
    let packages = tempfile::tempdir()?;
    for package in [
        contents::agent(&trial.packed.agent, System::Rpm)?,
        contents::bridge(trial.bridge, System::Rpm)?,
    ] {
        for package in [next_version(&package), package] {
            let target = super::super::super::native_triple();
            let name = format!("{}-{}-{target}.tar.gz", package.name, package.version);
            std::fs::write(packages.path().join(name), tarball::write(&package)?)?;
        }
    }
    let machine = Machine::boot(
        &system::debian(trial.root)?,
        packages.path(),
        "systemctl is-active multi-user.target",
    )?;
    let mut page = trial.page("tarball.md", "")?;
    let printed = machine.follow(&page, "The bridge")?;
    fill_activation(&mut page, &printed)?;
    machine.follow(&page, "The agent")?;
    serving(&machine)?;
    std::fs::write(machine.path(ENVIRONMENT), CHANGED)?;
    page.fill("VERSION", &next_number(&trial.packed.agent.version));
    machine.follow(&page, "Upgrade")?;
    serving(&machine)?;
    ensure!(
        std::fs::read_to_string(machine.path(ENVIRONMENT))? == CHANGED,
        "the upgrade took the user's configuration"
    );
    machine.follow(&page, "Remove")?;
    gone(&machine)?;
    ensure!(
        !machine.has("/usr/bin/holdfast-bridge")
            && machine.run("pgrep -x holdfast-bridge").is_err(),
        "the bridge is still there, or runs"
    );
    say("    tarball: docs/install/tarball.md, in a running Debian");
    Ok(())
}
