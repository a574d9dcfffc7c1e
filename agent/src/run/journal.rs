//! Hands work to the store on a blocking thread, one batch at a time, and tries again while the device fails.
//! Never blocks the caller: what comes meanwhile waits for the next batch.

use super::store::{Op, Store};
use holdfast_agent_core::Input;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Waits between two tries while the device fails.
const RETRY: Duration = Duration::from_secs(2);

type Batch = JoinHandle<(Store, Vec<Input>)>;

enum State {
    Idle(Box<Store>),
    Busy(Batch),
    /// The thread broke off: the process cannot go on.
    Lost,
}

/// The journal at work.
pub(super) struct JournalTask {
    state: State,
    queue: Vec<Op>,
    retry_at: Option<Instant>,
}

/// The journal's thread broke off.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the journal's thread broke off: this is a fault of the agent, which ends and begins anew")]
pub struct JournalLost;

impl JournalTask {
    pub(super) fn new(store: Store) -> Self {
        Self {
            state: State::Idle(Box::new(store)),
            queue: Vec::new(),
            retry_at: None,
        }
    }

    /// Adds work; [`Self::next`] begins it. The core bounds how much it has open.
    pub(super) fn push(&mut self, op: Op) {
        self.queue.push(op);
    }

    /// Whether nothing is under way or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.retry_at.is_none() && matches!(self.state, State::Idle(_))
    }

    /// What the next batch came to. May be dropped and called again; waits for ever without work.
    ///
    /// # Errors
    /// [`JournalLost`].
    pub(super) async fn next(&mut self) -> Result<Vec<Input>, JournalLost> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Lost) {
                State::Lost => return Err(JournalLost),
                State::Idle(store) if self.queue.is_empty() => {
                    self.state = State::Idle(store);
                    match self.retry_at {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                    self.retry_at = None;
                    self.begin()
                }
                State::Idle(store) => {
                    self.state = State::Idle(store);
                    self.begin()
                }
                State::Busy(batch) => State::Busy(batch),
            };
            if let State::Busy(batch) = &mut self.state {
                let (store, answers) = batch.await.map_err(|_| JournalLost)?;
                self.retry_at = store.is_delayed().then(|| Instant::now() + RETRY);
                self.state = State::Idle(Box::new(store));
                return Ok(answers);
            }
        }
    }

    fn begin(&mut self) -> State {
        let ops = std::mem::take(&mut self.queue);
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(mut store) => State::Busy(tokio::task::spawn_blocking(move || {
                let answers = store.perform(ops);
                (*store, answers)
            })),
            other => other,
        }
    }
}
