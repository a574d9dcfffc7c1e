//! A hello storm: every node connects at the same moment, while somebody uses the API.
//! Never lets a failed call pass: the bridge answers each, however late.

use crate::enrol::Identity;
use crate::measure::{largest, median};
use crate::swarm::Swarm;
use anyhow::{Context as _, Result};
use holdfast_e2e::{Api, Bridge};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, park_timeout};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Between two calls: a person at a console, not another load.
const PAUSE: Duration = Duration::from_millis(20);

/// What one caller of the API saw, in milliseconds.
#[derive(Debug, Clone)]
pub struct Latency {
    /// Calls answered while nodes were coming in.
    pub calls: usize,
    /// The middle one.
    pub median_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    fn of(taken: &[f64]) -> Result<Self> {
        Ok(Self {
            calls: taken.len(),
            median_ms: median(taken).context("no call was answered")?,
            max_ms: largest(taken),
        })
    }
}

/// What a storm came to.
#[derive(Debug, Clone)]
pub struct Storm {
    /// From the first connection until every node's hello was accepted.
    pub all_online: Duration,
    /// Calls that read: a page of the fleet.
    pub reads: Latency,
    /// Calls that write: a node's tag.
    pub writes: Latency,
}

/// Calls the API again and again until told to stop; milliseconds of each call.
fn caller(
    api: Api,
    operation: &'static str,
    input: Value,
    over: Arc<AtomicBool>,
) -> JoinHandle<Result<Vec<f64>>> {
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            api.call(operation, &input).context(operation)?;
            taken.push(began.elapsed().as_secs_f64() * 1000.0);
            park_timeout(PAUSE);
        }
        Ok(taken)
    })
}

fn joined(caller: JoinHandle<Result<Vec<f64>>>) -> Result<Latency> {
    let taken = caller
        .join()
        .map_err(|_| anyhow::anyhow!("a caller of the API panicked"))??;
    Latency::of(&taken)
}

/// Lets all of these nodes connect at once and waits until they are online. The swarm goes on.
///
/// # Errors
/// When some are not within `limit`, or when a call of the API failed.
pub fn hello_storm(
    runtime: &Runtime,
    bridge: &Bridge,
    identities: &[Identity],
    limit: Duration,
) -> Result<(Swarm, Storm)> {
    let node = identities.first().context("a node")?.node.to_string();
    let api = bridge.api()?;
    let over = Arc::new(AtomicBool::new(false));
    let swarm = {
        let _entered = runtime.enter();
        Swarm::start(bridge.mqtt, identities)?
    };
    let call = |operation, input| caller(api.clone(), operation, input, Arc::clone(&over));
    let reads = call("DescribeInstanceInformation", json!({"MaxResults": 50}));
    let writes = call(
        "AddTagsToResource",
        json!({
            "ResourceType": "ManagedInstance",
            "ResourceId": node,
            "Tags": [{"Key": "Storm", "Value": "yes"}],
        }),
    );
    let all_online = runtime.block_on(swarm.all_online(limit));
    over.store(true, Ordering::Relaxed);
    let (reads, writes) = (joined(reads), joined(writes));
    let storm = Storm {
        all_online: all_online?,
        reads: reads?,
        writes: writes?,
    };
    Ok((swarm, storm))
}
