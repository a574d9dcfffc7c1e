//! The demo's bridge, agents and link, and what they have found so far.
//! Never decides whether the main job was shown: that is `once`.

use crate::{say, tidy};
use anyhow::{Context as _, Result};
use holdfast_e2e::{
    AccessKey, Agent, AgentOptions, Api, Binaries, Bridge, BridgeOptions, Link, until,
};
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long the first inventory and patch scan may take, in an unoptimised build on a busy machine.
const FIRST_REPORTS: Duration = Duration::from_secs(180);

pub(super) struct Fleet {
    pub(super) api: Api,
    pub(super) link: Link,
    pub(super) nodes: Vec<String>,
    environment: PathBuf,
    agents: Vec<Agent>,
    bridge: Bridge,
    folder: TempDir,
}

impl Fleet {
    pub(super) fn start(agents: usize) -> Result<Self> {
        let binaries = Binaries::find()?;
        let root = tidy::workspace_root()?.join("target").join("demo");
        std::fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        let folder = TempDir::with_prefix_in("run-", &root)?;
        say("==> starting the bridge (embedded MQTT endpoint, SQLite)");
        let log = |name: &str| Some(folder.path().join(format!("{name}.log")));
        let options = BridgeOptions {
            log: log("bridge"),
            ..BridgeOptions::default()
        };
        let bridge = Bridge::start(&binaries, &folder.path().join("bridge"), options)?;
        let key = bridge.access_key("demo")?;
        let api = Api::new(bridge.http, key.clone());
        let link = Link::to(bridge.mqtt)?;
        let limit = agents.to_string();
        let activation = bridge.activation(&[
            "--limit",
            &limit,
            "--name",
            "demo",
            "--tag",
            "Environment=demo",
        ])?;
        say(format!(
            "==> registering {agents} agent(s) of this machine over MQTT and TLS"
        ));
        let mut fleet_agents = Vec::new();
        let mut nodes = Vec::new();
        for number in 1..=agents {
            let options = AgentOptions {
                log: log(&format!("agent-{number}")),
                ..AgentOptions::default()
            };
            let mut agent = Agent::new(
                &binaries,
                &folder.path().join(format!("agent-{number}")),
                options,
            );
            nodes.push(agent.register(link.address(), &activation)?);
            agent.start()?;
            fleet_agents.push(agent);
        }
        let environment = folder.path().join("aws.env");
        write_environment(&environment, &bridge, &key)?;
        Ok(Self {
            api,
            link,
            nodes,
            environment,
            agents: fleet_agents,
            bridge,
            folder,
        })
    }

    /// Waits for the first reports and prints what a newcomer wants to know.
    pub(super) fn show(&self) -> Result<()> {
        say("==> waiting for the first inventory and patch scan");
        for node in &self.nodes {
            self.show_node(node)?;
        }
        say(format!("\nAPI      http://{}", self.bridge.http));
        say(format!(
            "MQTT     {} (through the link at {})",
            self.bridge.mqtt,
            self.link.address()
        ));
        say(format!("logs     {}", self.folder.path().display()));
        say("\nUse the AWS CLI (`pip install awscli`) on it:");
        say(format!("  source {}", self.environment.display()));
        say("  aws ssm describe-instance-information");
        if let Some(node) = self.nodes.first() {
            say(format!(
                "  aws ssm send-command --document-name AWS-RunShellScript --instance-ids {node} --parameters commands=uptime"
            ));
        }
        Ok(())
    }

    fn show_node(&self, node: &str) -> Result<()> {
        let packages = until("the first inventory is here", FIRST_REPORTS, || {
            let input =
                json!({"InstanceId": node, "TypeName": "AWS:Application", "MaxResults": 50});
            let answer = self.api.call("ListInventoryEntries", &input)?;
            let entries = answer
                .get("Entries")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            Ok((entries > 0).then_some(entries))
        })?;
        let patches = until("the first patch scan is here", FIRST_REPORTS, || {
            let answer = self.api.call(
                "DescribeInstancePatchStates",
                &json!({"InstanceIds": [node]}),
            )?;
            Ok(answer.pointer("/InstancePatchStates/0").cloned())
        })?;
        let count = |name: &str| {
            patches
                .get(name)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        say(format!(
            "{node}: online; inventory here ({packages} or more packages); patches: {} missing, {} installed, {} other",
            count("MissingCount"),
            count("InstalledCount"),
            count("InstalledOtherCount"),
        ));
        Ok(())
    }

    /// Stops agents and bridge as an init system would; the folder goes with `self`.
    pub(super) fn stop(mut self) -> Result<()> {
        say("==> stopping");
        for agent in &mut self.agents {
            agent.ask_to_stop()?;
        }
        for agent in &mut self.agents {
            agent.stop()?;
        }
        self.bridge.stop()
    }
}

/// The environment that points the AWS CLI at the bridge; it holds a secret, so only the owner reads it.
fn write_environment(path: &Path, bridge: &Bridge, key: &AccessKey) -> Result<()> {
    let mut file = std::fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    writeln!(file, "export AWS_ACCESS_KEY_ID={}", key.id)?;
    writeln!(file, "export AWS_SECRET_ACCESS_KEY={}", key.secret)?;
    writeln!(file, "export AWS_DEFAULT_REGION=eu-central-1")?;
    writeln!(file, "export AWS_ENDPOINT_URL_SSM=http://{}", bridge.http)?;
    writeln!(file, "unset AWS_PROFILE AWS_SESSION_TOKEN")?;
    Ok(())
}
