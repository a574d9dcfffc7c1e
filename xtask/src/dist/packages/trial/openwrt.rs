//! The ipk as opkg would take it, step by step, in a root whose only program is a static busybox,
//! which is what unpacks on OpenWrt too. opkg itself is in no package registry that this chore may
//! use: it has not seen the package.
//! Never relies on what wrote the package: only tar, gzip and sh read it.

use super::{Trial, ask};
use crate::install;
use crate::say;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

/// What an init script of OpenWrt is run by, as far as it goes here: procd's functions only tell
/// what they were told.
const RC_COMMON: &str = "\
#!/bin/sh
for told in open_instance set_param close_instance; do
\teval \"procd_$told() { echo $told \\\"\\$@\\\"; }\"
done
enable() { echo enabled; }
disable() { echo disabled; }
start() { start_service; }
stop() { echo stopped; }
restart() { stop; start; }
. \"$1\"
\"$2\"
";

/// Reads, unpacks and runs the scripts of the agent's package.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn run(trial: &Trial<'_>) -> Result<()> {
    install::debian(&[(
        "busybox-static",
        "is the system that the ipk is unpacked in",
    )])?;
    let names = trial.packed.files.iter().map(|(name, _)| name);
    let name = names.clone().find(|name| name.ends_with(".ipk"));
    let package = trial.folder.join(name.context("an ipk")?);
    let root = tempfile::tempdir()?;
    for folder in ["bin", "etc", "package", "control"] {
        std::fs::create_dir(root.path().join(folder))?;
    }
    std::fs::copy("/bin/busybox", root.path().join("bin/busybox")).context("busybox-static")?;
    std::fs::copy(&package, root.path().join("x.ipk"))?;
    std::fs::write(root.path().join("etc/rc.common"), RC_COMMON)?;
    let within = |line: &str| {
        ask(Command::new("chroot")
            .arg(root.path())
            .args(["/bin/busybox", "sh", "-ec", line]))
    };
    within("/bin/busybox --install -s /bin; chmod 755 /etc/rc.common")?;
    within("tar -xzf x.ipk -C package && tar -xzf package/control.tar.gz -C control")?;
    described(root.path(), trial)?;
    within("tar -xzf package/data.tar.gz -C /")?;
    // An image that is being built runs nothing of its own.
    let said = within("IPKG_INSTROOT=/elsewhere sh control/postinst configure")?;
    ensure!(said.is_empty(), "at the build of an image: {said}");
    let said = within("sh control/postinst configure")?;
    ensure!(said == "enabled\n", "installed: {said}");
    let start = "/etc/init.d/holdfast-agent start";
    ensure!(within(start).is_err(), "started before it is registered");
    within("mkdir -p /etc/holdfast/state && touch /etc/holdfast/state/identity.json")?;
    within(
        "sed -i 's/^HOLDFAST_AGENT_OPTIONS=.*/HOLDFAST_AGENT_OPTIONS=\"--max-running 2\"/' /etc/holdfast/agent.env",
    )?;
    let said = within(start)?;
    ensure!(
        said.contains("set_param command /usr/bin/holdfast-agent run --max-running 2\n")
            && said.contains(
                "set_param env HOLDFAST_LOG=info HOLDFAST_AGENT_STATE_DIR=/etc/holdfast/state\n"
            ),
        "procd is told {said}"
    );
    let said = within("sh control/prerm upgrade 2; PKG_UPGRADE=1 sh control/prerm remove")?;
    ensure!(said.is_empty(), "before an upgrade: {said}");
    let said = within("sh control/postinst configure")?;
    ensure!(
        said.starts_with("enabled\nstopped\nopen_instance"),
        "after an upgrade: {said}"
    );
    let said = within("sh control/prerm remove")?;
    ensure!(said == "stopped\ndisabled\n", "removed: {said}");
    say("    ipk: unpacked and its scripts run as opkg would, by busybox (not by opkg itself)");
    Ok(())
}

/// What opkg reads before it unpacks.
fn described(root: &Path, trial: &Trial<'_>) -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(root.join(name)).context(name.to_owned());
    ensure!(read("package/debian-binary")? == "2.0\n", "debian-binary");
    let control = read("control/control")?;
    for line in [
        "Package: holdfast-agent".to_owned(),
        format!("Version: {}", trial.packed.agent.version),
        format!("Architecture: {}", trial.names.ipk),
    ] {
        ensure!(control.lines().any(|found| found == line), "{control}");
    }
    let kept = read("control/conffiles")?;
    ensure!(kept == "/etc/holdfast/agent.env\n", "conffiles: {kept}");
    Ok(())
}
