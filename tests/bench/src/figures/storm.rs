//! A hello storm of a whole fleet: how long until all are online, and how long the API takes meanwhile.
//! Never with a fleet that the bridge knows already: it has started since they were enrolled.

use crate::enrol::enrol_fleet;
use crate::fleet::storm::{Latency, hello_storm};
use crate::ground::Ground;
use crate::table::Row;
use anyhow::Result;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);

fn api(what: &str, latency: &Latency) -> Row {
    let figure = format!("hello storm, API call that {what}, median");
    Row::new(figure, "ms", latency.median_ms).noted(format!(
        "{} calls while the nodes came in, all answered; longest {:.0} ms",
        latency.calls, latency.max_ms
    ))
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let nodes: usize = ground.or_quick(5_000, 300);
    let folder = ground.folder()?;
    let mut bridge = ground.bridge(&folder)?;
    let runtime = &ground.runtime;
    ground.tell(format!("enrolling {nodes} nodes over the real protocol"));
    let identities = runtime.block_on(enrol_fleet(&bridge, nodes, &[]))?;
    bridge.stop()?;
    bridge.restart()?;
    let (swarm, storm) = hello_storm(runtime, &bridge, &identities, LIMIT)?;
    runtime.block_on(swarm.stop())?;
    bridge.stop()?;
    let seconds = storm.all_online.as_secs_f64();
    Ok(vec![
        Row::new(
            format!("hello storm, {nodes} nodes until all are online"),
            "s",
            seconds,
        )
        .noted("TLS, hello and token committed; every node connects at the same moment"),
        api("reads a page of the fleet", &storm.reads),
        api("writes a tag", &storm.writes),
    ])
}
