//! The apk package in a running Alpine, by its own apk and OpenRC: docs/install/apk.md, command by
//! command. There is no apk of the bridge: its program alone runs beside.

use super::{CHANGED, ENVIRONMENT, Machine, Trial};
use super::{fill_activation, next_version, online, system};
use crate::say;
use anyhow::{Context as _, Result, ensure};
use holdfast_cross::package::apk;
use holdfast_cross::package::contents::{self, System};

/// A verb of the bridge that runs beside.
const BRIDGE: &str = "HOLDFAST_BRIDGE_STATE_DIR=/root/bridge /root/holdfast-bridge";
/// What OpenRC says of a service that was stopped or never started.
const STOPPED: &str = "rc-service holdfast-agent status";

/// Installs, registers, upgrades and removes the agent.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn run(trial: &Trial<'_>) -> Result<()> {
    let architecture = &trial.names.apk;
    if architecture != "x86_64" {
        say("    apk: not tried, there is no Alpine system for this processor");
        return Ok(());
    }
    let packages = tempfile::tempdir()?;
    let package = contents::agent(&trial.packed.agent, System::Alpine)?;
    let next = next_version(&package);
    for package in [&package, &next] {
        let name = format!("{}-{}-r0.{architecture}.apk", package.name, package.version);
        std::fs::write(
            packages.path().join(name),
            apk::write(package, architecture)?,
        )?;
    }
    let machine = Machine::boot(
        &system::alpine(trial.root)?,
        packages.path(),
        "rc-status --runlevel | grep -q default",
    )?;
    let program = machine.path("/root/holdfast-bridge");
    std::fs::copy(trial.folder.join("holdfast-bridge"), program).context("the bridge beside")?;
    machine.run("ip link set lo up")?;
    machine.run(&format!(
        "{BRIDGE} serve --public-mqtt 127.0.0.1:8883 > /root/log 2>&1 &"
    ))?;
    let mut page = trial.page("apk.md", architecture)?;
    machine.until("the bridge serves", || {
        Ok(machine.has("/root/bridge/serve.json"))
    })?;
    let printed = machine.run(&format!("{BRIDGE} activation create"))?;
    fill_activation(&mut page, &printed)?;
    machine.follow(&page, "Install")?;
    ensure!(
        machine.run(STOPPED).is_err(),
        "the package started what has nothing to serve"
    );
    machine.follow(&page, "Register and start")?;
    online(&machine, BRIDGE)?;
    upgrade(&machine, &mut page, &next.version)?;
    machine.follow(&page, "Remove")?;
    ensure!(
        !machine.has("/usr/bin/holdfast-agent")
            && !machine.has("/etc/init.d/holdfast-agent")
            && !machine.has("/etc/runlevels/default/holdfast-agent")
            && machine.run("pidof holdfast-agent").is_err(),
        "deleted: nothing runs or lies in the way"
    );
    ensure!(
        machine.has("/var/lib/holdfast/identity.json"),
        "deleted: the node's identity stays"
    );
    say("    apk: docs/install/apk.md, by apk and OpenRC in a running Alpine");
    Ok(())
}

fn upgrade(machine: &Machine, page: &mut super::guide::Page, version: &str) -> Result<()> {
    std::fs::write(machine.path(ENVIRONMENT), CHANGED)?;
    let before = machine.run("pidof holdfast-agent")?;
    page.fill("VERSION", version);
    machine.follow(page, "Upgrade")?;
    let kept = std::fs::read_to_string(machine.path(ENVIRONMENT))?;
    ensure!(
        kept == CHANGED && machine.has(&format!("{ENVIRONMENT}.apk-new")),
        "the upgrade took the user's configuration: {kept}"
    );
    let shown = machine.run("apk list --installed holdfast-agent")?;
    ensure!(shown.contains(version), "after the upgrade: {shown}");
    online(machine, BRIDGE)?;
    let after = machine.run("pidof holdfast-agent")?;
    ensure!(before != after, "the service was not restarted: {before}");
    machine.run("apk audit --system | grep holdfast && exit 1 || true")?;
    Ok(())
}
