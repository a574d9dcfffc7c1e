//! A bridge whose clock was wrong and is put right: no node is lost, and its floor is set back from afar.
//! Never sets a clock: a bridge of the test's own, with the real one's keys, tells the wrong time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and looks for one packet among all"
)]

#[path = "support/impostor.rs"]
mod impostor;
#[path = "support/wire.rs"]
mod wire;

use holdfast_bridge::pki::Root;
use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{Agent, AgentOptions, Node, PATIENCE, World, until};
use holdfast_protocol::enrol::public_key;
use impostor::{Impostor, unix_ms};
use ring::signature::Ed25519KeyPair;
use serde_json::Value;

const DAY_MS: u64 = 86_400_000;
const AHEAD_MS: u64 = 20 * 365 * DAY_MS;
/// What stranded an agent once: it lies in the year 119,312,578.
const FAR_MS: u64 = 3_765_108_000_000_000_000;

fn floor(agent: &Agent) -> u64 {
    agent.status().unwrap()["floor_unix_ms"].as_u64().unwrap()
}

fn until_floor(what: &str, agent: &Agent, is_reached: impl Fn(u64) -> bool) {
    until(what, PATIENCE, || {
        let floor = agent.status()?["floor_unix_ms"].as_u64();
        Ok(floor.filter(|floor| is_reached(*floor)).map(|_| ()))
    })
    .unwrap();
}

fn until_online(agent: &Agent) {
    until("the agent is online", PATIENCE, || {
        let status = agent.status()?;
        Ok((status["link"]["state"] == "Online").then_some(()))
    })
    .unwrap();
}

/// Makes the node's identity that of one which the bridge registered at that time by its clock.
fn issued_at(world: &World, node: &Node, then: u64) {
    let path = node.agent.state_dir().join("identity.json");
    let mut identity: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let pkcs8 = hex::decode(text(&identity, "key_pkcs8")).unwrap();
    let key = public_key(&Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap()).unwrap();
    let root = Root::open_or_create(world.bridge.state_dir()).unwrap();
    let certificate = root
        .issue_node(&node.id.parse().unwrap(), &key, then, 60)
        .unwrap();
    identity["certificate_der"] = hex::encode(certificate.der).into();
    identity["registered_unix_ms"] = then.into();
    std::fs::write(path, identity.to_string()).unwrap();
}

fn runs_a_command(world: &World, node: &Node) {
    let command = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    let ended = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&ended, "Status"), "Success", "{ended}");
}

fn reset_floor(world: &World, node: &Node) {
    let verb = world.bridge.verb(&["node", "reset-floor", &node.id]);
    verb.unwrap().success().unwrap();
    until_floor("the floor is set back", &node.agent, |floor| {
        floor < unix_ms() + DAY_MS
    });
}

#[test]
fn a_bridge_that_told_the_wrong_time_reaches_its_nodes_once_it_is_right() {
    let world = World::start().unwrap();
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    node.agent.stop().unwrap();
    let mut impostor = Impostor::new(world.bridge.state_dir(), node.id.parse().unwrap());
    let options = AgentOptions {
        more: vec!["--bridge".into(), impostor.url()],
        ..AgentOptions::default()
    };
    let mut deceived = world.stranger("agent-1", options);
    deceived.start().unwrap();
    // Beyond the end of every certificate: not believed, and no reason to stay away.
    impostor.ahead_ms = FAR_MS;
    let link = impostor.accept();
    until_online(&deceived);
    assert!(floor(&deceived) < unix_ms() + DAY_MS);
    drop(link);
    // Twenty years can be true: nothing contradicts them.
    impostor.ahead_ms = AHEAD_MS;
    let link = impostor.accept();
    until_floor("the floor stands ahead", &deceived, |floor| {
        floor > unix_ms() + AHEAD_MS - DAY_MS
    });
    deceived.stop().unwrap();
    drop((link, impostor));
    // By its floor the node's own certificate has ended: it enrols again, and waits for the root.
    node.agent.start().unwrap();
    world.until_online(&node.id, true).unwrap();
    until_online(&node.agent);
    assert!(floor(&node.agent) > unix_ms() + AHEAD_MS - DAY_MS);
    reset_floor(&world, &node);
    runs_a_command(&world, &node);
}

#[test]
fn a_node_registered_by_a_clock_far_ahead_is_itself_again_and_its_floor_stays_set_back() {
    let world = World::start().unwrap();
    let mut node = world.nodes(1, &AgentOptions::default()).unwrap().remove(0);
    // To the bridge its certificate has not begun.
    issued_at(&world, &node, unix_ms() + AHEAD_MS);
    node.agent.start().unwrap();
    world.until_online(&node.id, true).unwrap();
    until_online(&node.agent);
    assert!(floor(&node.agent) > unix_ms() + AHEAD_MS - DAY_MS);
    reset_floor(&world, &node);
    node.agent.stop().unwrap();
    node.agent.start().unwrap();
    runs_a_command(&world, &node);
    assert!(floor(&node.agent) < unix_ms() + DAY_MS);
}

#[test]
fn a_node_registered_by_a_clock_at_1970_replaces_its_certificate_by_itself() {
    let world = World::start().unwrap();
    let mut node = world.nodes(1, &AgentOptions::default()).unwrap().remove(0);
    issued_at(&world, &node, 0);
    node.agent.start().unwrap();
    world.until_online(&node.id, true).unwrap();
    runs_a_command(&world, &node);
}
