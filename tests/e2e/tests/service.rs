//! The agent under a service manager: what it tells it, from its start to its end.
//! Never needs one: the test listens where systemd would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{AgentOptions, PATIENCE, World};
use serde_json::Value;
use std::os::unix::net::UnixDatagram;

/// Waits for this message; returns those before it.
fn until_heard(manager: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let mut message = [0; 1024];
        let length = manager.recv(&mut message).unwrap_or_else(|error| {
            panic!("{wanted} was not said, after {before:?}: {error}");
        });
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        if message == wanted {
            return before;
        }
        before.push(message);
    }
}

#[test]
fn a_service_manager_is_told_what_it_asked_for() {
    let world = World::start().unwrap();
    let socket = world.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let options = AgentOptions {
        environment: vec![
            ("NOTIFY_SOCKET".into(), socket.display().to_string()),
            ("WATCHDOG_USEC".into(), "100000".into()),
        ],
        ..AgentOptions::default()
    };
    let mut node = world.nodes(1, &options).unwrap().remove(0);
    node.agent.start().unwrap();
    assert!(
        until_heard(&manager, "READY=1").is_empty(),
        "it comes first"
    );
    until_heard(&manager, "STATUS=online");
    until_heard(&manager, "WATCHDOG=1");
    until_heard(&manager, "WATCHDOG=1");
    let script = "echo \"${NOTIFY_SOCKET:-none} ${WATCHDOG_USEC:-none}\"";
    let command = commands::send_script(&world.api, &[&node.id], script, &Value::Null).unwrap();
    let ended = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&ended, "StandardOutputContent"), "none none\n");
    world.link.cut();
    until_heard(&manager, "STATUS=the link is down");
    let status = node.agent.stop().unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    until_heard(&manager, "STOPPING=1");
}
