//! Memory of the bridge per connected, idle node: real TLS, hello said, both topics subscribed.
//! Never of a fresh bridge: it has served before, so that what it keeps for all is not counted.

use crate::enrol::enrol_fleet;
use crate::ground::Ground;
use crate::measure::{median, resident_kib};
use crate::swarm::Swarm;
use crate::table::{Budget, Row};
use crate::tls_state;
use anyhow::Result;
use std::time::Duration;

/// Nodes connected before the first look at the bridge's memory.
const WARM_UP: usize = 50;
const LIMIT: Duration = Duration::from_secs(300);

fn settled_kib(process: u32) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(500));
        samples.push(resident_kib(process)?);
    }
    median(&samples)
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let nodes: usize = ground.or_quick(2_000, 300);
    let folder = ground.folder()?;
    let mut bridge = ground.bridge(&folder)?;
    let (runtime, all) = (&ground.runtime, nodes + WARM_UP);
    ground.tell(format!("enrolling {all} nodes over the real protocol"));
    let enrolling = std::time::Instant::now();
    let identities = runtime.block_on(enrol_fleet(&bridge, all, &[]))?;
    let enrolled_per_s = identities.len() as f64 / enrolling.elapsed().as_secs_f64();
    bridge.stop()?;
    bridge.restart()?;
    let (warm, rest) = identities.split_at(WARM_UP);
    let start = |identities: &[_]| {
        let _entered = runtime.enter();
        Swarm::start(bridge.mqtt, identities)
    };
    let warm = start(warm)?;
    runtime.block_on(warm.all_online(LIMIT))?;
    let before = settled_kib(bridge.id())?;
    let swarm = start(rest)?;
    let connected = runtime.block_on(swarm.all_online(LIMIT))?;
    let after = settled_kib(bridge.id())?;
    ground.tell(format!(
        "{before:.0} KiB before, {after:.0} KiB after; {:.1} s until all were online",
        connected.as_secs_f64()
    ));
    let warnings = swarm.warnings();
    if warnings.0 > 0 {
        ground.tell(format!("{} warnings, the last: {}", warnings.0, warnings.1));
    }
    runtime.block_on(swarm.stop())?;
    runtime.block_on(warm.stop())?;
    bridge.stop()?;
    let whole = (after - before) / nodes as f64;
    let tls = tls_state::resident_kib_each_afresh(nodes)?;
    Ok(vec![
        Row::new("bridge, memory per connected node", "KiB", whole)
            .within(Budget::AtMost(32.0))
            .noted(format!(
                "resident, {nodes} real TLS connections, TLS state included"
            )),
        Row::new("bridge, the same without TLS", "KiB", whole - tls)
            .within(Budget::AtMost(8.0))
            .noted(format!(
                "less {tls:.1} KiB: rustls's state after as many handshakes in memory"
            )),
        Row::new(
            "bridge, nodes online a second",
            "/s",
            nodes as f64 / connected.as_secs_f64(),
        )
        .noted("TLS, hello and token committed; all at once"),
        Row::new("bridge, enrolments a second", "/s", enrolled_per_s)
            .noted("TLS, activation's proof, certificate committed; 32 at once"),
    ])
}
