//! A fleet at the real bridge over real TLS: hello storm, `kill -9` under load, and a start on a long history.
//! Never decides by a time: figures are shown, and what must hold is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use holdfast_bench::enrol::enrol_fleet;
use holdfast_bench::fleet::history;
use holdfast_bench::fleet::kills::{FLEET, integrity, kill_under_load};
use holdfast_bench::fleet::storm::hello_storm;
use holdfast_e2e::figures::{Bound, record};
use holdfast_e2e::{Binaries, Bridge, BridgeOptions, Random, cases, commands};
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// For everything that is waited for.
const LIMIT: Duration = Duration::from_secs(600);

/// A bridge of its own, with its log beside it.
fn bridge() -> (TempDir, Bridge) {
    let folder = TempDir::with_prefix("holdfast-fleet-").unwrap();
    let options = BridgeOptions {
        log: Some(folder.path().join("bridge.log")),
        ..BridgeOptions::default()
    };
    let programs = Binaries::find().unwrap();
    let bridge = Bridge::start(&programs, &folder.path().join("state"), options).unwrap();
    (folder, bridge)
}

#[test]
fn the_bridge_answers_its_api_while_a_whole_fleet_says_hello() {
    let nodes = cases(60, 5_000);
    let (_folder, mut bridge) = bridge();
    let runtime = Runtime::new().unwrap();
    let identities = runtime.block_on(enrol_fleet(&bridge, nodes, &[])).unwrap();
    bridge.stop().unwrap();
    bridge.restart().unwrap();
    let (swarm, storm) = hello_storm(&runtime, &bridge, &identities, LIMIT).unwrap();
    let seconds = storm.all_online.as_secs_f64();
    record(
        "fleet's nodes online",
        swarm.online() as f64,
        "nodes",
        Bound::Exactly(nodes as f64),
    );
    record("first to last of them online", seconds, "s", Bound::None);
    for (what, latency) in [("reads", &storm.reads), ("writes", &storm.writes)] {
        let name = |which: &str| format!("API call that {what} meanwhile, {which}");
        record(&name("median"), latency.median_ms, "ms", Bound::None);
        record(&name("longest"), latency.max_ms, "ms", Bound::None);
        record(
            &name("answered"),
            latency.calls as f64,
            "calls",
            Bound::AtLeast(1.0),
        );
    }
    assert_eq!(swarm.online(), nodes);
    runtime.block_on(swarm.stop()).unwrap();
    bridge.stop().unwrap();
}

#[test]
fn a_bridge_killed_under_a_fleets_load_loses_no_acknowledged_result() {
    let (nodes, kills) = (cases(40, 500), cases(5, 500));
    let mut random = Random::of("a_bridge_killed_under_a_fleets_load_loses_no_acknowledged_result");
    let (_folder, mut bridge) = bridge();
    let runtime = Runtime::new().unwrap();
    let identities = runtime
        .block_on(enrol_fleet(&bridge, nodes, &["--tag", FLEET]))
        .unwrap();
    let found = kill_under_load(&runtime, &mut bridge, &identities, kills, &mut random).unwrap();
    record(
        "kills of the bridge under a fleet's load",
        kills as f64,
        "kills",
        Bound::Exactly(cases(5, 500) as f64),
    );
    record("nodes of that fleet", nodes as f64, "nodes", Bound::None);
    record(
        "commands it worked on",
        found.commands as f64,
        "commands",
        Bound::None,
    );
    record(
        "invocations, each ended once with its output",
        found.invocations as f64,
        "invocations",
        Bound::None,
    );
    record(
        "records acknowledged to nodes",
        found.acknowledged as f64,
        "records",
        Bound::None,
    );
    // Each lost one would have failed the run before.
    record(
        "acknowledged results lost",
        0.0,
        "results",
        Bound::Exactly(0.0),
    );
    record(
        "faults found by SQLite in the database",
        0.0,
        "faults",
        Bound::Exactly(0.0),
    );
    record(
        "longest restart after a kill",
        found.restart_max.as_secs_f64(),
        "s",
        Bound::None,
    );
    assert!(found.commands > 0 && found.acknowledged >= found.invocations as u64);
}

#[test]
fn a_killed_bridge_with_a_long_history_serves_again() {
    let wanted = cases(20_000, 1_000_000);
    let (_folder, mut bridge) = bridge();
    let runtime = Runtime::new().unwrap();
    let api = bridge.api().unwrap();
    bridge.stop().unwrap();
    let database = bridge.state_dir().join("holdfast.db");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    let stored = runtime
        .block_on(history::write(&database, wanted, now))
        .unwrap();
    bridge.restart().unwrap();
    bridge.kill().unwrap();
    let began = Instant::now();
    bridge.restart().unwrap();
    let served = began.elapsed();
    let newest = api
        .call("ListCommandInvocations", &json!({"MaxResults": 50}))
        .unwrap();
    let answered = began.elapsed();
    record(
        "invocations stored",
        stored as f64,
        "invocations",
        Bound::AtLeast(wanted as f64),
    );
    record(
        "killed bridge with them, until it serves",
        served.as_secs_f64(),
        "s",
        Bound::AtMost(2.0),
    );
    let listed = (answered - served).as_secs_f64() * 1000.0;
    record(
        "the newest of them listed after that",
        listed,
        "ms",
        Bound::None,
    );
    let newest = newest["CommandInvocations"].as_array().unwrap();
    assert_eq!(newest.len(), 50);
    // Their nodes were connected to the run that was killed, if at all.
    for invocation in newest {
        assert_eq!(commands::text(invocation, "Status"), "InProgress");
    }
    bridge.stop().unwrap();
    runtime.block_on(integrity(&database)).unwrap();
}
