//! The real bridge on loopback, and its command line. Never reads its database.

use crate::api::Api;
use crate::binaries::Binaries;
use crate::process::{Exit, Running};
use crate::wait::told;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

/// How a bridge is started.
#[derive(Debug, Clone)]
pub struct BridgeOptions {
    /// `--http`.
    pub http: String,
    /// `--mqtt`.
    pub mqtt: String,
    /// Further arguments of `serve`.
    pub more: Vec<String>,
    /// Where its log goes; `None`: to this process's standard error.
    pub log: Option<PathBuf>,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            http: "127.0.0.1:0".into(),
            mqtt: "127.0.0.1:0".into(),
            more: Vec::new(),
            log: None,
        }
    }
}

/// An access key of the API.
#[derive(Clone)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessKey({})", self.id)
    }
}

/// What `activation create` printed.
#[derive(Debug, Clone)]
pub struct Activation {
    /// Its id.
    pub id: String,
    /// Its code.
    pub code: String,
    /// SHA-256 of the bridge's root certificate.
    pub ca_sha256: String,
}

/// A running bridge.
#[derive(Debug)]
pub struct Bridge {
    binaries: Binaries,
    state_dir: PathBuf,
    options: BridgeOptions,
    running: Running,
    /// Where the API listens.
    pub http: SocketAddr,
    /// Where the endpoint listens.
    pub mqtt: SocketAddr,
}

impl Bridge {
    /// Starts a bridge and waits until it serves.
    ///
    /// # Errors
    /// When it ends before it serves.
    pub fn start(binaries: &Binaries, state_dir: &Path, options: BridgeOptions) -> Result<Self> {
        let (running, http, mqtt) = serve(binaries, state_dir, &options)?;
        // A restart keeps its addresses, as a real one would.
        let options = BridgeOptions {
            http: http.to_string(),
            mqtt: mqtt.to_string(),
            ..options
        };
        Ok(Self {
            binaries: binaries.clone(),
            state_dir: state_dir.to_owned(),
            options,
            running,
            http,
            mqtt,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// Its state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(&mut self) -> Result<()> {
        self.running.kill()
    }

    /// Stops it as an operator would, and says whether it ended well.
    ///
    /// # Errors
    /// When it ended otherwise than well.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.running.stop()?;
        if !status.success() {
            bail!("the bridge ended with {status}");
        }
        Ok(())
    }

    /// Starts it again at the same addresses, on the same state directory.
    ///
    /// # Errors
    /// When it ends before it serves.
    pub fn restart(&mut self) -> Result<()> {
        let (running, http, mqtt) = serve(&self.binaries, &self.state_dir, &self.options)?;
        (self.running, self.http, self.mqtt) = (running, http, mqtt);
        Ok(())
    }

    /// Runs one of its verbs on the state directory.
    ///
    /// # Errors
    /// When it cannot be started; a failed verb is in [`Exit`].
    pub fn verb(&self, arguments: &[&str]) -> Result<Exit> {
        Exit::of(
            Command::new(&self.binaries.bridge)
                .args(arguments)
                .arg("--state-dir")
                .arg(&self.state_dir),
        )
    }

    /// Makes an access key.
    ///
    /// # Errors
    /// When the verb failed or printed something else.
    pub fn access_key(&self, name: &str) -> Result<AccessKey> {
        let printed = self
            .verb(&["access-key", "create", "--name", name])?
            .success()?;
        let value = |name: &str| {
            let line = printed
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(str::to_owned)
                .with_context(|| format!("{name} in what access-key create printed"))
        };
        Ok(AccessKey {
            id: value("AWS_ACCESS_KEY_ID")?,
            secret: value("AWS_SECRET_ACCESS_KEY")?,
        })
    }

    /// A client of the API with a key of its own.
    ///
    /// # Errors
    /// As [`Self::access_key`].
    pub fn api(&self) -> Result<Api> {
        Ok(Api::new(self.http, self.access_key("test")?))
    }

    /// Makes an activation; `more` are further arguments.
    ///
    /// # Errors
    /// When the verb failed or its register line lacks a part.
    pub fn activation(&self, more: &[&str]) -> Result<Activation> {
        let printed = self
            .verb(&[&["activation", "create"], more].concat())?
            .success()?;
        let words: Vec<&str> = printed.split_whitespace().collect();
        let after = |flag: &str| {
            let value = words.windows(2).find_map(|pair| {
                if pair.first() == Some(&flag) {
                    pair.last()
                } else {
                    None
                }
            });
            value
                .map(|value| (*value).to_owned())
                .with_context(|| format!("{flag} in the register line: {printed}"))
        };
        Ok(Activation {
            id: after("--activation-id")?,
            code: after("--activation-code")?,
            ca_sha256: after("--ca-sha256")?,
        })
    }
}

fn serve(
    binaries: &Binaries,
    state_dir: &Path,
    options: &BridgeOptions,
) -> Result<(Running, SocketAddr, SocketAddr)> {
    let mut command = Command::new(&binaries.bridge);
    command
        .arg("serve")
        .arg("--json")
        .arg("--state-dir")
        .arg(state_dir);
    command
        .args(["--http", &options.http, "--mqtt", &options.mqtt])
        .args(&options.more)
        .stdout(Stdio::piped());
    if let Some(log) = &options.log {
        command.stderr(
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(log)?,
        );
    }
    let mut running = Running::start(&mut command)?;
    let stdout = running
        .take_stdout()
        .context("the bridge's standard output")?;
    let (teller, line) = channel();
    std::thread::spawn(move || {
        let mut ready = String::new();
        let read = BufReader::new(stdout).read_line(&mut ready);
        // Nobody listens after an interrupt.
        let _ = teller.send(read.map(|_: usize| ready));
    });
    let ready = told("waiting for the bridge's ready line", &line)?;
    let ready = ready.context("the bridge's ready line")?;
    if ready.is_empty() {
        bail!("the bridge ended before it served: {:?}", running.ended()?);
    }
    let ready: Value = serde_json::from_str(&ready)
        .with_context(|| format!("the bridge's ready line: {ready}"))?;
    let address = |name: &str| -> Result<SocketAddr> {
        let text = ready
            .get(name)
            .and_then(Value::as_str)
            .with_context(|| format!("{name} in {ready}"))?;
        Ok(text.parse()?)
    };
    Ok((running, address("http")?, address("mqtt")?))
}
