//! A bridge, a link to it that can be cut, and agents behind that link, in one folder.
//! Never shares anything with another test; after a failure the folder stays and the logs are shown.

use crate::agent::{Agent, AgentOptions};
use crate::api::Api;
use crate::binaries::Binaries;
use crate::bridge::{Bridge, BridgeOptions};
use crate::link::Link;
use crate::{say, until};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for one thing, in an unoptimised build on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of each log shown after a failure.
const LOG_LINES: usize = 40;

/// An agent that is a node.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// The agent.
    pub agent: Agent,
}

/// What one test has for itself. Fields are dropped in this order: the folder last.
#[derive(Debug)]
pub struct World {
    /// The bridge; it runs.
    pub bridge: Bridge,
    /// A caller of its API.
    pub api: Api,
    /// Between agents and bridge.
    pub link: Link,
    /// The programs.
    pub binaries: Binaries,
    folder: TempDir,
    failed: AtomicBool,
}

impl World {
    /// Starts a bridge and opens the link.
    ///
    /// # Errors
    /// When the programs are not built or the bridge does not serve.
    pub fn start() -> Result<Self> {
        Self::with(BridgeOptions::default())
    }

    /// As [`Self::start`], with options; the log goes into the folder all the same.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn with(options: BridgeOptions) -> Result<Self> {
        Self::of(Binaries::find()?, options)
    }

    /// As [`Self::with`], with programs from anywhere.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn of(binaries: Binaries, options: BridgeOptions) -> Result<Self> {
        let folder = TempDir::with_prefix("holdfast-e2e-")?;
        let options = BridgeOptions {
            log: Some(folder.path().join("bridge.log")),
            ..options
        };
        let bridge = Bridge::start(&binaries, &folder.path().join("bridge"), options)?;
        let api = bridge.api()?;
        let link = Link::to(bridge.mqtt)?;
        Ok(Self {
            bridge,
            api,
            link,
            binaries,
            folder,
            failed: AtomicBool::new(false),
        })
    }

    /// Passes on what a part of a chore came to; an error keeps folder and logs, as a panic does.
    ///
    /// # Errors
    /// The same.
    pub fn seen<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// A path in the folder, for marks and gates.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An agent that is not registered yet.
    #[must_use]
    pub fn stranger(&self, name: &str, options: AgentOptions) -> Agent {
        let options = AgentOptions {
            log: Some(self.path(&format!("{name}.log"))),
            ..options
        };
        Agent::new(&self.binaries, &self.path(name), options)
    }

    /// Registers agents through the link; they do not run yet.
    ///
    /// # Errors
    /// When one was refused.
    pub fn nodes(&self, count: usize, options: &AgentOptions) -> Result<Vec<Node>> {
        let limit = count.to_string();
        let activation = self.bridge.activation(&["--limit", &limit])?;
        (1..=count)
            .map(|number| {
                let agent = self.stranger(&format!("agent-{number}"), options.clone());
                let id = agent.register(self.link.address(), &activation)?;
                Ok(Node { id, agent })
            })
            .collect()
    }

    /// One registered agent that runs and is online.
    ///
    /// # Errors
    /// When it was refused or does not come online.
    pub fn online_node(&self, options: &AgentOptions) -> Result<Node> {
        let mut nodes = self.nodes(1, options)?;
        let mut node = nodes.remove(0);
        node.agent.start()?;
        self.until_online(&node.id, true)?;
        Ok(node)
    }

    /// Waits until the bridge sees a node online, or no longer.
    ///
    /// # Errors
    /// After [`PATIENCE`].
    pub fn until_online(&self, node: &str, wanted: bool) -> Result<()> {
        let what = if wanted { "online" } else { "offline" };
        until(&format!("{node} is {what}"), PATIENCE, || {
            Ok((self.is_online(node)? == wanted).then_some(()))
        })
    }

    /// Whether the bridge sees a node online.
    ///
    /// # Errors
    /// When the API fails.
    pub fn is_online(&self, node: &str) -> Result<bool> {
        let input = json!({"Filters": [{"Key": "InstanceIds", "Values": [node]}]});
        let answer = self.api.call("DescribeInstanceInformation", &input)?;
        let status = answer.pointer("/InstanceInformationList/0/PingStatus");
        Ok(status.and_then(Value::as_str) == Some("Online"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() && !*self.failed.get_mut() {
            return;
        }
        self.folder.disable_cleanup(true);
        say(format!("what is left: {}", self.folder.path().display()));
        let entries = std::fs::read_dir(self.folder.path());
        for entry in entries.into_iter().flatten().flatten() {
            if entry
                .path()
                .extension()
                .is_some_and(|suffix| suffix == "log")
            {
                show_end(&entry.path());
            }
        }
    }
}

fn show_end(log: &Path) {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    say(format!("end of {}:", log.display()));
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
        say(format!("  {line}"));
    }
}
