//! Many nodes in one process: each runs the agent's own core over a real TLS connection of its own.
//! Never runs a step's process or gathers a report: it loads the bridge as a fleet would, no more.

pub mod memory;
mod node;

use crate::enrol::Identity;
use anyhow::{Result, bail};
use holdfast_protocol::NodeId;
use node::Node;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Default)]
struct Counts {
    online: AtomicUsize,
    runs: AtomicU64,
    acknowledged: AtomicU64,
    warnings: AtomicU64,
    last_warning: Mutex<String>,
}

impl Counts {
    fn warn(&self, node: NodeId, why: &str) {
        self.warnings.fetch_add(1, Ordering::Relaxed);
        let mut last = self
            .last_warning
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = format!("{node}: {why}");
    }
}

/// A fleet. Dropped, its connections break off; [`Self::stop`] ends them well.
#[derive(Debug)]
pub struct Swarm {
    nodes: Vec<JoinHandle<Result<()>>>,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
}

impl Swarm {
    /// Starts nodes; they connect by themselves and stay connected, as agents do.
    ///
    /// # Errors
    /// When an identity cannot be used.
    pub fn start(address: SocketAddr, identities: &[Identity]) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let (stop, stopping) = watch::channel(false);
        let mut nodes = Vec::with_capacity(identities.len());
        for identity in identities {
            let place = identity.place(address)?;
            let node = Node::new(identity, place, Arc::clone(&counts))?;
            nodes.push(tokio::spawn(Box::pin(node.live(stopping.clone()))));
        }
        Ok(Self {
            nodes,
            counts,
            stop,
        })
    }

    /// Nodes that the bridge has accepted and that are connected now.
    #[must_use]
    pub fn online(&self) -> usize {
        self.counts.online.load(Ordering::Relaxed)
    }

    /// Steps begun so far.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.counts.runs.load(Ordering::Relaxed)
    }

    /// Records of the stream *result* that the bridge has acknowledged: the nodes forgot them.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.counts.acknowledged.load(Ordering::Relaxed)
    }

    /// How many warnings the cores gave, and the last one.
    #[must_use]
    pub fn warnings(&self) -> (u64, String) {
        let last = &self.counts.last_warning;
        let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.counts.warnings.load(Ordering::Relaxed), last)
    }

    /// Waits until every node is online.
    ///
    /// # Errors
    /// When some are not within the limit, with the last warning.
    pub async fn all_online(&self, limit: Duration) -> Result<Duration> {
        let started = Instant::now();
        while self.online() < self.nodes.len() {
            if started.elapsed() > limit {
                bail!(
                    "{} of {} nodes are online after {} s; last warning: {}",
                    self.online(),
                    self.nodes.len(),
                    limit.as_secs(),
                    self.warnings().1
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(started.elapsed())
    }

    /// Stops every node as an agent is stopped.
    ///
    /// # Errors
    /// When a node failed.
    pub async fn stop(self) -> Result<()> {
        let _ = self.stop.send(true);
        for node in self.nodes {
            node.await??;
        }
        Ok(())
    }
}
