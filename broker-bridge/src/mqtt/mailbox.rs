//! What waits to be written to one connection: first in, first out, bounded in bytes.
//! Never reorders: a frame's counter must not overtake an earlier one.

use super::sessions::{CloseReason, DeliveryId};
use bytes::Bytes;
use holdfast_protocol::topic::Topic;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a queued message costs beside its payload.
const OVERHEAD_BYTES: usize = 128;

/// A message for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Topic, one that the client subscribed to; otherwise the message is dropped and counted.
    pub topic: Topic,
    /// The frame.
    pub payload: Bytes,
    /// With an id it goes at QoS 1 and [`super::Sessions::delivered`] follows its PUBACK; without
    /// one it goes at QoS 0.
    pub delivery: Option<DeliveryId>,
}

impl Outbound {
    fn cost(&self) -> usize {
        self.payload.len() + OVERHEAD_BYTES
    }
}

/// A message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full; the connection is being closed for it, and a hello will ask again.
    #[error("{bytes} bytes wait already: at most {max} may; the connection is being closed")]
    Full {
        /// Bytes that wait.
        bytes: usize,
        /// Bytes that may wait.
        max: usize,
    },
    /// The connection is over or ending.
    #[error("the connection is closed")]
    Closed,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outbound>,
    bytes: usize,
    closed: Option<CloseReason>,
}

/// The queue towards one connection. Shared by the connection and whoever sends to it.
#[derive(Debug)]
pub struct Mailbox {
    state: Mutex<State>,
    woken: Notify,
    bytes_max: usize,
}

impl Mailbox {
    /// An empty queue that takes up to `bytes_max`, with a small overhead counted for each message.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            woken: Notify::new(),
            bytes_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock, and the state is valid between statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError`]; the message is then not sent, and the connection is over or ending.
    pub fn send(&self, message: Outbound) -> Result<(), SendError> {
        let mut state = self.state();
        if state.closed.is_some() {
            return Err(SendError::Closed);
        }
        let cost = message.cost();
        let result = if state.bytes + cost > self.bytes_max {
            state.closed = Some(CloseReason::SlowConsumer);
            Err(SendError::Full {
                bytes: state.bytes,
                max: self.bytes_max,
            })
        } else {
            state.bytes += cost;
            state.queue.push_back(message);
            Ok(())
        };
        drop(state);
        self.woken.notify_one();
        result
    }

    /// Ends the connection once what is queued already is written. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        self.state().closed.get_or_insert(reason);
        self.woken.notify_one();
    }

    /// Bytes that wait, the overhead of each message included.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.state().bytes
    }

    /// The next message, without waiting.
    pub fn pop(&self) -> Option<Outbound> {
        let mut state = self.state();
        let message = state.queue.pop_front()?;
        state.bytes = state.bytes.saturating_sub(message.cost());
        if state.queue.is_empty() {
            // An idle connection keeps no queue.
            state.queue = VecDeque::new();
        }
        Some(message)
    }

    /// Why the connection is to end, if it is.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.state().closed
    }

    /// Resolves after a [`Self::send`] or [`Self::close`] that was not seen yet.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::NodeId;

    fn message(bytes: usize) -> Outbound {
        Outbound {
            topic: Topic::Control(NodeId::from_random([1; 9])),
            payload: vec![0; bytes].into(),
            delivery: None,
        }
    }

    #[test]
    fn a_full_mailbox_refuses_with_its_bound_and_ends_the_connection() {
        let mailbox = Mailbox::new(2 * (100 + OVERHEAD_BYTES));
        mailbox.send(message(100)).unwrap();
        mailbox.send(message(100)).unwrap();
        let full = mailbox.queued_bytes();
        assert_eq!(
            mailbox.send(message(1)),
            Err(SendError::Full {
                bytes: full,
                max: full
            })
        );
        assert_eq!(mailbox.closed(), Some(CloseReason::SlowConsumer));
        assert_eq!(mailbox.send(message(1)), Err(SendError::Closed));
    }

    #[test]
    fn what_is_taken_makes_room_and_keeps_its_order() {
        let mailbox = Mailbox::new(1000);
        for bytes in [1, 2, 3] {
            mailbox.send(message(bytes)).unwrap();
        }
        let lengths: Vec<_> = std::iter::from_fn(|| mailbox.pop())
            .map(|message| message.payload.len())
            .collect();
        assert_eq!(lengths, [1, 2, 3]);
        assert_eq!(mailbox.queued_bytes(), 0);
    }

    #[test]
    fn the_first_reason_to_close_stays() {
        let mailbox = Mailbox::new(1000);
        mailbox.close(CloseReason::TakenOver);
        mailbox.close(CloseReason::Shutdown);
        assert_eq!(mailbox.closed(), Some(CloseReason::TakenOver));
    }
}
