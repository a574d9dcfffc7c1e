//! From the start of a bridge that was killed until it serves, on a million stored invocations.
//! Never of a warm process: each start is a new one; the system's page cache is as the last run left it.

use crate::fleet::history;
use crate::ground::Ground;
use crate::measure::{largest, median};
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let wanted = ground.or_quick(1_000_000, 50_000);
    let rounds = ground.or_quick(5, 2);
    let folder = ground.folder()?;
    let mut bridge = ground.bridge(&folder)?;
    let api = bridge.api()?;
    bridge.stop()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let database = bridge.state_dir().join("holdfast.db");
    ground.tell(format!("writing {wanted} invocations"));
    let written = history::write(&database, wanted, i64::try_from(now.as_millis())?);
    let stored = ground.runtime.block_on(written)?;
    let size = std::fs::metadata(&database).context("the database")?.len();
    bridge.restart()?;
    let (mut served, mut listed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bridge.kill()?;
        let began = Instant::now();
        bridge.restart()?;
        served.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        api.call("ListCommandInvocations", &json!({"MaxResults": 50}))?;
        listed.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    bridge.stop()?;
    Ok(vec![
        Row::new("bridge, killed and serving again", "s", median(&served)?)
            .within(Budget::AtMost(2.0))
            .noted(format!(
                "{stored} invocations, {:.0} MB; median of {rounds}, longest {:.2} s",
                size as f64 / 1e6,
                largest(&served)
            )),
        Row::new(
            "bridge, the newest 50 invocations listed",
            "ms",
            median(&listed)?,
        )
        .noted("the first call after each of these starts"),
    ])
}
