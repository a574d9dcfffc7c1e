//! The machine's first file system: a few tools, the agent, and the script that brings it up.
//! Never holds state: that is on the disk.

use crate::cpio::Archive;
use crate::parts::{MODULES, Parts};
use anyhow::Result;

const INIT: &str = include_str!("init.sh");

/// What the script, the agent's steps and the tests call by name.
const APPLETS: &[&str] = &[
    "cat", "echo", "ifconfig", "insmod", "kill", "ls", "mkdir", "mount", "nc", "pidof", "poweroff",
    "seq", "sh", "sleep", "stat", "sync", "umount", "uname", "usleep",
];

/// The archive that the kernel unpacks.
///
/// # Errors
/// When a part is missing.
pub(crate) fn build(parts: &Parts) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "lib", "proc", "state", "sys", "tmp"] {
        archive.directory(folder);
    }
    archive.program("init", INIT.as_bytes());
    archive.program("modules", MODULES.join("\n").as_bytes());
    for module in MODULES {
        archive.program(&format!("lib/{module}.ko"), &parts.module(module)?);
    }
    archive.program("bin/busybox", &parts.busybox()?);
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    archive.program("bin/holdfast-agent", &parts.agent()?);
    Ok(archive.finish())
}
