//! Real agents behind a link that is cut: from its return until the bridge has acknowledged everything.
//! Never ends a cut before every result waits in the outbox.

use crate::ground::Ground;
use crate::measure::{largest, median};
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result};
use holdfast_e2e::{Agent, AgentOptions, Api, Bridge, Link, until};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Commands that each agent holds when the link is cut; each leaves four records, of which those
/// of the four that run already have left one behind.
const COMMANDS: usize = 26;
const RECORDS: u64 = 100;
const LIMIT: Duration = Duration::from_secs(180);

struct Fleet {
    api: Api,
    link: Link,
    agents: Vec<(String, Agent)>,
    bridge: Bridge,
    folder: TempDir,
}

impl Fleet {
    fn start(ground: &Ground, agents: usize) -> Result<Self> {
        let folder = ground.folder()?;
        let bridge = ground.bridge(&folder)?;
        let api = bridge.api()?;
        let link = Link::to(bridge.mqtt)?;
        let limit = agents.to_string();
        let activation = bridge.activation(&["--limit", &limit])?;
        let mut fleet = Vec::new();
        for number in 1..=agents {
            let at = folder.path().join(format!("agent-{number}"));
            let options = AgentOptions {
                log: Some(at.with_extension("log")),
                ..AgentOptions::default()
            };
            let mut agent = Agent::new(&ground.programs, &at, options);
            let node = agent.register(link.address(), &activation)?;
            agent.start()?;
            fleet.push((node, agent));
        }
        let fleet = Self {
            api,
            link,
            agents: fleet,
            bridge,
            folder,
        };
        for (_, agent) in &fleet.agents {
            until("an agent is online and has told everything", LIMIT, || {
                Ok(agent.status().ok().filter(is_drained))
            })?;
        }
        Ok(fleet)
    }

    /// Sends commands that wait for a file and then write to both outputs.
    fn send(&self, go: &Path) -> Result<()> {
        let nodes: Vec<_> = self.agents.iter().map(|(node, _)| node).collect();
        let go = go.display();
        let script = format!("while [ ! -e {go} ]; do sleep 0.2; done; echo out; echo err >&2");
        for _ in 0..COMMANDS {
            let input = json!({
                "DocumentName": "AWS-RunShellScript",
                "InstanceIds": nodes,
                "Parameters": {"commands": [script]},
                "MaxConcurrency": "100%",
            });
            self.api.call("SendCommand", &input)?;
        }
        for (_, agent) in &self.agents {
            until("an agent holds all commands", LIMIT, || {
                Ok((held(&agent.status()?) == COMMANDS).then_some(()))
            })?;
        }
        Ok(())
    }

    /// One cut; seconds from the link's return until each agent is drained.
    fn cut(&self, number: usize, cut: Duration) -> Result<Vec<f64>> {
        let go = self.folder.path().join(format!("go-{number}"));
        self.send(&go)?;
        let began = Instant::now();
        self.link.cut();
        std::fs::write(&go, "")?;
        for (_, agent) in &self.agents {
            until("all results wait in the outbox", LIMIT, || {
                let status = agent.status()?;
                let waits = waiting(&status) >= RECORDS && held(&status) == 0;
                Ok(waits.then_some(()))
            })?;
        }
        std::thread::sleep(cut.saturating_sub(began.elapsed()));
        let restored = Instant::now();
        self.link.restore();
        let mut took = vec![None; self.agents.len()];
        until("every agent is drained", LIMIT, || {
            for ((_, agent), took) in self.agents.iter().zip(&mut took) {
                if took.is_none() && is_drained(&agent.status()?) {
                    *took = Some(restored.elapsed().as_secs_f64());
                }
            }
            Ok(took.iter().copied().collect::<Option<Vec<f64>>>())
        })
    }

    fn stop(mut self) -> Result<()> {
        for (_, agent) in &mut self.agents {
            agent.stop()?;
        }
        self.bridge.stop()
    }
}

fn number(status: &Value, path: &str) -> u64 {
    status.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// Records of stream *result* that the bridge has not acknowledged.
fn waiting(status: &Value) -> u64 {
    number(status, "/queues/0/head").saturating_sub(number(status, "/queues/0/acked"))
}

fn held(status: &Value) -> usize {
    let commands = status.pointer("/commands").and_then(Value::as_array);
    commands.map_or(usize::MAX, Vec::len)
}

fn is_drained(status: &Value) -> bool {
    status.pointer("/link/state").and_then(Value::as_str) == Some("Online") && waiting(status) == 0
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let agents: usize = ground.or_quick(5, 3);
    let fleet = Fleet::start(ground, agents)?;
    let cuts = ground.or_quick([(5, 4), (180, 1)], [(5, 1), (15, 1)]);
    let (mut rows, mut number) = (Vec::new(), 0);
    for (seconds, rounds) in cuts {
        let mut took = Vec::new();
        for _ in 0..rounds {
            number += 1;
            ground.tell(format!("cut {number}, of {seconds} s"));
            took.extend(
                fleet
                    .cut(number, Duration::from_secs(seconds))
                    .context("a cut")?,
            );
        }
        rows.push(
            Row::new(format!("drained after a cut of {seconds} s"), "s", median(&took)?)
                .within(Budget::AtMost(5.0))
                .noted(format!(
                    "{RECORDS} records an agent, {agents} agents, {rounds} cuts; median, longest {:.2} s",
                    largest(&took)
                )),
        );
    }
    fleet.stop()?;
    Ok(rows)
}
