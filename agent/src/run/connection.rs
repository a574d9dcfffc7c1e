//! One attempt to connect and the connection that it makes, as a task that feeds the core.
//! Never outlives its attempt, and never decides whether there is a next one.

use super::Event;
use crate::clock;
use crate::error::chain;
use crate::link::address::Address;
use crate::link::{Dialer, End, Hail, Incoming, Outgoing, Session};
use crate::platform;
use crate::tls::Connector;
use holdfast_agent_core::{Attempt, Delivery, IN_FLIGHT_MAX, Input, LinkFault, LinkIdentity};
use holdfast_protocol::NodeId;
use holdfast_protocol::topic::Topic;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// What is handed to the socket ahead of its pace.
const OUTGOING_MAX: usize = 32;
/// More may wait behind that, but then nothing is read from the bridge until it is less: what waits
/// is at most this and one answer for each message read before. The core's window does not reach it: a
/// long queue on a slow link holds up no command or cancel.
const WAITING_HIGH: usize = IN_FLIGHT_MAX as usize + 64;
/// What may wait for the core.
const INCOMING_MAX: usize = 16;
/// A close waits for a socket that takes nothing no longer.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A connection, or the attempt to make it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) attempt: Attempt,
    outgoing: mpsc::Sender<Outgoing>,
    waiting: VecDeque<Outgoing>,
    paused: watch::Sender<bool>,
    /// Until it is asked to close.
    closing: Option<oneshot::Sender<String>>,
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
        let (closing, is_closing) = oneshot::channel();
        let task = Task {
            attempt,
            wanted,
            events,
            paused: is_paused,
            closing: is_closing,
        };
        let task = tokio::spawn(Box::pin(task.live(dialer, address, tls, hail)));
        Self {
            attempt,
            outgoing,
            waiting: VecDeque::new(),
            paused,
            closing: Some(closing),
            task: task.abort_handle(),
        }
    }

    /// Hands something to the connection, at the socket's pace and in order. What waits is given up
    /// for a close, which ends the connection soon even when its socket takes nothing.
    pub(super) fn send(&mut self, outgoing: Outgoing) {
        if let Outgoing::Close(why) = &outgoing {
            self.waiting.clear();
            self.pace();
            if let Some(closing) = self.closing.take() {
                let _ = closing.send(why.clone());
            }
        }
        let refused = if self.waiting.is_empty() {
            self.outgoing.try_send(outgoing)
        } else {
            Err(mpsc::error::TrySendError::Full(outgoing))
        };
        match refused {
            // An ended connection has said so itself.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(Outgoing::Close(_))) => {}
            Err(mpsc::error::TrySendError::Full(outgoing)) => {
                self.waiting.push_back(outgoing);
                self.pace();
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
    closing: oneshot::Receiver<String>,
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

    async fn serve(self, session: Session) {
        let (arrived, incoming) = mpsc::channel(INCOMING_MAX);
        let serving = |mut wanted| async move { session.serve(&mut wanted, arrived).await };
        self.relay(incoming, serving).await;
    }

    /// Hands what arrives to the core until `serving` ends, and then tells of the end. What is to be
    /// sent ends with `serving`: otherwise what waits for it would hold up what has arrived for ever.
    async fn relay<S: Future<Output = End>>(
        self,
        mut incoming: mpsc::Receiver<Incoming>,
        serving: impl FnOnce(mpsc::Receiver<Outgoing>) -> S,
    ) {
        let Self {
            attempt,
            wanted,
            events,
            mut paused,
            closing,
        } = self;
        let serving = serving(wanted);
        let served = async {
            tokio::select! {
                end = serving => end,
                why = overdue(closing) => End::Asked(why),
            }
        };
        let forward = async {
            while let Some(incoming) = incoming.recv().await {
                if paused.wait_for(|paused| !paused).await.is_err() {
                    return;
                }
                if let Some(input) = input_of(attempt, incoming) {
                    let _ = events.send(Event::Input(input)).await;
                }
            }
        };
        let (end, ()) = tokio::join!(served, forward);
        let input = Input::Disconnected {
            attempt,
            fault: end.fault(),
            why: chain(&end),
        };
        let _ = events.send(Event::Input(input)).await;
    }

    async fn tell(&self, input: Input) {
        // Nobody listens only when the process ends.
        let _ = self.events.send(Event::Input(input)).await;
    }
}

/// Asked to close, and [`CLOSE_LIMIT`] has passed.
async fn overdue(closing: oneshot::Receiver<String>) -> String {
    match closing.await {
        Ok(why) => {
            sleep(CLOSE_LIMIT).await;
            why
        }
        Err(_) => std::future::pending().await,
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

    fn connection() -> (Connection, Task, mpsc::Receiver<Event>) {
        let (outgoing, wanted) = mpsc::channel(OUTGOING_MAX);
        let (paused, is_paused) = watch::channel(false);
        let (closing, is_closing) = oneshot::channel();
        let (events, inbox) = mpsc::channel(64);
        let attempt = Attempt(1);
        let connection = Connection {
            attempt,
            outgoing,
            waiting: VecDeque::new(),
            paused,
            closing: Some(closing),
            task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
        };
        let task = Task {
            attempt,
            wanted,
            events,
            paused: is_paused,
            closing: is_closing,
        };
        (connection, task, inbox)
    }

    fn wait_for_the_socket(connection: &mut Connection) {
        for _ in 0..OUTGOING_MAX + WAITING_HIGH {
            connection.send(Outgoing::Ack(1));
        }
        assert!(*connection.paused.borrow());
    }

    #[tokio::test]
    async fn a_window_that_waits_for_a_slow_link_holds_up_nothing_that_arrives() {
        let (mut connection, _task, _inbox) = connection();
        for _ in 0..OUTGOING_MAX + usize::from(IN_FLIGHT_MAX) {
            connection.send(Outgoing::Ack(1));
        }
        assert!(!*connection.paused.borrow());
    }

    async fn ended(inbox: &mut mpsc::Receiver<Event>) -> LinkFault {
        loop {
            if let Some(Event::Input(Input::Disconnected { fault, .. })) = inbox.recv().await {
                return fault;
            }
        }
    }

    #[tokio::test]
    async fn more_acknowledgements_than_the_socket_takes_wait_in_order() {
        let (mut connection, task, _inbox) = connection();
        let (mut wanted, paused) = (task.wanted, task.paused);
        for packet in 1..=1000 {
            connection.send(Outgoing::Ack(packet));
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
    async fn the_end_is_told_although_what_had_arrived_was_held_up() {
        let (mut connection, task, mut inbox) = connection();
        wait_for_the_socket(&mut connection);
        let (arrived, incoming) = mpsc::channel(INCOMING_MAX);
        let relaying = task.relay(incoming, |_wanted| async move {
            arrived.send(Incoming::PubAck).await.unwrap();
            End::Lost("the link is gone".into())
        });
        let fault = async {
            tokio::select! {
                fault = ended(&mut inbox) => fault,
                () = async { loop { connection.hand_on().await } } => unreachable!(),
            }
        };
        let ((), fault) = tokio::join!(relaying, fault);
        assert_eq!(fault, LinkFault::Lost);
        assert!(connection.waiting.is_empty() && !*connection.paused.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_does_not_wait_for_a_socket_that_takes_nothing() {
        for full in [true, false] {
            let (mut connection, task, mut inbox) = connection();
            if full {
                wait_for_the_socket(&mut connection);
            }
            let (arrived, incoming) = mpsc::channel(INCOMING_MAX);
            let relaying = task.relay(incoming, |wanted| async move {
                let _held = (wanted, arrived);
                std::future::pending().await
            });
            connection.send(Outgoing::Close("the agent stops".into()));
            let ((), fault) = tokio::join!(relaying, ended(&mut inbox));
            assert_eq!(fault, LinkFault::Asked);
        }
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
