//! What a machine is made of: kernel, modules, busybox, agent. Never fetches or builds them.

use anyhow::{Context as _, Result};
use holdfast_e2e::say;
use std::path::{Path, PathBuf};

/// The folder of parts; `cargo xtask guest` sets it.
const VARIABLE: &str = "HOLDFAST_GUEST_DIR";

/// Kernel modules, each after those that it needs. ext4 and the console are built in.
pub const MODULES: [&str; 8] = [
    "virtio",
    "virtio_ring",
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "failover",
    "net_failover",
    "virtio_net",
];

/// A folder with the parts of a machine.
#[derive(Debug, Clone)]
pub struct Parts(PathBuf);

impl Parts {
    /// The folder that the chore has filled. `None`, with a line that says so, when this is not run
    /// by the chore: the agent in there would be of another day.
    #[must_use]
    pub fn find(test: &str) -> Option<Self> {
        let found = std::env::var_os(VARIABLE).map(|folder| Self(folder.into()));
        if found.is_none() {
            say(format!(
                "{test}: not run, it needs a machine: `cargo xtask guest` makes one"
            ));
        }
        found
    }

    /// The kernel's image.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.0.join("vmlinuz")
    }

    /// A kernel module.
    ///
    /// # Errors
    /// When it is not there.
    pub fn module(&self, name: &str) -> Result<Vec<u8>> {
        read(&self.0.join("modules").join(format!("{name}.ko")))
    }

    /// busybox.
    ///
    /// # Errors
    /// When it is not there.
    pub fn busybox(&self) -> Result<Vec<u8>> {
        read(&self.0.join("busybox"))
    }

    /// The agent for the machine's processor.
    ///
    /// # Errors
    /// When it is not there.
    pub fn agent(&self) -> Result<Vec<u8>> {
        read(&self.0.join("holdfast-agent"))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}: `cargo xtask guest` makes it", path.display()))
}
