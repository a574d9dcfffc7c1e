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
use std::collections::VecDeque;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// What is handed to the socket ahead of its pace.
const OUTGOING_MAX: usize = 32;
/// More may wait behind that, but then nothing is read from the bridge until it is less: what waits
/// is at most this, the core's window, and one answer for each message read before.
const WAITING_HIGH: usize = 64;
/// What may wait for the core.
const INCOMING_MAX: usize = 16;

/// A connection, or the attempt to make it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) attempt: Attempt,
    outgoing: mpsc::Sender<Outgoing>,
    waiting: VecDeque<Outgoing>,
    paused: watch::Sender<bool>,
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
        let (paused, is_paused) = watch::channel(false);
        let task = Task {
            attempt,
            wanted,
            events,
            paused: is_paused,
        };
        let task = tokio::spawn(Box::pin(task.live(dialer, address, tls, hail)));
        Self {
            attempt,
            outgoing,
            waiting: VecDeque::new(),
            paused,
            task: task.abort_handle(),
        }
    }

    /// Hands something to the connection, at the socket's pace and in order. A close does not wait
    /// for a socket that takes nothing: `Some` then tells the core of the end.
    pub(super) fn send(&mut self, outgoing: Outgoing) -> Option<Input> {
        let refused = if self.waiting.is_empty() {
            self.outgoing.try_send(outgoing)
        } else {
            Err(mpsc::error::TrySendError::Full(outgoing))
        };
        match refused {
            // An ended connection has said so itself.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(Outgoing::Close(why))) => {
                self.task.abort();
                self.waiting.clear();
                Some(Input::Disconnected {
                    attempt: self.attempt,
                    fault: LinkFault::Asked,
                    why,
                })
            }
            Err(mpsc::error::TrySendError::Full(outgoing)) => {
                self.waiting.push_back(outgoing);
                self.pace();
                None
            }
        }
    }

    /// Hands on the first that waits once there is room. May be dropped and called again; waits for
    /// ever while nothing waits.
    pub(super) async fn hand_on(&mut self) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        match self.outgoing.reserve().await {
            Ok(permit) => {
                if let Some(outgoing) = self.waiting.pop_front() {
                    permit.send(outgoing);
                }
            }
            Err(_) => self.waiting.clear(),
        }
        self.pace();
    }

    fn pace(&self) {
        let full = self.waiting.len() >= WAITING_HIGH;
        self.paused
            .send_if_modified(|paused| std::mem::replace(paused, full) != full);
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
    paused: watch::Receiver<bool>,
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
        self.tell(Input::Connected {
            attempt,
            random,
            bridge_expires_unix_ms: session.bridge_expires_unix_ms(),
        })
        .await;
        self.serve(session).await;
    }

    async fn serve(mut self, session: Session) {
        let attempt = self.attempt;
        let (arrived, mut incoming) = mpsc::channel(INCOMING_MAX);
        let events = self.events.clone();
        let forward = async {
            while let Some(incoming) = incoming.recv().await {
                if self.paused.wait_for(|paused| !paused).await.is_err() {
                    return;
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Connection, mpsc::Receiver<Outgoing>, watch::Receiver<bool>) {
        let (outgoing, wanted) = mpsc::channel(OUTGOING_MAX);
        let (paused, is_paused) = watch::channel(false);
        let connection = Connection {
            attempt: Attempt(1),
            outgoing,
            waiting: VecDeque::new(),
            paused,
            task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
        };
        (connection, wanted, is_paused)
    }

    #[tokio::test]
    async fn more_acknowledgements_than_the_socket_takes_wait_in_order() {
        let (mut connection, mut wanted, paused) = connection();
        for packet in 1..=1000 {
            assert!(connection.send(Outgoing::Ack(packet)).is_none());
        }
        assert!(*paused.borrow(), "nothing more is read meanwhile");
        for expected in 1..=1000 {
            let taken = loop {
                tokio::select! {
                    biased;
                    () = connection.hand_on() => {}
                    taken = wanted.recv() => break taken,
                }
            };
            assert!(matches!(taken, Some(Outgoing::Ack(packet)) if packet == expected));
        }
        assert!(!*paused.borrow(), "all of it is out");
    }

    #[tokio::test]
    async fn what_waits_for_an_ended_connection_is_forgotten() {
        let (mut connection, wanted, paused) = connection();
        for packet in 1..=200 {
            assert!(connection.send(Outgoing::Ack(packet)).is_none());
        }
        drop(wanted);
        connection.hand_on().await;
        assert!(connection.waiting.is_empty() && !*paused.borrow());
    }

    #[tokio::test]
    async fn a_close_does_not_wait_for_a_socket_that_takes_nothing() {
        let (mut connection, _wanted, _paused) = connection();
        for packet in 1..=200 {
            assert!(connection.send(Outgoing::Ack(packet)).is_none());
        }
        let told = connection.send(Outgoing::Close("the agent stops".into()));
        assert!(matches!(
            told,
            Some(Input::Disconnected {
                attempt: Attempt(1),
                fault: LinkFault::Asked,
                ..
            })
        ));
    }

    #[test]
    fn a_node_has_a_will_and_an_enrolment_has_none() {
        let node: NodeId = "mi-0123456789abcdef0".parse().unwrap();
        let as_node = hail(node, &LinkIdentity::Node { will: vec![1] });
        assert_eq!(as_node.client_id, node.as_str());
        assert_eq!(as_node.will.unwrap().0, Topic::Presence(node).to_string());
        assert_eq!(as_node.topics.len(), 2);
        let enrols = hail(node, &LinkIdentity::Enrol { nonce: [7; 16] });
        assert!(enrols.will.is_none() && !enrols.client_id.contains(node.as_str()));
        assert_eq!(enrols.topics, [Topic::EnrolReply([7; 16]).to_string()]);
    }
}
