//! Results that pile up while the link is cut arrive exactly once, and in the order of their ends.
//! Never looks into a journal or a database: scripts leave marks, the API is asked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/order.rs"]
mod order;

use holdfast_e2e::commands::{self, Gate, Marks};
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{AgentOptions, PATIENCE, World, cases, until};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn results_queued_offline_arrive_once_and_in_order() {
    let count = cases(100, 1000);
    let world = World::start().unwrap();
    // One at a time: then the order of the marks is the order of the results.
    let options = AgentOptions {
        more: [
            "--max-commands",
            &(count + 8).to_string(),
            "--max-running",
            "1",
            "--queue-bytes",
            &(count as u64 * 512 * 1024).to_string(),
        ]
        .map(str::to_owned)
        .to_vec(),
        ..AgentOptions::default()
    };
    let node = world.online_node(&options).unwrap();
    let (gate, marks) = (
        Gate::at(&world.path("gate")),
        Marks::at(world.path("marks")),
    );
    let mut commands = Vec::new();
    for number in 0..count {
        let script = format!("{}; {}", gate.line(), marks.line(&number.to_string()));
        let lasting = json!({"TimeoutSeconds": 86_400});
        commands.push(commands::send_script(&world.api, &[&node.id], &script, &lasting).unwrap());
    }
    until("the agent holds every command", PATIENCE * 2, || {
        let status = node.agent.status()?;
        let held = status["commands"].as_array().map_or(0, Vec::len);
        Ok((held == count).then_some(()))
    })
    .unwrap();
    world.link.cut();
    world.until_online(&node.id, false).unwrap();
    gate.open().unwrap();
    until(
        "every command has run offline",
        Duration::from_secs(600),
        || Ok((marks.all()?.len() >= count).then_some(())),
    )
    .unwrap();
    let ran = marks.all().unwrap();
    world.link.restore();
    let restored = Instant::now();
    order::until_drained(&world, &commands, &ran);
    let drained = restored.elapsed().as_secs_f64();
    figures::record("results queued offline", count as f64, "", Bound::None);
    figures::record("link-up to drained, loopback", drained, "s", Bound::None);
    let counts = marks.counts().unwrap();
    assert!(
        counts.len() == count && counts.values().all(|times| *times == 1),
        "{counts:?}"
    );
    until("the bridge has acknowledged everything", PATIENCE, || {
        let status = node.agent.status()?;
        Ok((status["queues"][0]["records"] == 0).then_some(()))
    })
    .unwrap();
}
