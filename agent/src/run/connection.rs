//! One attempt to connect and the connection that it makes, as a task that feeds the core.
//! Never outlives its attempt, and never decides whether there is a next one.

use super::Event;
use crate::clock;
use crate::error::chain;
use crate::link::address::Address;
use crate::link::{Dialer, Hail, Incoming, Outgoing, Session};
use crate::platform;
use crate::tls::Connector;
use holdfast_agent_core::{Attempt, Delivery, Input, LinkFault, LinkIdentity};
use holdfast_protocol::NodeId;
use holdfast_protocol::topic::Topic;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What may wait for the socket: more than the core ever has in flight.
const OUTGOING_MAX: usize = 128;
/// What may wait for the core.
const INCOMING_MAX: usize = 16;

/// A connection, or the attempt to make it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) attempt: Attempt,
    outgoing: mpsc::Sender<Outgoing>,
    task: AbortHandle,
}

impl Connection {
    pub(super) fn begin(
        attempt: Attempt,
        dialer: Dialer,
        address: Address,
        tls: Connector,
        hail: Hail,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (outgoing, wanted) = mpsc::channel(OUTGOING_MAX);
        let task = Task {
            attempt,
            wanted,
            events,
        };
        let task = tokio::spawn(Box::pin(task.live(dialer, address, tls, hail)));
        Self {
            attempt,
            outgoing,
            task: task.abort_handle(),
        }
    }

    /// Hands something to the connection; when it takes no more, it is given up: `Some` then says
    /// so to the core.
    pub(super) fn send(&self, outgoing: Outgoing) -> Option<Input> {
        match self.outgoing.try_send(outgoing) {
            // An ended connection has said so itself.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.task.abort();
                Some(Input::Disconnected {
                    attempt: self.attempt,
                    fault: LinkFault::Lost,
                    why: format!("{OUTGOING_MAX} messages wait for a socket that takes none"),
                })
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Only a connection that has ended is replaced; this is for the end of the process.
        self.task.abort();
    }
}

/// As whom to connect.
pub(super) fn hail(node: NodeId, identity: &LinkIdentity) -> Hail {
    match identity {
        LinkIdentity::Node { will } => Hail {
            client_id: node.to_string(),
            will: Some((Topic::Presence(node).to_string(), will.clone())),
            topics: vec![
                Topic::Command(node).to_string(),
                Topic::Control(node).to_string(),
            ],
        },
        LinkIdentity::Enrol { nonce } => Hail {
            client_id: format!("enrol-{}", hex::encode(nonce)),
            will: None,
            topics: vec![Topic::EnrolReply(*nonce).to_string()],
        },
    }
}

struct Task {
    attempt: Attempt,
    wanted: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
}

impl Task {
    async fn live(mut self, dialer: Dialer, address: Address, tls: Connector, hail: Hail) {
        let attempt = self.attempt;
        let connected = {
            let asked = asked_to_close(&mut self.wanted);
            tokio::select! {
                connected = dialer.connect(&address, &tls, hail) => {
                    connected.map_err(|error| (error.fault(), chain(&error)))
                }
                why = asked => Err((LinkFault::Asked, why)),
            }
        };
        let random = clock::random();
        let (session, random) = match (connected, random) {
            (Ok(session), Ok(random)) => (session, random),
            (Err((fault, why)), _) => {
                return self
                    .tell(Input::LinkFailed {
                        attempt,
                        fault,
                        why,
                    })
                    .await;
            }
            (Ok(_), Err(error)) => {
                let (fault, why) = (LinkFault::Mqtt, chain(&error));
                return self
                    .tell(Input::LinkFailed {
                        attempt,
                        fault,
                        why,
                    })
                    .await;
            }
        };
        let platform = platform::detect(session.local());
        self.tell(Input::Platform(Box::new(platform))).await;
        self.tell(Input::Connected { attempt, random }).await;
        self.serve(session).await;
    }

    async fn serve(mut self, session: Session) {
        let attempt = self.attempt;
        let (arrived, mut incoming) = mpsc::channel(INCOMING_MAX);
        let events = self.events.clone();
        let forward = async {
            while let Some(incoming) = incoming.recv().await {
                if let Some(input) = input_of(attempt, incoming) {
                    let _ = events.send(Event::Input(input)).await;
                }
            }
        };
        let (end, ()) = tokio::join!(session.serve(&mut self.wanted, arrived), forward);
        self.tell(Input::Disconnected {
            attempt,
            fault: end.fault(),
            why: chain(&end),
        })
        .await;
    }

    async fn tell(&self, input: Input) {
        // Nobody listens only when the process ends.
        let _ = self.events.send(Event::Input(input)).await;
    }
}

async fn asked_to_close(wanted: &mut mpsc::Receiver<Outgoing>) -> String {
    loop {
        match wanted.recv().await {
            Some(Outgoing::Close(why)) => return why,
            // Nothing is sent before there is a connection.
            Some(Outgoing::Publish { .. } | Outgoing::Ack(_)) => {}
            None => return "the agent is stopping".into(),
        }
    }
}

fn input_of(attempt: Attempt, incoming: Incoming) -> Option<Input> {
    match incoming {
        Incoming::PubAck => Some(Input::PubAcked { attempt, count: 1 }),
        Incoming::Publish {
            packet,
            topic,
            frame,
        } => match topic.parse::<Topic>() {
            Ok(topic) => Some(Input::Received {
                delivery: Delivery { attempt, packet },
                topic,
                frame,
            }),
            Err(error) => {
                tracing::warn!(error = chain(&error), "a publish nobody asked for");
                None
            }
        },
    }
}
