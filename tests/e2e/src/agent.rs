//! A real agent of this machine with a state directory of its own. Never touches another's.

use crate::binaries::Binaries;
use crate::bridge::Activation;
use crate::process::{Exit, Running};
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// How an agent is run.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Further arguments of `run`.
    pub more: Vec<String>,
    /// Words before the program, such as those that put it into a network of its own.
    pub wrapper: Vec<String>,
    /// Environment on top of this process's.
    pub environment: Vec<(String, String)>,
    /// Where its log goes; `None`: to this process's standard error.
    pub log: Option<PathBuf>,
}

/// An agent, registered or not, running or not.
#[derive(Debug)]
pub struct Agent {
    binaries: Binaries,
    state_dir: PathBuf,
    options: AgentOptions,
    running: Option<Running>,
}

impl Agent {
    /// An agent on a state directory, which need not exist.
    #[must_use]
    pub fn new(binaries: &Binaries, state_dir: &Path, options: AgentOptions) -> Self {
        Self {
            binaries: binaries.clone(),
            state_dir: state_dir.to_owned(),
            options,
            running: None,
        }
    }

    /// Its state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Runs one of its verbs on the state directory.
    ///
    /// # Errors
    /// When it cannot be started; a failed verb is in [`Exit`].
    pub fn verb(&self, arguments: &[&str]) -> Result<Exit> {
        let mut command = self.command();
        Exit::of(
            command
                .args(arguments)
                .arg("--state-dir")
                .arg(&self.state_dir),
        )
    }

    fn command(&self) -> Command {
        let mut words = self.options.wrapper.iter();
        let mut command = match words.next() {
            Some(first) => Command::new(first),
            None => Command::new(&self.binaries.agent),
        };
        if !self.options.wrapper.is_empty() {
            command.args(words).arg(&self.binaries.agent);
        }
        command.envs(self.options.environment.iter().cloned());
        command
    }

    /// Registers with a bridge; returns the node id.
    ///
    /// # Errors
    /// When it was refused.
    pub fn register(&self, bridge: SocketAddr, activation: &Activation) -> Result<String> {
        let bridge = format!("mqtts://{bridge}");
        let arguments = [
            "register",
            "--json",
            "--bridge",
            &bridge,
            "--activation-id",
            &activation.id,
            "--activation-code",
            &activation.code,
            "--ca-sha256",
            &activation.ca_sha256,
        ];
        let printed = self.verb(&arguments)?.success()?;
        let printed: Value = serde_json::from_str(&printed)
            .with_context(|| format!("register printed {printed}"))?;
        Ok(printed
            .get("node_id")
            .and_then(Value::as_str)
            .context("node_id")?
            .to_owned())
    }

    /// Starts `run`.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.running.is_some() {
            bail!("the agent runs already");
        }
        let mut command = self.command();
        command
            .arg("run")
            .arg("--state-dir")
            .arg(&self.state_dir)
            .args(&self.options.more)
            .stdout(Stdio::null());
        if let Some(log) = &self.options.log {
            command.stderr(
                std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(log)?,
            );
        }
        self.running = Some(Running::start(&mut command)?);
        Ok(())
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Running::id)
    }

    /// Whether it has ended by itself, and how.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.running.as_mut().map_or(Ok(None), Running::ended)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |mut running| running.kill())
    }

    /// Asks it to stop, for [`Self::stop`] to wait for: of many, each ends while the others do.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn ask_to_stop(&mut self) -> Result<()> {
        if self.ended()?.is_none()
            && let Some(running) = &self.running
        {
            running.signal(Signal::TERM)?;
        }
        Ok(())
    }

    /// Stops it as an init system would.
    ///
    /// # Errors
    /// When it cannot be signalled or reaped.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        self.running
            .take()
            .map(|mut running| running.stop())
            .transpose()
    }

    /// `status --json`.
    ///
    /// # Errors
    /// When the verb failed.
    pub fn status(&self) -> Result<Value> {
        let printed = self.verb(&["status", "--json"])?.success()?;
        serde_json::from_str(&printed).with_context(|| format!("status printed {printed}"))
    }
}
