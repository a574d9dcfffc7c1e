//! One command to a fleet of cores over real TLS: from SendCommand until its last result can be seen.
//! Never with a step's process: the bridge and the wire are measured, not a shell.

use crate::enrol::enrol_fleet;
use crate::ground::Ground;
use crate::measure::{largest, median};
use crate::swarm::Swarm;
use crate::table::Row;
use anyhow::{Context as _, Result};
use holdfast_e2e::{Api, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(300);

/// Sends one command to all, and waits until the bridge shows every result.
fn send(api: &Api, concurrency: &str, nodes: usize) -> Result<f64> {
    let input = json!({
        "DocumentName": "AWS-RunShellScript",
        "Targets": [{"Key": "tag:Fleet", "Values": ["swarm"]}],
        "Parameters": {"commands": ["true"]},
        "MaxConcurrency": concurrency,
    });
    let started = Instant::now();
    let sent = api.call("SendCommand", &input)?;
    let id = sent.pointer("/Command/CommandId").and_then(Value::as_str);
    let input = json!({"CommandId": id.context("CommandId")?});
    let command = until("the last result is here", LIMIT, || {
        let listed = api.call("ListCommands", &input)?;
        let command = listed.pointer("/Commands/0").cloned();
        Ok(command.filter(|command| count(command, "CompletedCount") >= nodes as u64))
    })?;
    let took = started.elapsed().as_secs_f64();
    let (targets, errors) = (
        count(&command, "TargetCount"),
        count(&command, "ErrorCount"),
    );
    anyhow::ensure!(
        targets == nodes as u64 && errors == 0,
        "{targets} targets and {errors} errors on {nodes} nodes"
    );
    Ok(took)
}

fn count(command: &Value, name: &str) -> u64 {
    command
        .get(name)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let nodes: usize = ground.or_quick(500, 100);
    let rounds = ground.or_quick(5, 2);
    let folder = ground.folder()?;
    let mut bridge = ground.bridge(&folder)?;
    let api = bridge.api()?;
    let runtime = &ground.runtime;
    let identities = runtime.block_on(enrol_fleet(&bridge, nodes, &["--tag", "Fleet=swarm"]))?;
    let swarm = {
        let _entered = runtime.enter();
        Swarm::start(bridge.mqtt, &identities)?
    };
    runtime.block_on(swarm.all_online(LIMIT))?;
    let mut rows = Vec::new();
    for concurrency in ["100%", "50"] {
        let mut took = Vec::new();
        for _ in 0..rounds {
            took.push(send(&api, concurrency, nodes)?);
        }
        rows.push(
            Row::new(
                format!("fan-out to {nodes} nodes, MaxConcurrency {concurrency}"),
                "s",
                median(&took)?,
            )
            .noted(format!(
                "SendCommand to last result shown, median of {rounds}; longest {:.2} s",
                largest(&took)
            )),
        );
    }
    let expected = (nodes * rounds * 2) as u64;
    anyhow::ensure!(
        swarm.runs() == expected,
        "{} steps were run, {expected} were sent: each command runs once",
        swarm.runs()
    );
    runtime.block_on(swarm.stop())?;
    bridge.stop()?;
    Ok(rows)
}
