//! Hands work to the store on a blocking thread, one batch at a time, and tries again while the device fails.
//! Never blocks the caller: what comes meanwhile waits for the next batch.

use crate::clock::{self, NoRandomness};
use holdfast_agent_core::{Input, StoreOp};
use holdfast_agent_store::Wear;
use holdfast_journal::{Config, DirStorage, OpenError, Recovery};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Waits between two tries while the device fails.
const RETRY: Duration = Duration::from_secs(2);

/// The store on the agent's disk.
pub(super) type Store = holdfast_agent_store::Store<DirStorage>;

/// Opens the journal of a directory.
///
/// # Errors
/// [`OpenError`].
pub(super) fn open(path: &Path, bounds: &Config) -> Result<(Store, Recovery), OpenError> {
    Store::open(DirStorage::open(path)?, bounds, Box::new(salt))
}

/// Salts tell a segment's records from what an older use of its blocks left there; without
/// randomness the time since boot still differs.
fn salt() -> u64 {
    let random: Result<[u8; 8], NoRandomness> = clock::random();
    random.map_or_else(|_| clock::now().0, u64::from_le_bytes)
}

/// The journal at work.
pub(super) struct JournalTask {
    /// Here while no batch is under way.
    store: Option<Box<Store>>,
    batch: Option<JoinHandle<(Box<Store>, Vec<Input>)>>,
    queue: Vec<StoreOp>,
    /// As of the last batch.
    wear: Wear,
    retry_at: Option<Instant>,
}

/// The journal's thread broke off.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the journal's thread broke off: this is a fault of the agent, which ends and begins anew")]
pub struct JournalLost;

impl JournalTask {
    pub(super) fn new(store: Store) -> Self {
        Self {
            wear: store.wear(),
            store: Some(Box::new(store)),
            batch: None,
            queue: Vec::new(),
            retry_at: None,
        }
    }

    /// Adds work; [`Self::next`] begins it. The core bounds how much it has open.
    pub(super) fn push(&mut self, op: StoreOp) {
        self.queue.push(op);
    }

    /// What is written, as of the last batch that ended.
    pub(super) fn wear(&self) -> Wear {
        self.wear
    }

    /// Whether nothing is under way or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.retry_at.is_none() && self.batch.is_none()
    }

    /// What the next batch came to. May be dropped and called again; waits for ever without work.
    ///
    /// # Errors
    /// [`JournalLost`].
    pub(super) async fn next(&mut self) -> Result<Vec<Input>, JournalLost> {
        loop {
            if let Some(batch) = &mut self.batch {
                let done = batch.await;
                self.batch = None;
                let (store, answers) = done.map_err(|_| JournalLost)?;
                self.retry_at = store.is_delayed().then(|| Instant::now() + RETRY);
                self.wear = store.wear();
                self.store = Some(store);
                return Ok(answers);
            }
            if self.queue.is_empty() {
                match self.retry_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            }
            self.retry_at = None;
            let ops = std::mem::take(&mut self.queue);
            let mut store = self.store.take().ok_or(JournalLost)?;
            self.batch = Some(tokio::task::spawn_blocking(move || {
                let answers = store.perform(ops);
                (store, answers)
            }));
        }
    }
}
