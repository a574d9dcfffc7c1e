//! State that comes back from the past, or exists twice: an older backup of the bridge, an agent's
//! disk rolled back, a copied state directory. Never healed by hand where the design says it heals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::{AgentOptions, Node, PATIENCE, World, until};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs a script on a node and sees it succeed.
fn runs(world: &World, node: &str, script: &str) {
    let command = commands::send_script(&world.api, &[node], script, &Value::Null).unwrap();
    let invocation = commands::finished(&world.api, &command, node).unwrap();
    assert_eq!(text(&invocation, "Status"), "Success", "{invocation}");
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(copied.success());
}

/// What `node list` says of a node, in one line.
fn listed(world: &World, node: &str) -> String {
    let list = world
        .bridge
        .verb(&["node", "list"])
        .unwrap()
        .success()
        .unwrap();
    let line = list.lines().find(|line| line.contains(node));
    line.unwrap_or_else(|| panic!("{node} is not in {list}"))
        .to_owned()
}

/// The one value that a query of the bridge's database answers.
fn told(world: &World, query: &str) -> String {
    let database = world.bridge.state_dir().join("holdfast.db");
    let program = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
    let output = Command::new("python3")
        .args(["-c", program])
        .arg(database)
        .arg(query)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn until_quarantined(world: &World, node: &str) -> String {
    until("the node is quarantined", PATIENCE, || {
        let line = listed(world, node);
        Ok(line.contains("copied or rolled back").then_some(line))
    })
    .unwrap()
}

#[test]
fn agents_go_on_with_a_bridge_restored_from_an_older_backup() {
    let mut world = World::start().unwrap();
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    let marks = Marks::at(world.path("marks"));
    runs(&world, &node.id, &marks.line("before"));
    let backup = world.path("backup").display().to_string();
    world
        .bridge
        .verb(&["backup", &backup])
        .unwrap()
        .success()
        .unwrap();
    runs(&world, &node.id, &marks.line("after"));
    // Several hellos, so that the token is well beyond the one in the backup.
    for _ in 0..3 {
        world.link.cut();
        world.until_online(&node.id, false).unwrap();
        world.link.restore();
        world.until_online(&node.id, true).unwrap();
    }
    // Rotated after the backup, and the node has accepted the new key.
    let rotate = world.bridge.verb(&["signing-key", "rotate"]).unwrap();
    rotate.success().unwrap();
    until("the node accepts the new signing key", PATIENCE, || {
        runs(&world, &node.id, "true");
        let accepted = "SELECT count(*) FROM node_events WHERE name = 'signing-key-accepted'";
        Ok((told(&world, accepted) == "2").then_some(()))
    })
    .unwrap();
    // A result that the restored bridge is told, of a command that it no longer knows.
    let gate = commands::Gate::at(&world.path("gate"));
    let script = format!("{}; {}; echo kept", marks.line("lost"), gate.line());
    let lost = commands::send_script(&world.api, &[&node.id], &script, &Value::Null).unwrap();
    commands::until_details(&world.api, &lost, &node.id, "InProgress").unwrap();
    world.bridge.stop().unwrap();
    gate.open().unwrap();
    // The machine is lost, and with it every key that was made since.
    std::fs::remove_dir_all(world.bridge.state_dir()).unwrap();
    let restored = world.bridge.verb(&["restore", &backup]).unwrap();
    let printed = restored.success().unwrap();
    assert!(printed.contains("warning: nodes deregistered"), "{printed}");
    world.bridge.restart().unwrap();
    world.until_online(&node.id, true).unwrap();
    assert!(
        !listed(&world, &node.id).contains("quarantine"),
        "{}",
        listed(&world, &node.id)
    );
    runs(&world, &node.id, &marks.line("restored"));
    let counts = marks.counts().unwrap();
    assert!(
        counts.len() == 4 && counts.values().all(|times| *times == 1),
        "{counts:?}"
    );
    until("everything was accepted and acknowledged", PATIENCE, || {
        let status = node.agent.status()?;
        let waits = |at: usize| status["queues"][at]["records"].as_u64();
        Ok((waits(0) == Some(0) && waits(1) == Some(0)).then_some(()))
    })
    .unwrap();
    let gaps = told(
        &world,
        "SELECT coalesce(sum(records), 0) FROM gaps WHERE reason = 'bridge-restored'",
    );
    assert!(
        gaps.parse::<u64>().unwrap() > 0,
        "no gap is counted: {gaps}"
    );
    let unknown = told(
        &world,
        "SELECT count(*) FROM node_events WHERE name = 'result-of-unknown-command'",
    );
    assert!(
        unknown.parse::<u64>().unwrap() > 0,
        "the lost command's result is not told"
    );
    node.agent.stop().unwrap();
}

#[test]
fn an_agent_whose_disk_was_rolled_back_is_quarantined_until_released() {
    let world = World::start().unwrap();
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    let marks = Marks::at(world.path("marks"));
    node.agent.stop().unwrap();
    let (state, old) = (node.agent.state_dir().to_owned(), world.path("old"));
    copy(&state, &old);
    for turn in 0..3 {
        node.agent.start().unwrap();
        world.until_online(&node.id, true).unwrap();
        runs(&world, &node.id, &marks.line(&format!("turn-{turn}")));
        node.agent.stop().unwrap();
        world.until_online(&node.id, false).unwrap();
    }
    std::fs::remove_dir_all(&state).unwrap();
    copy(&old, &state);
    node.agent.start().unwrap();
    let line = until_quarantined(&world, &node.id);
    assert!(line.contains("node release"), "{line}");
    until("the agent says why it is refused", PATIENCE, || {
        let status = node.agent.status()?;
        Ok(status["refused"]
            .as_str()
            .filter(|why| why.contains("release"))
            .map(drop))
    })
    .unwrap();
    heals(&world, &mut node);
    let counts = marks.counts().unwrap();
    assert!(counts.values().all(|times| *times == 1), "{counts:?}");
}

#[test]
fn a_cloned_state_directory_quarantines_the_node_until_released() {
    let world = World::start().unwrap();
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    node.agent.stop().unwrap();
    let mut clone = world.stranger("clone", AgentOptions::default());
    copy(node.agent.state_dir(), clone.state_dir());
    node.agent.start().unwrap();
    world.until_online(&node.id, true).unwrap();
    // Two machines with one identity take each other's place until one shows an old token.
    clone.start().unwrap();
    let line = until_quarantined(&world, &node.id);
    assert!(line.contains("node release"), "{line}");
    clone.kill().unwrap();
    heals(&world, &mut node);
}

/// Released, and run anew by a person who looked at it, the node works again.
fn heals(world: &World, node: &mut Node) {
    node.agent.stop().unwrap();
    world
        .bridge
        .verb(&["node", "release", &node.id])
        .unwrap()
        .success()
        .unwrap();
    node.agent.start().unwrap();
    world.until_online(&node.id, true).unwrap();
    runs(world, &node.id, "true");
    assert!(
        !listed(world, &node.id).contains("rolled back"),
        "{}",
        listed(world, &node.id)
    );
}

#[test]
fn a_restore_that_fails_names_the_key_that_it_made_and_leaves_no_copy() {
    let mut world = World::start().unwrap();
    let backup = world.path("backup").display().to_string();
    let verb = |world: &World, arguments: &[&str]| world.bridge.verb(arguments).unwrap();
    verb(&world, &["backup", &backup]).success().unwrap();
    world.bridge.stop().unwrap();
    // It cannot be removed as a file, so the database does not come into its place.
    let beside = world.bridge.state_dir().join("holdfast.db-wal");
    std::fs::create_dir(&beside).unwrap();
    let refused = verb(&world, &["restore", "--force", &backup]);
    assert_ne!(refused.code, 0);
    let said = refused.stderr;
    assert!(
        said.contains("signing key") && said.contains("is in use from now on"),
        "{said}"
    );
    let staging = world.bridge.state_dir().join("holdfast.db.restoring");
    assert!(!staging.exists());
    std::fs::remove_dir(&beside).unwrap();
    verb(&world, &["restore", "--force", &backup])
        .success()
        .unwrap();
    world.bridge.restart().unwrap();
}
