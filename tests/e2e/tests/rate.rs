//! Rate control across real agents: one at a time, and nothing new after the first failure.
//! Never trusts the bridge's own count: the scripts write down when they begin and end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::{AgentOptions, Node, PATIENCE, World, until};
use serde_json::{Value, json};

const AGENTS: usize = 20;

fn fleet(world: &World) -> Vec<Node> {
    let mut nodes = world.nodes(AGENTS, &AgentOptions::default()).unwrap();
    for node in &mut nodes {
        node.agent.start().unwrap();
    }
    for node in &nodes {
        world.until_online(&node.id, true).unwrap();
    }
    nodes
}

/// Waits until the command has ended; its invocations.
fn ended(world: &World, command: &str) -> Vec<Value> {
    let id = json!({"CommandId": command});
    until("the command has ended", PATIENCE * 3, || {
        let listed = world.api.call("ListCommands", &id)?;
        Ok(commands::is_terminal(text(&listed["Commands"][0], "Status")).then_some(()))
    })
    .unwrap();
    commands::invocations(&world.api, &id).unwrap()
}

#[test]
fn rate_control_holds_over_twenty_agents() {
    let world = World::start().unwrap();
    let nodes = fleet(&world);
    let ids: Vec<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
    never_two_at_once(&world, &ids);
    the_first_failure_stops_the_rest(&world, &ids);
}

fn never_two_at_once(world: &World, ids: &[&str]) {
    let marks = Marks::at(world.path("turns"));
    let script = format!("{}; sleep 0.1; {}", marks.line("begin"), marks.line("end"));
    let one = json!({"MaxConcurrency": "1", "MaxErrors": "0"});
    let command = commands::send_script(&world.api, ids, &script, &one).unwrap();
    let invocations = ended(world, &command);
    assert_eq!(invocations.len(), AGENTS);
    for invocation in &invocations {
        assert_eq!(text(invocation, "Status"), "Success", "{invocation}");
    }
    let turns = marks.all().unwrap();
    assert_eq!(turns, ["begin", "end"].repeat(AGENTS), "two ran at once");
}

fn the_first_failure_stops_the_rest(world: &World, ids: &[&str]) {
    let marks = Marks::at(world.path("failures"));
    let script = format!("{}; exit 7", marks.line("ran"));
    let none = json!({"MaxConcurrency": "1", "MaxErrors": "0"});
    let command = commands::send_script(&world.api, ids, &script, &none).unwrap();
    let invocations = ended(world, &command);
    let with = |details: &str| {
        let found = invocations
            .iter()
            .filter(|one| text(one, "StatusDetails") == details);
        found.count()
    };
    assert_eq!(
        (with("Failed"), with("Terminated")),
        (1, AGENTS - 1),
        "{invocations:?}"
    );
    assert_eq!(marks.all().unwrap(), ["ran"]);
    let listed = world
        .api
        .call("ListCommands", &json!({"CommandId": command}))
        .unwrap();
    assert_eq!(text(&listed["Commands"][0], "Status"), "Failed", "{listed}");
}
