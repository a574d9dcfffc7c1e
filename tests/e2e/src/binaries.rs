//! Finds the two programs that this build made. Never builds them.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `holdfast-agent`.
    pub agent: PathBuf,
    /// `holdfast-bridge`.
    pub bridge: PathBuf,
}

impl Binaries {
    /// `HOLDFAST_BIN_DIR`, else the folder of the profile that the caller was built with. The agent may be
    /// another, such as the one that is shipped: `HOLDFAST_AGENT`.
    ///
    /// # Errors
    /// When a program is not there: says how to build it.
    pub fn find() -> Result<Self> {
        let folder = match std::env::var_os("HOLDFAST_BIN_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => {
                let exe = std::env::current_exe().context("the path of this program")?;
                // A test stands in target/<profile>/deps, a chore in target/<profile>.
                let folder = exe.parent().context("the folder of this program")?;
                if folder.ends_with("deps") {
                    folder.parent().unwrap_or(folder).to_owned()
                } else {
                    folder.to_owned()
                }
            }
        };
        let found = Self::within(&folder)?;
        Ok(match std::env::var_os("HOLDFAST_AGENT") {
            Some(agent) => Self {
                agent: agent.into(),
                ..found
            },
            None => found,
        })
    }

    /// The programs of a folder.
    ///
    /// # Errors
    /// When a program is not there: says how to build it.
    pub fn within(folder: &std::path::Path) -> Result<Self> {
        let [agent, bridge] = ["holdfast-agent", "holdfast-bridge"].map(|name| folder.join(name));
        for program in [&agent, &bridge] {
            if !program.is_file() {
                bail!(
                    "{} is not built: run `cargo build -p holdfast-agent -p holdfast-bridge`",
                    program.display()
                );
            }
        }
        Ok(Self { agent, bridge })
    }
}
