//! The bridge restarts, gracefully and by `kill -9`: agents return, work goes on, verbs answer.
//! Never restarts at another address: agents are not told of a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::{AgentOptions, Node, World, say};
use serde_json::{Value, json};
use std::time::Instant;

const AGENTS: usize = 5;

#[test]
fn agents_and_work_survive_restarts_of_the_bridge() {
    let mut world = World::start().unwrap();
    let mut nodes = world.nodes(AGENTS, &AgentOptions::default()).unwrap();
    // The last one stays away until both restarts have passed.
    for node in &mut nodes[..AGENTS - 1] {
        node.agent.start().unwrap();
    }
    for node in &nodes[..AGENTS - 1] {
        world.until_online(&node.id, true).unwrap();
    }
    let marks = Marks::at(world.path("marks"));
    let away = nodes[AGENTS - 1].id.clone();
    let waiting =
        commands::send_script(&world.api, &[&away], &marks.line("waited"), &Value::Null).unwrap();
    commands::until_details(&world.api, &waiting, &away, "Delayed").unwrap();
    let online = &nodes[..AGENTS - 1];
    world.bridge.stop().unwrap();
    world.bridge.restart().unwrap();
    back_within_seconds(&world, online, "stopped and started");
    world.bridge.kill().unwrap();
    world.bridge.restart().unwrap();
    back_within_seconds(&world, online, "killed and started");
    commands::until_details(&world.api, &waiting, &away, "Delayed").unwrap();
    nodes[AGENTS - 1].agent.start().unwrap();
    let invocation = commands::finished(&world.api, &waiting, &away).unwrap();
    assert_eq!(text(&invocation, "Status"), "Success", "{invocation}");
    assert_eq!(marks.all().unwrap(), ["waited"]);
}

/// Every agent runs a command after a restart, and each verb answers beside `serve`.
fn back_within_seconds(world: &World, nodes: &[Node], what: &str) {
    let started = Instant::now();
    for node in nodes {
        world.until_online(&node.id, true).unwrap();
    }
    say(format!(
        "bridge {what}: {} agents back after {:.1} s",
        nodes.len(),
        started.elapsed().as_secs_f64()
    ));
    let ids: Vec<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
    let command = commands::send_script(&world.api, &ids, "true", &json!({})).unwrap();
    for id in ids {
        let invocation = commands::finished(&world.api, &command, id).unwrap();
        assert_eq!(text(&invocation, "Status"), "Success", "{invocation}");
    }
    for verb in [
        &["node", "list"][..],
        &["activation", "list"],
        &["access-key", "list"],
        &["api", "coverage"],
    ] {
        let said = world.bridge.verb(verb).unwrap().success().unwrap();
        assert!(!said.is_empty(), "{verb:?} said nothing");
    }
}
