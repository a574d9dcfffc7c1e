//! One client's side of MQTT after it was let in: rights, subscriptions, what is in flight.
//! Never touches its socket: bytes come in as packets and leave through a buffer.

use super::encode::{self, SUBSCRIBE_REFUSED};
use super::limits::Limits;
use super::mailbox::{Mailbox, Outbound};
use super::packet::{Packet, PacketId, Publish};
use super::sessions::{CloseReason, ConnectionId, DeliveryId, Sessions, Verdict};
use holdfast_protocol::NodeId;
use holdfast_protocol::topic::Topic;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Topics that one client may read at once; a node has two, an enrolment one.
const SUBSCRIPTIONS_MAX: usize = 4;

/// A client broke the rules; its connection closes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("a second CONNECT on one connection")]
    SecondConnect,
    #[error("`{topic}` is not a topic that this client may publish to")]
    Publish { topic: String },
}

/// What the connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    Go,
    /// The client said DISCONNECT.
    Leave,
}

/// A publish that waits for its commit.
struct Pending {
    id: Option<PacketId>,
    bytes: usize,
    verdict: oneshot::Receiver<Verdict>,
}

/// The state of a connected client.
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    pub(super) node: Option<NodeId>,
    mailbox: Arc<Mailbox>,
    sessions: Arc<dyn Sessions>,
    subscriptions: Vec<Topic>,
    inflight: VecDeque<Pending>,
    inflight_bytes: usize,
    unacknowledged: BTreeMap<PacketId, DeliveryId>,
    last_id: u16,
}

impl Link {
    pub(super) fn new(
        connection: ConnectionId,
        node: Option<NodeId>,
        mailbox: Arc<Mailbox>,
        sessions: Arc<dyn Sessions>,
    ) -> Self {
        Self {
            connection,
            node,
            mailbox,
            sessions,
            subscriptions: Vec::new(),
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            unacknowledged: BTreeMap::new(),
            last_id: 0,
        }
    }

    /// Whether one more publish may be taken.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        // One that waits for nothing may always send, so the hub is asked by those with more.
        self.inflight.is_empty()
            || (self.inflight_bytes < limits.inflight_bytes
                && self.inflight.len() < self.sessions.window(limits.inflight))
    }

    /// Whether publishes wait for their commit.
    pub(super) fn is_committing(&self) -> bool {
        !self.inflight.is_empty()
    }

    /// Acts on a packet; answers go to `out`.
    pub(super) fn receive(
        &mut self,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Next, Violation> {
        match packet {
            Packet::Connect(_) => return Err(Violation::SecondConnect),
            Packet::Publish(publish) => self.publish(publish)?,
            Packet::PubAck(id) => {
                // An id that is not waiting is a repeat; there is nothing left to do for it.
                if let Some(delivery) = self.unacknowledged.remove(id) {
                    self.sessions.delivered(self.connection, delivery);
                }
            }
            Packet::Subscribe { id, filters } => {
                let codes: Vec<u8> = filters
                    .iter()
                    .map(|(filter, qos)| self.subscribe(filter, *qos))
                    .collect();
                encode::suback(out, *id, &codes);
            }
            Packet::Unsubscribe { id, filters } => {
                self.subscriptions
                    .retain(|topic| !filters.contains(&topic.to_string().as_str()));
                encode::unsuback(out, *id);
            }
            Packet::PingReq => encode::pingresp(out),
            Packet::Disconnect => return Ok(Next::Leave),
        }
        Ok(Next::Go)
    }

    fn publish(&mut self, publish: &Publish<'_>) -> Result<(), Violation> {
        let topic = publish
            .topic
            .parse()
            .ok()
            .filter(|topic: &Topic| topic.may_publish(self.node))
            .ok_or_else(|| Violation::Publish {
                topic: publish.topic.chars().take(96).collect(),
            })?;
        let verdict = self
            .sessions
            .publish(self.connection, topic, publish.payload);
        self.inflight_bytes += publish.payload.len();
        self.inflight.push_back(Pending {
            id: publish.id,
            bytes: publish.payload.len(),
            verdict,
        });
        Ok(())
    }

    /// SUBACK's code for one filter: the quality of service granted, or a refusal.
    fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let Ok(topic) = filter.parse::<Topic>() else {
            return SUBSCRIBE_REFUSED;
        };
        if !topic.may_subscribe(self.node) {
            return SUBSCRIBE_REFUSED;
        }
        if !self.subscriptions.contains(&topic) {
            if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
                return SUBSCRIBE_REFUSED;
            }
            self.subscriptions.push(topic);
        }
        // A message's own quality of service decides; 2 is granted as 1.
        qos.min(1)
    }

    /// The verdict on the oldest publish; pending while there is none. Cancelling loses nothing.
    pub(super) async fn verdict(&mut self) -> Verdict {
        match self.inflight.front_mut() {
            Some(first) => (&mut first.verdict)
                .await
                .unwrap_or(Verdict::Close(CloseReason::Store)),
            None => pending().await,
        }
    }

    /// Takes the verdict on the oldest publish, and those that are there behind it: one commit
    /// answers many. PUBACKs keep the order of the publishes.
    ///
    /// # Errors
    /// Why the connection must close; no PUBACK follows then.
    pub(super) fn settle(&mut self, first: Verdict, out: &mut Vec<u8>) -> Result<(), CloseReason> {
        let mut verdict = first;
        loop {
            let Some(settled) = self.inflight.pop_front() else {
                return Ok(());
            };
            self.inflight_bytes -= settled.bytes;
            match verdict {
                Verdict::Accepted | Verdict::Discarded => {
                    if let Some(id) = settled.id {
                        encode::puback(out, id);
                    }
                }
                Verdict::Close(reason) => return Err(reason),
            }
            match self
                .inflight
                .front_mut()
                .map(|next| next.verdict.try_recv())
            {
                Some(Ok(next)) => verdict = next,
                Some(Err(oneshot::error::TryRecvError::Closed)) => return Err(CloseReason::Store),
                Some(Err(oneshot::error::TryRecvError::Empty)) => return Ok(()),
                None => {
                    // An idle connection keeps no queue.
                    self.inflight = VecDeque::new();
                    return Ok(());
                }
            }
        }
    }

    /// Writes the mailbox's next message, if there is one; `false` without.
    ///
    /// # Errors
    /// [`CloseReason::SlowConsumer`] when the client leaves too much unacknowledged.
    pub(super) fn forward(
        &mut self,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<bool, CloseReason> {
        let Some(message) = self.mailbox.pop() else {
            return Ok(false);
        };
        if !self.subscriptions.contains(&message.topic) {
            tracing::warn!(topic = %message.topic, "message for a topic that the client did not subscribe to; dropped");
            return Ok(true);
        }
        let Outbound {
            topic,
            payload,
            delivery,
        } = message;
        let id = match delivery {
            Some(delivery) => Some(self.assign(delivery, limits)?),
            None => None,
        };
        encode::publish(out, &topic.to_string(), id, &payload);
        Ok(true)
    }

    /// A packet id that is free.
    fn assign(&mut self, delivery: DeliveryId, limits: &Limits) -> Result<PacketId, CloseReason> {
        if self.unacknowledged.len() >= limits.unacknowledged {
            return Err(CloseReason::SlowConsumer);
        }
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            // The bound is far below 65,535, so a free one comes soon.
            if let Some(id) = PacketId::new(self.last_id)
                && !self.unacknowledged.contains_key(&id)
            {
                self.unacknowledged.insert(id, delivery);
                return Ok(id);
            }
        }
    }
}
