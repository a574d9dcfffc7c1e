//! Implements the endpoint's seam: each call is handed to a task, the answer follows the commit.
//! Never blocks, and never trusts a word of a connection that was taken over.

use super::Hub;
use super::ingest::Incoming;
use super::refill::Held;
use super::session::Session;
use crate::mqtt::sessions::ready;
use crate::mqtt::{
    Arrival, CloseReason, ConnectRefusal, ConnectionId, DeliveryId, Departure, Identity, Mailbox,
    Outbound, Sessions, Verdict,
};
use crate::store::error::signed;
use crate::store::{Caller, NodeCertificate, Standing, StoreError};
use bytes::Bytes;
use holdfast_bridge_core::places::Wanted;
use holdfast_protocol::down::Down;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Answer, Presence, Up};
use holdfast_protocol::{NodeId, Nonce};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

impl Sessions for Hub {
    fn connect(&self, arrival: Arrival) -> oneshot::Receiver<Result<(), ConnectRefusal>> {
        let Some(identity) = arrival.identity else {
            self.shared.sessions.insert_anonymous(
                arrival.connection,
                arrival.mailbox,
                arrival.peer,
            );
            return ready(Ok(()));
        };
        let (reply, answer) = oneshot::channel();
        let hub = self.clone();
        tokio::spawn(async move {
            let admitted = hub
                .admit(arrival.connection, &identity, arrival.mailbox)
                .await;
            if reply.send(admitted).is_err() {
                // The endpoint gave up waiting, and has said already that it is gone.
                hub.shared.sessions.remove(arrival.connection);
            }
        });
        answer
    }

    fn publish(
        &self,
        connection: ConnectionId,
        topic: Topic,
        payload: &[u8],
    ) -> oneshot::Receiver<Verdict> {
        if let Topic::EnrolRequest(nonce) = topic {
            return self.enrol(connection, nonce, payload);
        }
        let Some(session) = self.shared.sessions.of(connection) else {
            return ready(Verdict::Close(CloseReason::TakenOver));
        };
        match Up::decode(payload) {
            Ok(up) => self.take(session, topic, up, payload.len()),
            Err(error) => {
                tracing::warn!(node_id = %session.node, %error, "a frame is refused");
                ready(Verdict::Discarded)
            }
        }
    }

    fn delivered(&self, connection: ConnectionId, delivery: DeliveryId) {
        let Some(session) = self.shared.sessions.of(connection) else {
            return;
        };
        if let Some((command, wanted)) = session.delivered(delivery) {
            let hub = self.clone();
            // A node answers before it acknowledges: were the acknowledgement recorded alone, a crash
            // would leave a command as delivered that its node had no room for.
            let answered = session.answered();
            tokio::spawn(async move {
                if let Some(answered) = answered
                    && answered.await.is_err()
                {
                    // The session ends for it, and the next hello asks for all.
                    return;
                }
                let held = Some(Held::Delivered(command));
                hub.refill(&session, held, wanted).await;
            });
        }
    }

    fn window(&self, full: usize) -> usize {
        self.shared.ingest.window(full)
    }

    fn disconnect(&self, connection: ConnectionId, departure: Departure) {
        let Some(session) = self.shared.sessions.remove(connection) else {
            return;
        };
        tracing::debug!(node_id = %session.node, ?departure, "disconnected");
        let hub = self.clone();
        tokio::spawn(async move { hub.link_lost(session.node, session.number()).await });
    }
}

impl Hub {
    async fn admit(
        &self,
        connection: ConnectionId,
        identity: &Identity,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), ConnectRefusal> {
        let serial = hex::encode(&identity.serial);
        let unavailable = |error: StoreError| {
            tracing::error!(node_id = %identity.node, %error, "a node cannot be looked up");
            ConnectRefusal::Unavailable
        };
        let store = &self.shared.store;
        match store
            .standing(identity.node, &serial)
            .await
            .map_err(unavailable)?
        {
            Standing::Unknown => return Err(ConnectRefusal::Unknown),
            Standing::Deregistered | Standing::Revoked => return Err(ConnectRefusal::Revoked),
            // A quarantined node is let in, so that its hello can be told why.
            Standing::Good | Standing::Quarantined(_) => {}
        }
        let node = store.node(identity.node).await.map_err(unavailable)?;
        let node = node.ok_or(ConnectRefusal::Unknown)?;
        if node.key != identity.key && node.previous_key != Some(identity.key) {
            let caller = Caller::local(self.shared.clock.now());
            let certificate = NodeCertificate {
                serial,
                expires: signed(identity.not_after_unix_ms),
            };
            let adopted = store
                .adopt_certificate(caller, identity.node, identity.key, certificate)
                .await;
            if !adopted.map_err(unavailable)? {
                return Err(ConnectRefusal::Unknown);
            }
        }
        let session = Session::new(identity.node, connection, identity.key, mailbox);
        let session = Arc::new(session);
        if !self.shared.sessions.insert(&session) {
            session.close(CloseReason::TakenOver);
        }
        Ok(())
    }

    fn take(
        &self,
        session: Arc<Session>,
        topic: Topic,
        up: Up,
        bytes: usize,
    ) -> oneshot::Receiver<Verdict> {
        let (reply, answer) = oneshot::channel();
        let hub = self.clone();
        match (topic, up) {
            (Topic::Hello(_), Up::Hello(hello)) => {
                tokio::spawn(async move {
                    let _ = reply.send(hub.hello(session, hello).await);
                });
            }
            (
                Topic::Stream(_, class),
                Up::Record {
                    outbox,
                    sequence,
                    record,
                },
            ) => {
                if record.class().is_some_and(|of_record| of_record != class) {
                    tracing::warn!(node_id = %session.node, %topic, "a record is on another stream than its own");
                    return ready(Verdict::Discarded);
                }
                let Some(greeted) = session.greeted().filter(|greeted| greeted.outbox == outbox)
                else {
                    tracing::warn!(node_id = %session.node, "a record came before its hello");
                    return ready(Verdict::Discarded);
                };
                let dating = greeted.dating;
                return self.shared.ingest.push(
                    Incoming {
                        session,
                        outbox,
                        class,
                        sequence,
                        record: *record,
                        dating,
                        bytes,
                        reply,
                    },
                    answer,
                );
            }
            (Topic::Answer(_), Up::Answer(word)) => {
                // A quarantined node is connected too, until its hello is refused.
                if session.greeted().is_none() {
                    tracing::warn!(node_id = %session.node, "an answer came before its hello");
                    return ready(Verdict::Discarded);
                }
                let wanted = match word {
                    Answer::Stale { command, counter } => session.stale(command, counter),
                    Answer::Busy { .. } | Answer::Known { .. } | Answer::Unknown { .. } => {
                        Wanted::NOTHING
                    }
                };
                let (before, told) = session.answers();
                tokio::spawn(async move {
                    let all_before = match before {
                        Some(before) => before.await.is_ok(),
                        None => true,
                    };
                    if hub.answer(&session, word, wanted).await && all_before {
                        let _ = told.send(());
                    }
                    let _ = reply.send(Verdict::Accepted);
                });
            }
            (Topic::Renewal(_), Up::Renewal(renewal)) => {
                tokio::spawn(async move {
                    if let Some(renewed) = hub.shared.enrolment.renew(session.node, renewal).await {
                        session.send(&Down::Renewed(renewed), None, &hub.shared.sealers);
                    }
                    let _ = reply.send(Verdict::Accepted);
                });
            }
            // The connection itself says it: hello and disconnect.
            (Topic::Presence(_), Up::Presence(Presence { .. })) => return ready(Verdict::Accepted),
            (topic, _) => {
                tracing::warn!(node_id = %session.node, %topic, "a frame is on another topic than its own");
                return ready(Verdict::Discarded);
            }
        }
        answer
    }

    fn enrol(
        &self,
        connection: ConnectionId,
        nonce: Nonce,
        payload: &[u8],
    ) -> oneshot::Receiver<Verdict> {
        let Some((mailbox, peer)) = self.shared.sessions.anonymous(connection) else {
            return ready(Verdict::Discarded);
        };
        let (reply, answer) = oneshot::channel();
        let request = self
            .shared
            .enrolment
            .enrol(peer, nonce, Bytes::copy_from_slice(payload));
        tokio::spawn(async move {
            let Some(payload) = request.await else {
                let _ = reply.send(Verdict::Discarded);
                return;
            };
            let topic = Topic::EnrolReply(nonce);
            if let Err(error) = mailbox.send(Outbound {
                topic,
                payload,
                delivery: None,
            }) {
                tracing::debug!(%error, "an enrolment's reply was not sent");
            }
            let _ = reply.send(Verdict::Accepted);
        });
        answer
    }

    /// Records that a connection is gone, unless a newer one has said hello.
    pub(super) async fn link_lost(&self, node: NodeId, number: i64) {
        let now = self.shared.clock.now();
        let lost =
            self.shared.store.writer.write(move |connection| {
                Box::pin(super::node::leave(connection, node, number, now))
            });
        if let Err(error) = lost.await {
            tracing::error!(node_id = %node, %error, "a lost connection was not recorded; tried again with the next tick");
            self.shared.strays.store(true, Ordering::Relaxed);
        }
    }
}
