//! Stands before the hub: clients without a certificate are dealt with here, nodes pass through.
//! Never lets an enrolling client reach the hub, nor reads what a node says.

use super::Enroller;
use crate::mqtt::sessions::ready;
use crate::mqtt::{
    Arrival, CloseReason, ConnectRefusal, ConnectionId, DeliveryId, Departure, Mailbox, Outbound,
    Sessions, Verdict,
};
use holdfast_protocol::Nonce;
use holdfast_protocol::enrol::Request;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Up;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Guests = HashMap<ConnectionId, Arc<Mailbox>>;

/// [`Sessions`] for everybody: enrolment itself, and the hub behind it for nodes.
pub struct Door {
    enroller: Arc<Enroller>,
    hub: Arc<dyn Sessions>,
    clock: fn() -> u64,
    /// As many as the endpoint's limit on clients without a certificate.
    guests: Mutex<Guests>,
}

impl Door {
    /// A door to `hub`. `clock` gives milliseconds since 1970.
    #[must_use]
    pub fn new(enroller: Arc<Enroller>, hub: Arc<dyn Sessions>, clock: fn() -> u64) -> Self {
        Self {
            enroller,
            hub,
            clock,
            guests: Mutex::default(),
        }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        // No code panics while it holds this lock, and the map is valid between statements.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enrol(
        &self,
        nonce: Nonce,
        payload: &[u8],
        mailbox: Arc<Mailbox>,
    ) -> oneshot::Receiver<Verdict> {
        let request = match Up::decode(payload) {
            Ok(Up::Enrol(request)) if nonce_of(&request) == nonce => request,
            Ok(_) => {
                tracing::info!("a request to enrol is not one, or not for its topic");
                return ready(Verdict::Discarded);
            }
            Err(error) => {
                tracing::info!(%error, "a request to enrol cannot be read");
                return ready(Verdict::Discarded);
            }
        };
        let (sender, receiver) = oneshot::channel();
        let (enroller, now) = (Arc::clone(&self.enroller), (self.clock)());
        tokio::spawn(async move {
            let verdict = answer(&enroller, nonce, &request, now, &mailbox).await;
            // The client may be gone; what was granted is granted again when it asks again.
            let _ = sender.send(verdict);
        });
        receiver
    }
}

fn nonce_of(request: &Request) -> Nonce {
    match request {
        Request::Activate(activate) => activate.nonce,
        Request::Renew(renewal) => renewal.nonce,
    }
}

async fn answer(
    enroller: &Enroller,
    nonce: Nonce,
    request: &Request,
    now: u64,
    mailbox: &Mailbox,
) -> Verdict {
    let reply = match enroller.answer(request, now).await {
        Ok(reply) => reply.to_frame(),
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "a request to enrol could not be answered");
            return Verdict::Close(CloseReason::Store);
        }
    };
    match reply {
        Ok(frame) => {
            let reply = Outbound {
                topic: Topic::EnrolReply(nonce),
                payload: frame.into(),
                delivery: None,
            };
            // A full or closed mailbox ends the connection; the client asks again.
            let _ = mailbox.send(reply);
            Verdict::Accepted
        }
        Err(error) => {
            tracing::error!(%error, "a reply to enrolment does not fit its frame");
            Verdict::Close(CloseReason::Store)
        }
    }
}

impl Sessions for Door {
    fn connect(&self, arrival: Arrival) -> oneshot::Receiver<Result<(), ConnectRefusal>> {
        if arrival.identity.is_some() {
            return self.hub.connect(arrival);
        }
        self.guests().insert(arrival.connection, arrival.mailbox);
        ready(Ok(()))
    }

    fn publish(
        &self,
        connection: ConnectionId,
        topic: Topic,
        payload: &[u8],
    ) -> oneshot::Receiver<Verdict> {
        let guest = self.guests().get(&connection).map(Arc::clone);
        match (guest, topic) {
            (Some(mailbox), Topic::EnrolRequest(nonce)) => self.enrol(nonce, payload, mailbox),
            (Some(_), _) => ready(Verdict::Discarded),
            (None, topic) => self.hub.publish(connection, topic, payload),
        }
    }

    fn delivered(&self, connection: ConnectionId, delivery: DeliveryId) {
        self.hub.delivered(connection, delivery);
    }

    fn disconnect(&self, connection: ConnectionId, departure: Departure) {
        if self.guests().remove(&connection).is_none() {
            self.hub.disconnect(connection, departure);
        }
    }
}
