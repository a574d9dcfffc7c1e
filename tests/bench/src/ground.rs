//! Where figures are measured: the programs, folders on one disk, a bridge, a runtime for load.
//! Never builds a program, and leaves no folder behind.

use anyhow::{Context as _, Result, bail};
use holdfast_e2e::{Binaries, Bridge, BridgeOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What every figure is given.
pub struct Ground {
    /// The agent as it is shipped, and the bridge.
    pub programs: Binaries,
    /// The journal's own measure.
    pub group_commit: PathBuf,
    /// Fewer rounds, smaller fleets, shorter cuts: to see that everything works.
    pub quick: bool,
    /// Runs load.
    pub runtime: Runtime,
    folder: PathBuf,
}

impl Ground {
    /// Finds the programs in a `target` folder; the agent may be elsewhere.
    ///
    /// # Errors
    /// When one is not there: says how to build it.
    pub fn new(target: &Path, agent: Option<PathBuf>, quick: bool) -> Result<Self> {
        let programs = Binaries {
            agent: agent.unwrap_or_else(|| target.join("agent/holdfast-agent")),
            bridge: target.join("release/holdfast-bridge"),
        };
        let group_commit = target.join("release/examples/group_commit");
        for program in [&programs.agent, &programs.bridge, &group_commit] {
            if !program.is_file() {
                bail!(
                    "{} is not built: `cargo xtask bench` builds it",
                    program.display()
                );
            }
        }
        let folder = target.join("bench");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self {
            programs,
            group_commit,
            quick,
            runtime,
            folder,
        })
    }

    /// An empty folder on the disk that all figures share.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> Result<TempDir> {
        Ok(TempDir::with_prefix_in("run-", &self.folder)?)
    }

    /// Starts a bridge whose state and log are in a folder.
    ///
    /// # Errors
    /// When it ends before it serves.
    pub fn bridge(&self, folder: &TempDir) -> Result<Bridge> {
        let options = BridgeOptions {
            log: Some(folder.path().join("bridge.log")),
            ..BridgeOptions::default()
        };
        Bridge::start(&self.programs, &folder.path().join("bridge"), options)
    }

    /// One of two values, the second in a quick run.
    pub fn or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Tells the person who waits how far it is.
    pub fn tell(&self, what: impl std::fmt::Display) {
        // Nobody may be listening.
        let _ = writeln!(std::io::stderr(), "    {what}");
    }
}
