//! The main job with the very program that is shipped, natively or under an emulator: enrolled over
//! TLS, idle, driven, cut off, queued, reconciled, scanned.
//! Never a stand-in: the bridge is the real one, and the link is really cut.

mod idle;
mod root;

use super::{Built, is_native};
use crate::{install, say};
use anyhow::{Context as _, Result, ensure};
use holdfast_cross::budgets::Agent as Budget;
use holdfast_cross::targets::Target;
use holdfast_e2e::commands::{self, Gate, Marks, text};
use holdfast_e2e::{Agent, AgentOptions, Binaries, BridgeOptions, PATIENCE, World, until};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// What runs the programs of other processors.
const EMULATOR: &[install::Wanted] = &[(
    "qemu-user-static",
    "runs the programs of other processors on this machine",
)];

/// Results that wait while the link is cut.
const QUEUED: usize = 5;

/// Shows the main job with one agent; `bridge` is a bridge that this machine runs.
///
/// # Errors
/// When a part of it was not seen to work.
pub(super) fn run(built: &Built, bridge: &Path, budget: &Budget) -> Result<()> {
    let target = &built.target;
    if target.emulator.is_some() {
        install::debian(EMULATOR)?;
    }
    say(format!(
        "==> smoke: {} {}",
        target.triple,
        target.emulator.as_ref().map_or_else(
            || "on this machine".into(),
            |emulator| format!("under {} -cpu {}", emulator.program, emulator.cpu)
        )
    ));
    let started = Instant::now();
    let binaries = Binaries {
        agent: built.agent.clone(),
        bridge: bridge.to_owned(),
    };
    let world = World::of(binaries, BridgeOptions::default())?;
    world.seen(main_job(&world, target, budget))?;
    say(format!(
        "    seen to work in {} s",
        started.elapsed().as_secs()
    ));
    Ok(())
}

fn main_job(world: &World, target: &Target, budget: &Budget) -> Result<()> {
    let options = AgentOptions {
        wrapper: target.runner(),
        ..AgentOptions::default()
    };
    offline_verbs(world, &options, target)?;
    let mut node = world.online_node(&options)?;
    // An emulator has memory and threads of its own.
    let process = node.agent.id().filter(|_| is_native(target));
    if let Some(process) = process {
        first_reports(world, &node.id)?;
        let faults = idle::faults(process, &world.link, &budget.idle)?;
        ensure!(faults.is_empty(), "idle: {}", faults.join("; "));
    }
    driven(world, &node.id)?;
    queued(world, &node.id, &node.agent)?;
    scanned(world, &node.id)?;
    if let Some(process) = process {
        say(format!(
            "    after all that: {}",
            idle::Moment::of(process)?
        ));
    }
    node.agent.stop()?;
    Ok(())
}

/// What needs neither registration nor network, over a system of the target's own architecture.
fn offline_verbs(world: &World, options: &AgentOptions, target: &Target) -> Result<()> {
    let agent = world.stranger("alone", options.clone());
    let debian = world.path("debian");
    root::debian(&debian, &target.packages.deb)?;
    let debian = debian.to_str().context("the root's path")?;
    let printed = agent
        .verb(&["patch", "scan", "--json", "--root", debian])?
        .success()
        .context("patch scan")?;
    let report: Value = serde_json::from_str(&printed).context("patch scan's answer")?;
    root::expect_one_missing(&report)?;
    let printed = agent
        .verb(&[
            "document",
            "run",
            "AWS-RunShellScript",
            "--parameters",
            r#"{"commands":["echo from-a-document"]}"#,
        ])?
        .success()
        .context("document run")?;
    ensure!(
        printed.contains("from-a-document"),
        "document run printed {printed}"
    );
    agent
        .verb(&["inventory", "--json"])?
        .success()
        .context("inventory")?;
    say("    alone: a Debian root scanned, a document run, an inventory taken");
    Ok(())
}

/// Waits for the first inventory and patch scan: an agent is idle only after them.
fn first_reports(world: &World, node: &str) -> Result<()> {
    until("the first patch scan is here", PATIENCE, || {
        let input = json!({"InstanceIds": [node]});
        let answer = world.api.call("DescribeInstancePatchStates", &input)?;
        Ok(answer.pointer("/InstancePatchStates/0").map(drop))
    })?;
    until("the first inventory is here", PATIENCE, || {
        let input = json!({"InstanceId": node, "TypeName": "AWS:Application"});
        let answer = world.api.call("ListInventoryEntries", &input)?;
        Ok(answer.pointer("/Entries/0").map(drop))
    })
}

/// A command while the link is up.
fn driven(world: &World, node: &str) -> Result<()> {
    let command = commands::send_script(&world.api, &[node], "echo held; uname -m", &Value::Null)?;
    let invocation = commands::finished(&world.api, &command, node)?;
    ensure!(
        text(&invocation, "Status") == "Success"
            && text(&invocation, "StandardOutputContent").starts_with("held\n"),
        "{invocation}"
    );
    say("    enrolled over TLS; a document ran");
    Ok(())
}

/// Commands that run while the link is cut, one at a time: each result arrives once.
fn queued(world: &World, node: &str, agent: &Agent) -> Result<()> {
    let (gate, marks) = (
        Gate::at(&world.path("gate")),
        Marks::at(world.path("marks")),
    );
    let lasting = json!({"TimeoutSeconds": 86_400});
    let mut sent = Vec::new();
    for number in 0..QUEUED {
        let script = format!("{}; {}", gate.line(), marks.line(&number.to_string()));
        sent.push(commands::send_script(
            &world.api,
            &[node],
            &script,
            &lasting,
        )?);
    }
    until("the agent holds every command", PATIENCE, || {
        let status = agent.status()?;
        let held = status
            .get("commands")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        Ok((held == QUEUED).then_some(()))
    })?;
    world.link.cut();
    world.until_online(node, false)?;
    gate.open()?;
    until("every command has run offline", PATIENCE, || {
        Ok((marks.all()?.len() >= QUEUED).then_some(()))
    })?;
    world.link.restore();
    let restored = Instant::now();
    for command in &sent {
        let invocation = commands::finished(&world.api, command, node)?;
        ensure!(text(&invocation, "Status") == "Success", "{invocation}");
    }
    let counts = marks.counts()?;
    ensure!(
        counts.len() == QUEUED && counts.values().all(|times| *times == 1),
        "commands and how often each ran: {counts:?}"
    );
    say(format!(
        "    cut off: {QUEUED} results queued, delivered once each, {:.1} s after the link was back",
        restored.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// A patch scan of this machine through the API.
fn scanned(world: &World, node: &str) -> Result<()> {
    let input = json!({
        "DocumentName": "AWS-RunPatchBaseline",
        "InstanceIds": [node],
        "Parameters": {"Operation": ["Scan"]},
    });
    let answer = world.api.call("SendCommand", &input)?;
    let command = answer.pointer("/Command/CommandId").and_then(Value::as_str);
    let invocation = commands::finished(&world.api, command.context("CommandId")?, node)?;
    ensure!(text(&invocation, "Status") == "Success", "{invocation}");
    let states = world.api.call(
        "DescribeInstancePatchStates",
        &json!({"InstanceIds": [node]}),
    )?;
    let installed = states
        .pointer("/InstancePatchStates/0/InstalledCount")
        .and_then(Value::as_u64)
        .context("InstalledCount")?;
    say(format!(
        "    scanned through the API: {installed} installed patches"
    ));
    Ok(())
}
