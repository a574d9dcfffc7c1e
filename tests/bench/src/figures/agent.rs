//! The agent as it is shipped: bytes on disk, memory and threads when it is idle and connected.
//! Never before its first inventory and scan are done: idle is what a node is most of its life.

use crate::ground::Ground;
use crate::measure::{anonymous_kib, median, pss_kib, threads};
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result};
use holdfast_cross::budgets;
use holdfast_e2e::{Agent, AgentOptions, Api, until};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// For the first reports, on a busy machine.
const FIRST_REPORTS: Duration = Duration::from_secs(120);
/// For the blocking thread to end once it is idle.
const SETTLED: Duration = Duration::from_secs(60);

/// How the program was linked: what a size or a PSS is worth depends on it.
fn linkage(program: &Path) -> Result<&'static str> {
    let bytes = std::fs::read(program)?;
    let names = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    Ok(if names(b"/ld-linux") {
        "glibc, dynamic: its libc is not counted in the size"
    } else if names(b"/ld-musl") {
        "musl, dynamic"
    } else {
        "static"
    })
}

fn first_reports(api: &Api, node: &str) -> Result<()> {
    until("the first patch scan is here", FIRST_REPORTS, || {
        let input = json!({"InstanceIds": [node]});
        let answer = api.call("DescribeInstancePatchStates", &input)?;
        Ok(answer.pointer("/InstancePatchStates/0").map(drop))
    })?;
    until("the first inventory is here", FIRST_REPORTS, || {
        let input = json!({"InstanceId": node, "TypeName": "AWS:Application"});
        let answer = api.call("ListInventoryEntries", &input)?;
        let entries = answer.get("Entries").and_then(Value::as_array);
        Ok(entries.filter(|entries| !entries.is_empty()).map(drop))
    })
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let program = &ground.programs.agent;
    let bytes = std::fs::metadata(program)?.len();
    let linkage = linkage(program)?;
    let budget = budgets::all()?.agent;
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let size = Row::new("agent, stripped size", "MB", bytes as f64 / 1e6)
        .within(Budget::AtMost(budget.size_bytes(&target)? as f64 / 1e6))
        .noted(format!("profile `agent`; {linkage}"));
    let folder = ground.folder()?;
    let mut bridge = ground.bridge(&folder)?;
    let api = bridge.api()?;
    let activation = bridge.activation(&["--limit", "1"])?;
    let options = AgentOptions {
        log: Some(folder.path().join("agent.log")),
        ..AgentOptions::default()
    };
    let mut agent = Agent::new(&ground.programs, &folder.path().join("agent"), options);
    let node = agent.register(bridge.mqtt, &activation)?;
    agent.start()?;
    first_reports(&api, &node)?;
    let process = agent.id().context("the agent's process")?;
    let mut count = threads(process)?;
    let settled = until("one thread is left", SETTLED, || {
        count = threads(process)?;
        Ok((count <= 1.0).then_some(()))
    });
    let samples = ground.or_quick(9, 3);
    let (mut pss, mut own) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        std::thread::sleep(Duration::from_secs(1));
        pss.push(pss_kib(process)? / 1024.0);
        own.push(anonymous_kib(process)? / 1024.0);
    }
    let how = format!(
        "connected, after its first inventory and scan{}",
        if settled.is_ok() {
            ""
        } else {
            "; more than one thread stayed"
        }
    );
    let own = format!("{how}; {:.2} MiB of it anonymous; {linkage}", median(&own)?);
    let rows = vec![
        size,
        Row::new("agent, idle PSS", "MiB", median(&pss)?)
            .within(Budget::AtMost(budget.idle.pss_mib))
            .noted(own),
        Row::new("agent, idle threads", "", count)
            .within(Budget::AtMost(f64::from(budget.idle.threads)))
            .noted(how),
    ];
    agent.stop()?;
    bridge.stop()?;
    Ok(rows)
}
