//! Certificates near their end and past it, on a real bridge: the agent replaces them by itself.
//! Never waits for one to age: it is issued as of a day long past, by the bridge's own root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_bridge::pki::Root;
use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{AgentOptions, Node, PATIENCE, World, until};
use holdfast_protocol::enrol::public_key;
use ring::signature::Ed25519KeyPair;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: u32 = 60;

fn identity(node: &Node) -> Value {
    let path = node.agent.state_dir().join("identity.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn key(identity: &Value) -> Vec<u8> {
    hex::decode(text(identity, "key_pkcs8")).unwrap()
}

/// Gives a node a certificate for its key that is so many days old.
fn age(world: &World, node: &Node, days: u64) {
    let mut identity = identity(node);
    let pair = Ed25519KeyPair::from_pkcs8(&key(&identity)).unwrap();
    let root = Root::open_or_create(&world.path("bridge")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let then = u64::try_from(now.as_millis()).unwrap() - days * 86_400_000;
    let public = public_key(&pair).unwrap();
    let certificate = root
        .issue_node(&node.id.parse().unwrap(), &public, then, DAYS)
        .unwrap();
    identity["certificate_der"] = hex::encode(certificate.der).into();
    let path = node.agent.state_dir().join("identity.json");
    std::fs::write(path, identity.to_string()).unwrap();
}

fn replaced(world: &World, node: &Node, old: &Value) {
    let new = until("another certificate is installed", PATIENCE, || {
        let new = identity(node);
        Ok((new["certificate_der"] != old["certificate_der"]).then_some(new))
    })
    .unwrap();
    assert_ne!(key(&new), key(old), "with a fresh key");
    assert_eq!(new["bridges"], old["bridges"]);
    let command = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    let ended = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    until("nothing waits for a certificate", PATIENCE, || {
        let waiting = node.agent.state_dir().join("renewal.pk8");
        Ok((!waiting.exists()).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_certificate_near_its_end_is_renewed_and_the_bridges_of_one_run_stay_out_of_it() {
    let world = World::start().unwrap();
    let options = AgentOptions {
        more: vec!["--bridge".into(), format!("mqtts://{}", world.bridge.mqtt)],
        ..AgentOptions::default()
    };
    let mut node = world.nodes(1, &options).unwrap().remove(0);
    age(&world, &node, 50);
    let old = identity(&node);
    // What a crash right after the last renewal leaves: it is not taken for a fresh key.
    std::fs::write(node.agent.state_dir().join("renewal.pk8"), key(&old)).unwrap();
    node.agent.start().unwrap();
    replaced(&world, &node, &old);
}

#[test]
fn a_node_whose_certificate_has_expired_enrols_again_as_itself() {
    let world = World::start().unwrap();
    let mut node = world.nodes(1, &AgentOptions::default()).unwrap().remove(0);
    age(&world, &node, 90);
    let old = identity(&node);
    node.agent.start().unwrap();
    replaced(&world, &node, &old);
    assert_eq!(identity(&node)["node"], old["node"]);
}
