//! The hub over a real database, driven by agents that speak the protocol's types.
//! Never opens a socket: a mailbox stands for the link.

mod commands;
mod greeting;
mod identity;
mod places;
mod rates;
mod resend;
mod streams;

use super::{Clock, Enrolment, Hub, Options, Randomness, Sealers, SendCommand, Ticks};
use crate::mqtt::{
    Arrival, ConnectRefusal, ConnectionId, DeliveryId, Departure, Identity, Mailbox, Outbound,
    Sessions as _, Verdict,
};
use crate::store::{
    Caller, Command, InvocationRecord, NewActivation, NewNode, NodeCertificate, Store, StoreError,
    Tag,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use holdfast_bridge_core::invocation::StatusDetails;
use holdfast_bridge_core::rate::{MaxConcurrency, MaxErrors};
use holdfast_bridge_core::retention::Retention;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{self, Down, HelloReply};
use holdfast_protocol::enrol::{Renewal, Reply, public_key};
use holdfast_protocol::seal::{Address, KeyCertificate, Opener, PublicKey, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{
    Answer, Hello, InvocationState, InvocationUpdate, OutputChunk, OutputStream, Platform, Record,
    Stamp, StepResult, StepState, StreamHead, Token, Up,
};
use holdfast_protocol::{ActivationId, Class, CommandId, NodeId, Nonce, OutboxId};
use ring::signature::Ed25519KeyPair;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

const NOW: i64 = 1_790_000_000_000;
const LONG: Duration = Duration::from_secs(30);

struct NoEnrolment;

impl Enrolment for NoEnrolment {
    fn enrol(
        &self,
        _: std::net::SocketAddr,
        _: Nonce,
        _: Bytes,
    ) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(async { None })
    }
    fn renew(&self, _: NodeId, _: Renewal) -> BoxFuture<'static, Option<Reply>> {
        Box::pin(async { None })
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// Waits for what another task does, and fails when it never does.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future)
        .await
        .expect("it never happened")
}

struct World {
    hub: Hub,
    dir: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    /// Serial of the signing key that seals.
    serial: Arc<AtomicU8>,
    connections: AtomicU64,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(NOW));
        let serial = Arc::new(AtomicU8::new(1));
        let hub = Self::start(dir.path().join("state"), &clock, &serial).await;
        Self {
            hub,
            dir,
            clock,
            serial,
            connections: AtomicU64::new(0),
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    async fn start(state: PathBuf, clock: &Arc<AtomicI64>, serial: &Arc<AtomicU8>) -> Hub {
        let (told, serial) = (Arc::clone(clock), Arc::clone(serial));
        let sealer = move || {
            let serial = serial.load(Ordering::SeqCst);
            let public = public_key(&pair(serial + 1)).unwrap();
            let certificate = KeyCertificate::issue(&pair(1), serial.into(), public);
            Arc::new(Sealer::new(pair(serial + 1), certificate))
        };
        let options = Options {
            store: Store::open(&state).await.unwrap(),
            sealers: Sealers::new(sealer),
            root: Arc::new(Sealer::root(pair(1))),
            token_key: [7; 32],
            clock: Clock::new(move || told.load(Ordering::SeqCst)),
            random: Randomness::system(),
            ticks: Ticks::Own,
            retention: Retention::default(),
            enrolment: Arc::new(NoEnrolment),
        };
        Hub::start(options).await.unwrap()
    }

    /// The bridge dies and comes back; connections are gone.
    async fn restart(&mut self) {
        self.hub.stop().await;
        self.hub = Self::start(self.state(), &self.clock, &self.serial).await;
    }

    fn store(&self) -> &Store {
        self.hub.store()
    }

    fn caller(&self) -> Caller {
        Caller {
            access_key_id: "AKIATEST".into(),
            now: self.clock.load(Ordering::SeqCst),
        }
    }

    fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    async fn agent(&self, n: u8) -> Agent {
        let activation = ActivationId::from_random([n; 16]);
        let new = NewActivation {
            id: activation,
            code_key: [n; 32],
            description: String::new(),
            default_name: String::new(),
            iam_role: String::new(),
            registration_limit: 1,
            expires: NOW + 1000,
            tags: vec![Tag {
                key: "env".into(),
                value: "test".into(),
            }],
        };
        self.store()
            .create_activation(self.caller(), new)
            .await
            .unwrap();
        let node = NodeId::from_random([n; 9]);
        let new = NewNode {
            node,
            activation,
            key: [n; 32],
            platform: Platform::default(),
            agent_version: "0.1.0".into(),
            certificate: NodeCertificate {
                serial: format!("{n:02x}"),
                expires: NOW + 1_000_000,
            },
        };
        self.store().register_node(new, NOW).await.unwrap();
        Agent {
            node,
            key: [n; 32],
            opener: Opener::new(public_key(&pair(1)).unwrap(), 1),
            outbox: OutboxId(u64::from(n)),
            counter: 0,
            token: None,
            heads: [StreamHead::default(); 4],
            bases: Vec::new(),
        }
    }

    async fn arrive(&self, agent: &Agent) -> Result<Wire, ConnectRefusal> {
        let connection = ConnectionId(self.connections.fetch_add(1, Ordering::SeqCst));
        let mailbox = Arc::new(Mailbox::new(1024 * 1024));
        let arrival = Arrival {
            connection,
            identity: Some(Identity {
                node: agent.node,
                key: agent.key,
                serial: vec![agent.key[0]].into(),
                not_after_unix_ms: u64::MAX,
            }),
            peer: "127.0.0.1:1".parse().unwrap(),
            mailbox: Arc::clone(&mailbox),
        };
        soon(self.hub.connect(arrival)).await.unwrap()?;
        Ok(Wire {
            hub: self.hub.clone(),
            connection,
            mailbox,
        })
    }

    /// Connects and says hello.
    async fn online(&self, agent: &mut Agent) -> Wire {
        let wire = self.arrive(agent).await.unwrap();
        let reply = agent.greet(&wire).await;
        agent.token = Some(reply.token);
        wire
    }

    async fn offline(&self, agent: &Agent, wire: Wire) {
        wire.hub.disconnect(wire.connection, Departure::Lost);
        self.until(async || {
            let node = self.store().node(agent.node).await.unwrap().unwrap();
            node.connectivity == crate::store::Connectivity::ConnectionLost
        })
        .await;
    }

    async fn until(&self, mut holds: impl AsyncFnMut() -> bool) {
        soon(async {
            while !holds().await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Runs a statement on the hub's database.
    async fn statement(&self, sql: &'static str) {
        let done = self
            .store()
            .writer
            .write::<_, (), StoreError>(move |connection| {
                Box::pin(async move {
                    sqlx::query(sql).execute(connection).await?;
                    Ok(())
                })
            });
        done.await.unwrap();
    }

    /// Sends `AWS-RunShellScript` to these nodes.
    async fn send(&self, nodes: &[NodeId], change: impl FnOnce(&mut SendCommand)) -> Command {
        let mut request = run_shell_script(nodes);
        change(&mut request);
        self.hub.send_command(self.caller(), request).await.unwrap()
    }

    async fn invocation(&self, command: CommandId, node: NodeId) -> InvocationRecord {
        self.store()
            .invocation(command, node)
            .await
            .unwrap()
            .unwrap()
    }

    async fn details(&self, command: CommandId, node: NodeId) -> StatusDetails {
        self.invocation(command, node).await.state.details
    }

    async fn reaches(&self, command: CommandId, node: NodeId, details: StatusDetails) {
        self.until(async || self.details(command, node).await == details)
            .await;
    }
}

/// `AWS-RunShellScript` for these nodes.
fn run_shell_script(nodes: &[NodeId]) -> SendCommand {
    let document = holdfast_documents::library::find("AWS-RunShellScript").unwrap();
    SendCommand {
        document_name: document.name().to_owned(),
        version: document.default_version(),
        parameters: [("commands".to_owned(), vec!["uptime".to_owned()])].into(),
        instance_ids: nodes.iter().map(ToString::to_string).collect(),
        targets: Vec::new(),
        timeout_seconds: 60,
        max_concurrency: MaxConcurrency::default(),
        max_errors: MaxErrors::default(),
        comment: String::new(),
    }
}

/// One connection of an agent.
struct Wire {
    hub: Hub,
    connection: ConnectionId,
    mailbox: Arc<Mailbox>,
}

impl Wire {
    async fn publish(&self, topic: Topic, up: &Up) -> Verdict {
        let frame = up.encode().unwrap();
        soon(self.hub.publish(self.connection, topic, &frame))
            .await
            .unwrap()
    }

    async fn outbound(&self) -> Outbound {
        soon(async {
            loop {
                match self.mailbox.pop() {
                    Some(outbound) => return outbound,
                    None => self.mailbox.woken().await,
                }
            }
        })
        .await
    }
}

/// What an agent remembers.
#[derive(Clone)]
struct Agent {
    node: NodeId,
    key: PublicKey,
    opener: Opener,
    outbox: OutboxId,
    counter: u64,
    token: Option<Token>,
    heads: [StreamHead; 4],
    bases: Vec<(
        holdfast_protocol::report::TypeName,
        holdfast_protocol::report::TableHash,
    )>,
}

impl Agent {
    fn stamp() -> Stamp {
        Stamp {
            boot: 1,
            uptime_ms: 1000,
            unix_ms: None,
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            agent_version: "0.1.0".try_into().unwrap(),
            revisions: (1, 1),
            stamp: Self::stamp(),
            outbox: self.outbox,
            streams: self.heads,
            counter: self.counter,
            signing_serial: 1,
            token: self.token.clone(),
            nonce: [9; 16],
            bases: List::new(self.bases.clone()).unwrap(),
            platform: Platform::default(),
        }
    }

    /// Opens a frame as a node does: sealed for it, and above every counter it has seen.
    fn open(&mut self, outbound: &Outbound) -> Down {
        let address = Address {
            node: self.node,
            outbox: self.outbox,
        };
        let opened = self.opener.open(&address, &outbound.payload).unwrap();
        assert!(opened.counter > self.counter, "a counter went back");
        self.counter = opened.counter;
        opened.down
    }

    /// The next message; commands are acknowledged as the transport does.
    async fn next(&mut self, wire: &Wire) -> Down {
        let outbound = wire.outbound().await;
        if let Some(delivery) = outbound.delivery {
            wire.hub.delivered(wire.connection, delivery);
        }
        self.open(&outbound)
    }

    async fn greet(&mut self, wire: &Wire) -> HelloReply {
        let hello = Up::Hello(Box::new(self.hello()));
        assert_eq!(
            wire.publish(Topic::Hello(self.node), &hello).await,
            Verdict::Accepted
        );
        let Down::HelloReply(reply) = self.next(wire).await else {
            panic!("not a reply to a hello");
        };
        reply
    }

    /// The next command, whose PUBACK is held back.
    async fn unacknowledged(&mut self, wire: &Wire) -> (CommandId, DeliveryId) {
        loop {
            let outbound = wire.outbound().await;
            let down = self.open(&outbound);
            if let Down::Command(command) = down {
                return (command.id, outbound.delivery.unwrap());
            }
            let other = matches!(down, Down::Ack(_) | Down::Cancel(_));
            assert!(other, "not a command: {down:?}");
        }
    }

    /// The next command; acknowledgements in between are passed over.
    async fn command(&mut self, wire: &Wire) -> down::Command {
        loop {
            let down = self.next(wire).await;
            if let Down::Command(command) = down {
                return *command;
            }
            assert!(matches!(down, Down::Ack(_)), "not a command: {down:?}");
        }
    }

    /// Sends a record of this sequence, whatever was sent before.
    async fn put(&self, wire: &Wire, class: Class, sequence: u64, record: Record) -> Verdict {
        let up = Up::Record {
            outbox: self.outbox,
            sequence,
            record: Box::new(record),
        };
        wire.publish(Topic::Stream(self.node, class), &up).await
    }

    /// Sends the next record of its stream.
    async fn record(&mut self, wire: &Wire, record: Record) {
        let class = record.class().unwrap();
        self.heads[class.index()].head += 1;
        let sequence = self.heads[class.index()].head;
        assert_eq!(
            self.put(wire, class, sequence, record).await,
            Verdict::Accepted
        );
    }

    async fn result(&mut self, wire: &Wire, command: CommandId, state: InvocationState) {
        self.record(wire, update(command, state)).await;
    }
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap()
}

fn update(command: CommandId, state: InvocationState) -> Record {
    let steps = if state.is_terminal() {
        vec![StepResult {
            name: text("runShellScript"),
            action: text("aws:runShellScript"),
            state: if state == InvocationState::Success {
                StepState::Success
            } else {
                StepState::Failed
            },
            exit_code: i32::from(state != InvocationState::Success),
            started: Some(Agent::stamp()),
            ended: Some(Agent::stamp()),
            stdout_bytes: 5,
            stderr_bytes: 0,
            detail: text(""),
        }]
    } else {
        vec![]
    };
    Record::Invocation(InvocationUpdate {
        command,
        state,
        stamp: Agent::stamp(),
        steps: List::new(steps).unwrap(),
        detail: text(""),
    })
}

fn output(command: CommandId, offset: usize, bytes: &[u8]) -> Record {
    Record::Output(OutputChunk {
        command,
        step: 0,
        stream: OutputStream::Stdout,
        offset: u32::try_from(offset).unwrap(),
        bytes: holdfast_protocol::bounded::Bytes::new(bytes).unwrap(),
    })
}
