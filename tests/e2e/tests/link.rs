//! The link is cut and comes back: what was sent meanwhile waits, and runs once.
//! Never asserts how long that takes beyond a generous bound; the figure is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::namespace::{self, Namespace};
use holdfast_e2e::{AgentOptions, BridgeOptions, Node, World, say};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Instant;

/// Sends a command over a link that is down, restores it once the invocation is `Delayed`, and sees
/// it run once.
fn sent_meanwhile_runs_once(world: &World, node: &Node, restore: impl FnOnce()) {
    let marks = Marks::at(world.path("marks"));
    let script = marks.line("ran");
    let command = commands::send_script(
        &world.api,
        &[&node.id],
        &script,
        &json!({"TimeoutSeconds": 3600}),
    )
    .unwrap();
    commands::until_details(&world.api, &command, &node.id, "Delayed").unwrap();
    let listed = world
        .api
        .call("ListCommands", &json!({"CommandId": command}))
        .unwrap();
    let time = |member: &str| listed["Commands"][0][member].as_f64().unwrap();
    let patience = time("ExpiresAfter") - time("RequestedDateTime");
    assert!((3600.0..7300.0).contains(&patience), "{listed}");
    assert!(
        marks.all().unwrap().is_empty(),
        "it ran while the link was cut"
    );
    restore();
    let restored = Instant::now();
    world.until_online(&node.id, true).unwrap();
    let online = restored.elapsed().as_secs_f64();
    let invocation = commands::finished(&world.api, &command, &node.id).unwrap();
    say(format!(
        "link restored: online after {online:.2} s, command finished after {:.2} s",
        restored.elapsed().as_secs_f64()
    ));
    assert_eq!(text(&invocation, "Status"), "Success", "{invocation}");
    assert_eq!(marks.all().unwrap(), ["ran"]);
}

#[test]
fn a_command_sent_while_the_link_is_cut_waits_and_runs_once() {
    let world = World::start().unwrap();
    let node = world.online_node(&AgentOptions::default()).unwrap();
    world.link.cut();
    world.until_online(&node.id, false).unwrap();
    sent_meanwhile_runs_once(&world, &node, || world.link.restore());
}

#[test]
fn a_command_that_runs_when_the_link_is_cut_goes_on_and_reports_later() {
    let world = World::start().unwrap();
    let node = world.online_node(&AgentOptions::default()).unwrap();
    let gate = commands::Gate::at(&world.path("gate"));
    let marks = Marks::at(world.path("marks"));
    let script = format!(
        "{}; {}; {}",
        marks.line("begun"),
        gate.line(),
        marks.line("ended")
    );
    let command = commands::send_script(&world.api, &[&node.id], &script, &Value::Null).unwrap();
    commands::until_details(&world.api, &command, &node.id, "InProgress").unwrap();
    world.link.cut();
    world.until_online(&node.id, false).unwrap();
    gate.open().unwrap();
    holdfast_e2e::until(
        "the script has ended offline",
        holdfast_e2e::PATIENCE,
        || Ok((marks.all()?.len() == 2).then_some(())),
    )
    .unwrap();
    world.link.restore();
    let invocation = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&invocation, "Status"), "Success", "{invocation}");
    assert_eq!(marks.all().unwrap(), ["begun", "ended"]);
}

#[test]
fn a_command_that_expires_while_the_link_is_cut_never_runs() {
    let world = World::start().unwrap();
    let node = world.online_node(&AgentOptions::default()).unwrap();
    world.link.cut();
    world.until_online(&node.id, false).unwrap();
    let marks = Marks::at(world.path("marks"));
    let expiry = json!({"TimeoutSeconds": 30});
    let command =
        commands::send_script(&world.api, &[&node.id], &marks.line("ran"), &expiry).unwrap();
    let invocation =
        commands::until_details(&world.api, &command, &node.id, "DeliveryTimedOut").unwrap();
    assert_eq!(text(&invocation, "Status"), "TimedOut", "{invocation}");
    world.link.restore();
    world.until_online(&node.id, true).unwrap();
    // What is sent after it has run: it would have come first.
    let after = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    commands::finished(&world.api, &after, &node.id).unwrap();
    assert!(marks.all().unwrap().is_empty(), "an expired command ran");
}

#[test]
fn packets_that_vanish_are_noticed_and_the_link_returns() {
    let test = "packets_that_vanish_are_noticed_and_the_link_returns";
    if !Namespace::enter(test).unwrap() {
        return;
    }
    let network = Namespace::new().unwrap();
    let options = BridgeOptions {
        mqtt: SocketAddr::new(namespace::BRIDGE, 0).to_string(),
        ..BridgeOptions::default()
    };
    let world = World::with(options).unwrap();
    let activation = world.bridge.activation(&[]).unwrap();
    let options = AgentOptions {
        wrapper: network.wrapper(),
        ..AgentOptions::default()
    };
    let mut agent = world.stranger("agent", options);
    let id = agent.register(world.bridge.mqtt, &activation).unwrap();
    agent.start().unwrap();
    let node = Node { id, agent };
    world.until_online(&node.id, true).unwrap();
    network.cut().unwrap();
    let cut = Instant::now();
    // Nobody is told: the command goes into a connection that is dead already.
    sent_meanwhile_runs_once(&world, &node, || {
        say(format!(
            "packets vanish: the bridge noticed after {:.1} s",
            cut.elapsed().as_secs_f64()
        ));
        network.restore().unwrap();
    });
}
