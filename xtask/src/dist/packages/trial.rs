//! Tries packages where they are meant for: installed, upgraded over a changed configuration,
//! removed, in a real Debian system and with a real RPM database; and asks each system's own critic.
//! Never touches this machine's packages.

use super::next_version;
use crate::install::{self, Wanted};
use crate::say;
use anyhow::{Context as _, Result, ensure};
use holdfast_cross::package::contents::{self, Subject, System};
use holdfast_cross::package::{deb, rpm as rpm_package};
use std::path::Path;
use std::process::Command;

const TOOLS: &[Wanted] = &[
    ("lintian", "reads the deb packages as Debian would"),
    ("rpmlint", "reads the rpm packages as Fedora would"),
    ("rpm", "installs the rpm packages into a root of their own"),
    (
        "mmdebstrap",
        "makes the Debian system that the deb packages are tried in",
    ),
    ("busybox-static", "is the shell of the RPM root"),
];
/// The release that packages are tried on.
const SUITE: &str = "bookworm";
const ENVIRONMENT: &str = "etc/holdfast/agent.env";
const CHANGED: &str = "HOLDFAST_LOG=debug\n";

/// What a command printed.
fn ask(command: &mut Command) -> Result<String> {
    let output = command
        .env("LC_ALL", "C.UTF-8")
        .output()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    Ok(text)
}

/// Asks lintian and rpmlint for errors.
///
/// # Errors
/// With the errors found.
pub(super) fn lint<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    install::debian(TOOLS)?;
    let names: Vec<&str> = names.collect();
    let of = |suffix: &str| {
        names
            .iter()
            .filter(|name| name.ends_with(suffix))
            .collect::<Vec<_>>()
    };
    ask(Command::new("lintian")
        .args([
            "--fail-on",
            "error",
            "--tag-display-limit",
            "0",
            "--allow-root",
        ])
        .args(of(".deb"))
        .current_dir(folder))?;
    let settings = tempfile::Builder::new().suffix(".toml").tempfile()?;
    std::fs::write(&settings, RPMLINT)?;
    let found = ask(Command::new("rpmlint")
        .arg("--config")
        .arg(settings.path())
        .args(of(".rpm"))
        .current_dir(folder))?;
    say(format!(
        "    lintian: no error; rpmlint: {}",
        found.lines().last().unwrap_or_default().trim()
    ));
    Ok(())
}

/// What rpmlint is told to pass over, and why.
const RPMLINT: &str = "\
Filters = [
    # One file that runs on any kernel and any C library is what these packages are for.
    'statically-linked-binary',
    # The checksums of all packages are signed together, by a key that is not in this house.
    'no-signature',
    # Programs are linked at fixed addresses: the linker of this road writes no other static ones.
    'position-independent-executable-suggested',
    'non-position-independent-executable',
]
";

/// Installs, upgrades, removes and purges the agent in a Debian system of its own.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn debian(root: &Path, agent: &Subject, architecture: &str) -> Result<()> {
    let packed = root
        .join("target")
        .join("tools")
        .join(format!("{SUITE}-{architecture}.tar"));
    if !packed.is_file() {
        crate::cargo::run(
            "a Debian system to try the packages in",
            Command::new("mmdebstrap")
                .args([
                    "--quiet",
                    "--variant=essential",
                    "--architectures",
                    architecture,
                    SUITE,
                ])
                .arg(&packed),
        )?;
    }
    let system = tempfile::tempdir()?;
    ask(Command::new("tar")
        .arg("-xf")
        .arg(&packed)
        .arg("-C")
        .arg(system.path())
        .args(["--exclude=./dev/*"]))?;
    let package = contents::agent(agent, System::Debian)?;
    for (name, package) in [("one.deb", &package), ("two.deb", &next_version(&package))] {
        std::fs::write(system.path().join(name), deb::write(package, architecture)?)?;
    }
    let within = |words: &[&str]| ask(Command::new("chroot").arg(system.path()).args(words));
    let exists = |path: &str| system.path().join(path).exists();
    within(&["dpkg", "--install", "/one.deb"])?;
    let version = within(&["holdfast-agent", "--version"])?;
    ensure!(version.starts_with("holdfast-agent "), "{version}");
    std::fs::write(system.path().join(ENVIRONMENT), CHANGED)?;
    std::fs::create_dir_all(system.path().join("var/lib/holdfast"))?;
    within(&["dpkg", "--force-confold", "--install", "/two.deb"])?;
    let shown = within(&["dpkg-query", "-W", "-f=${Version}", "holdfast-agent"])?;
    ensure!(
        shown == next_version(&package).version,
        "after the upgrade: {shown}"
    );
    ensure!(
        std::fs::read_to_string(system.path().join(ENVIRONMENT))? == CHANGED,
        "the upgrade took the user's configuration"
    );
    let changed = within(&["dpkg", "--verify", "holdfast-agent"])?;
    ensure!(
        changed.trim().ends_with(ENVIRONMENT) && changed.lines().count() == 1,
        "dpkg --verify: {changed}"
    );
    within(&["dpkg", "--remove", "holdfast-agent"])?;
    ensure!(
        !exists("usr/bin/holdfast-agent") && exists(ENVIRONMENT) && exists("var/lib/holdfast"),
        "removed: the program goes, the configuration and the node's identity stay"
    );
    within(&["dpkg", "--purge", "holdfast-agent"])?;
    ensure!(
        !exists("etc/holdfast") && !exists("var/lib/holdfast"),
        "purged: nothing stays"
    );
    say("    deb: installed, upgraded over a changed configuration, verified, removed, purged");
    Ok(())
}

/// Installs, upgrades and removes the agent with an RPM database of its own.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn rpm(agent: &Subject, architecture: &str) -> Result<()> {
    let system = tempfile::tempdir()?;
    std::fs::create_dir_all(system.path().join("bin"))?;
    for shell in ["sh", "rm"] {
        std::fs::copy("/bin/busybox", system.path().join("bin").join(shell))
            .context("busybox-static")?;
    }
    let package = contents::agent(agent, System::Rpm)?;
    for (name, package) in [("one.rpm", &package), ("two.rpm", &next_version(&package))] {
        std::fs::write(
            system.path().join(name),
            rpm_package::write(package, architecture)?,
        )?;
    }
    let rpm = |words: &[&str]| {
        ask(Command::new("rpm")
            .arg("--root")
            .arg(system.path())
            .args(["--dbpath", "/var/lib/rpm"])
            .args(words))
    };
    let path = |name: &str| system.path().join(name).display().to_string();
    let exists = |name: &str| system.path().join(name).exists();
    rpm(&["--initdb"])?;
    let digests = ask(Command::new("rpm")
        .args(["-K", "--nosignature"])
        .arg(path("one.rpm")))?;
    ensure!(
        digests.trim_end().ends_with("digests OK"),
        "rpm -K: {digests}"
    );
    // The shell is there, and no package says so.
    rpm(&["--install", "--nodeps", &path("one.rpm")])?;
    let version = ask(Command::new("chroot")
        .arg(system.path())
        .args(["/usr/bin/holdfast-agent", "--version"]))?;
    ensure!(version.starts_with("holdfast-agent "), "{version}");
    std::fs::write(system.path().join(ENVIRONMENT), CHANGED)?;
    rpm(&["--upgrade", "--nodeps", &path("two.rpm")])?;
    let shown = rpm(&["--query", "--queryformat", "%{VERSION}", "holdfast-agent"])?;
    ensure!(
        shown == next_version(&package).version,
        "after the upgrade: {shown}"
    );
    ensure!(
        std::fs::read_to_string(system.path().join(ENVIRONMENT))? == CHANGED,
        "the upgrade took the user's configuration"
    );
    rpm(&["--erase", "--nodeps", "holdfast-agent"])?;
    ensure!(
        !exists("usr/bin/holdfast-agent"),
        "erased: the program goes"
    );
    say("    rpm: digests good, installed, upgraded over a changed configuration, erased");
    Ok(())
}
