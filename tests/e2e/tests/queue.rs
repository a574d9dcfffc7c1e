//! Results that pile up while the link is cut arrive exactly once, and in the order of their ends.
//! Never looks into a journal or a database: scripts leave marks, the API is asked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Gate, Marks, text};
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{AgentOptions, PATIENCE, World, cases, say, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
    until_drained_in_order(&world, &commands, &ran);
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

/// Watches the results come. A sweep reads the newest results first, so that what it reads later is
/// at least as new: it must never find a result open that was queued before one it found arrived.
fn until_drained_in_order(world: &World, commands: &[String], ran: &[String]) {
    let place: BTreeMap<&str, usize> = ran
        .iter()
        .enumerate()
        .map(|(place, number)| (commands[number.parse::<usize>().unwrap()].as_str(), place))
        .collect();
    let mut sweeps = 0;
    until("every result has arrived", Duration::from_secs(600), || {
        sweeps += 1;
        let mut newest_arrived = None;
        let mut arrived = 0;
        for invocation in commands::invocations(&world.api, &Value::Null)? {
            let Some(place) = place.get(text(&invocation, "CommandId")) else {
                continue;
            };
            let status = text(&invocation, "Status");
            if commands::is_terminal(status) {
                assert_eq!(status, "Success", "{invocation}");
                arrived += 1;
                newest_arrived = newest_arrived.max(Some(*place));
            } else {
                assert!(
                    newest_arrived.is_none_or(|newest| newest < *place),
                    "result {place} is not here, but {newest_arrived:?} is"
                );
            }
        }
        Ok((arrived == commands.len()).then_some(()))
    })
    .unwrap();
    say(format!(
        "order checked in {sweeps} sweeps while results arrived"
    ));
}
