//! The main job, step by step, each seen to work: run, cut, queue, restore, deliver, scan.
//! Never goes on after a step that was not seen.

use super::fleet::Fleet;
use crate::say;
use anyhow::{Context as _, Result, ensure};
use holdfast_e2e::until;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn main_job(fleet: &Fleet) -> Result<()> {
    let node = fleet.nodes.first().context("a node")?;
    say("\n==> a command while the link is up");
    let command = send(
        fleet,
        node,
        "AWS-RunShellScript",
        &json!({"commands": ["uname -sr"]}),
    )?;
    let invocation = finished(fleet, &command, node)?;
    expect(&invocation, "Status", "Success")?;
    say(format!(
        "    Success: {}",
        text(&invocation, "StandardOutputContent").trim()
    ));

    say("==> the link is cut, and a command sent");
    fleet.link.cut();
    offline(fleet, node)?;
    let mark = tempfile::NamedTempFile::new()?;
    let append = format!("echo ran >> '{}'", mark.path().display());
    let command = send(
        fleet,
        node,
        "AWS-RunShellScript",
        &json!({"commands": [append]}),
    )?;
    until("the invocation is Delayed", PATIENCE, || {
        let invocation = look(fleet, &command, node)?;
        Ok((text(&invocation, "Status") == "Delayed").then_some(()))
    })?;
    say("    Delayed: it waits for the node");

    say("==> the link is restored");
    fleet.link.restore();
    let restored = Instant::now();
    let invocation = finished(fleet, &command, node)?;
    expect(&invocation, "Status", "Success")?;
    let runs = std::fs::read_to_string(mark.path())?.lines().count();
    ensure!(runs == 1, "the command ran {runs} times");
    say(format!(
        "    Success {:.1} s after the link was back; ran exactly once",
        restored.elapsed().as_secs_f64()
    ));

    say("==> a patch scan through the API");
    let command = send(
        fleet,
        node,
        "AWS-RunPatchBaseline",
        &json!({"Operation": ["Scan"]}),
    )?;
    let invocation = finished(fleet, &command, node)?;
    expect(&invocation, "Status", "Success")?;
    let states = fleet.api.call(
        "DescribeInstancePatchStates",
        &json!({"InstanceIds": [node]}),
    )?;
    let missing = states
        .pointer("/InstancePatchStates/0/MissingCount")
        .and_then(Value::as_u64);
    say(format!(
        "    Success: {} missing",
        missing.context("MissingCount")?
    ));
    say("\nThe main job was shown: enrolled, driven, scanned, cut off, reconciled.");
    Ok(())
}

fn send(fleet: &Fleet, node: &str, document: &str, parameters: &Value) -> Result<String> {
    let input = json!({"DocumentName": document, "InstanceIds": [node], "Parameters": parameters});
    let answer = fleet.api.call("SendCommand", &input)?;
    Ok(answer
        .pointer("/Command/CommandId")
        .and_then(Value::as_str)
        .context("CommandId")?
        .to_owned())
}

fn look(fleet: &Fleet, command: &str, node: &str) -> Result<Value> {
    fleet.api.call(
        "GetCommandInvocation",
        &json!({"CommandId": command, "InstanceId": node}),
    )
}

fn finished(fleet: &Fleet, command: &str, node: &str) -> Result<Value> {
    until("the invocation has ended", PATIENCE, || {
        let invocation = look(fleet, command, node)?;
        let open = ["Pending", "InProgress", "Delayed", "Cancelling"]
            .contains(&text(&invocation, "Status"));
        Ok((!open).then_some(invocation))
    })
}

/// Waits until the bridge knows that the node is gone.
fn offline(fleet: &Fleet, node: &str) -> Result<()> {
    until("the bridge sees the node offline", PATIENCE, || {
        let input = json!({"Filters": [{"Key": "InstanceIds", "Values": [node]}]});
        let answer = fleet.api.call("DescribeInstanceInformation", &input)?;
        let status = answer
            .pointer("/InstanceInformationList/0/PingStatus")
            .and_then(Value::as_str);
        Ok(status.filter(|status| *status != "Online").map(drop))
    })
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn expect(invocation: &Value, member: &str, wanted: &str) -> Result<()> {
    let found = text(invocation, member);
    ensure!(
        found == wanted,
        "{member} is {found}, not {wanted}: {invocation}"
    );
    Ok(())
}
