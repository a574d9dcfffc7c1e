//! The real hub on a real SQLite database, one call after another: each is followed until all that it
//! set in motion has come to rest, so that a seed is a world here too.
//! Never opens a socket: a mailbox stands for each connection.

mod copy;
mod front;

use super::Out;
use crate::random::Random;
use holdfast_bridge::hub::{
    Clock, Enrolment, Hub, Options, Randomness, Sealers, SendCommand, Ticks,
};
use holdfast_bridge::mqtt::{
    Arrival, ConnectionId, DeliveryId, Departure, Identity, Mailbox, Sessions as _, Verdict,
};
use holdfast_bridge::store::{
    Caller, CheckedBackup, NewActivation, NewNode, NodeCertificate, Store as Database,
};
use holdfast_bridge_core::rate::{Limits, MaxConcurrency, MaxErrors};
use holdfast_bridge_core::retention::Retention;
use holdfast_protocol::down::Down;
use holdfast_protocol::enrol::{Renewal, Reply};
use holdfast_protocol::seal::{Address, Opener, PublicKey, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Platform;
use holdfast_protocol::{ActivationId, CommandId, NodeId, Nonce, OutboxId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Runtime;

/// Bytes of a mailbox: the endpoint's own bound.
const MAILBOX_BYTES: usize = 512 << 10;
/// Looks at a hub that does not come to rest, before that is a fault.
const LOOKS_MAX: u32 = 20_000;
/// Looks in a row that find it at rest.
const CALM_LOOKS: u32 = 2;
/// End of the nodes' certificates, which no world of a real hub renews.
const CERTIFICATES_END_MS: i64 = 4_000_000_000_000;
const ACTIVATION: [u8; 16] = [5; 16];

/// Certificates are good throughout: nobody enrols.
struct NoEnrolment;

type Asked<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

impl Enrolment for NoEnrolment {
    fn enrol(&self, _: SocketAddr, _: Nonce, _: bytes::Bytes) -> Asked<bytes::Bytes> {
        Box::pin(std::future::ready(None))
    }

    fn renew(&self, _: NodeId, _: Renewal) -> Asked<Reply> {
        Box::pin(std::future::ready(None))
    }
}

/// One connection as the bridge has it.
struct Wire {
    node: NodeId,
    mailbox: Arc<Mailbox>,
    opener: Opener,
    /// Life of the node's outbox, by its last hello here.
    outbox: OutboxId,
    nonce: Nonce,
    next_packet: u16,
    unacked: BTreeMap<u16, (DeliveryId, CommandId)>,
    /// Whether a reply to its last hello has left.
    greeted: bool,
    /// What was taken from the mailbox.
    leaving: Vec<Out>,
}

/// A bridge that runs.
struct Running {
    runtime: Runtime,
    hub: Hub,
    /// Tasks that live as long as it does.
    tasks: usize,
}

/// What of the streams is followed beside the database.
#[derive(Debug, Clone, Default)]
struct Followed {
    lives: BTreeMap<NodeId, OutboxId>,
    /// Of what a result was taken: the bridge itself may end the same invocation by the same word.
    ended: BTreeSet<(NodeId, CommandId)>,
}

/// The hub, its database and its connections.
pub(crate) struct Real {
    running: Option<Running>,
    folder: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    random: Arc<Mutex<Random>>,
    sealer: Arc<Mutex<Arc<Sealer>>>,
    root: Arc<Sealer>,
    root_key: PublicKey,
    wires: BTreeMap<u64, Wire>,
    followed: Followed,
    backed_up: Option<Followed>,
    backups: u32,
}

impl std::fmt::Debug for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Real").finish_non_exhaustive()
    }
}

fn said(why: impl std::error::Error) -> String {
    holdfast_agent_core::chain(&why)
}

/// In memory where the system has a place for that: a world waits for many commits.
fn folder() -> Result<tempfile::TempDir, String> {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.map_err(said)
}

fn runtime() -> Result<Runtime, String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(said)
}

impl Real {
    fn new(
        seed: u64,
        (root, root_key): (Sealer, PublicKey),
        sealer: Sealer,
    ) -> Result<Self, String> {
        Ok(Self {
            running: None,
            folder: folder()?,
            clock: Arc::default(),
            random: Arc::new(Mutex::new(Random::new(seed))),
            sealer: Arc::new(Mutex::new(Arc::new(sealer))),
            root: Arc::new(root),
            root_key,
            wires: BTreeMap::new(),
            followed: Followed::default(),
            backed_up: None,
            backups: 0,
        })
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn backup_file(&self) -> PathBuf {
        self.folder.path().join(format!("backup-{}", self.backups))
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn caller(&self) -> Caller {
        Caller::local(self.now())
    }

    fn hub_options(&self, store: Database) -> Options {
        let (clock, sealer) = (Arc::clone(&self.clock), Arc::clone(&self.sealer));
        let random = Arc::clone(&self.random);
        let current = move || Arc::clone(&sealer.lock().unwrap_or_else(PoisonError::into_inner));
        let fill = move |bytes: &mut [u8]| {
            let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
            for to in bytes {
                *to = random.bytes::<1>()[0];
            }
            true
        };
        Options {
            store,
            sealers: Sealers::new(current),
            root: Arc::clone(&self.root),
            token_key: [7; 32],
            clock: Clock::new(move || clock.load(Ordering::SeqCst)),
            random: Randomness::new(fill),
            ticks: Ticks::Handed,
            retention: Retention::default(),
            enrolment: Arc::new(NoEnrolment),
        }
    }

    /// The program begins on what its database holds.
    fn start(&mut self) -> Result<(), String> {
        let runtime = runtime()?;
        let hub = runtime.block_on(async {
            let store = Database::open(&self.state_dir()).await.map_err(said)?;
            Hub::start(self.hub_options(store)).await.map_err(said)
        })?;
        let tasks = usize::MAX;
        let mut running = Running {
            runtime,
            hub,
            tasks,
        };
        running.rest()?;
        running.tasks = running.runtime.metrics().num_alive_tasks();
        self.running = Some(running);
        Ok(())
    }

    /// The process is gone, with everything that it held in memory.
    pub(super) fn die(&mut self) {
        if let Some(running) = self.running.take() {
            // It is at rest: all that this does is to end the threads that have the file open.
            running.runtime.block_on(running.hub.store().close());
        }
        self.wires.clear();
    }

    fn running(&self) -> Result<&Running, String> {
        self.running
            .as_ref()
            .ok_or_else(|| "the bridge is down".to_owned())
    }

    /// Registers the nodes under one activation, as long ago as the world began.
    fn register(&mut self, nodes: &[(NodeId, PublicKey)]) -> Result<(), String> {
        let id = ActivationId::from_random(ACTIVATION);
        let new = NewActivation {
            id,
            code_key: [1; 32],
            description: String::new(),
            default_name: String::new(),
            iam_role: String::new(),
            registration_limit: 1_000,
            expires: CERTIFICATES_END_MS,
            tags: Vec::new(),
        };
        let (running, now, caller) = (self.running()?, self.now(), self.caller());
        let store = running.hub.store();
        running.runtime.block_on(async {
            store.create_activation(caller, new).await.map_err(said)?;
            for (node, key) in nodes {
                let certificate = NodeCertificate {
                    serial: node.to_string(),
                    expires: CERTIFICATES_END_MS,
                };
                let new = NewNode {
                    node: *node,
                    activation: id,
                    key: *key,
                    platform: Platform::default(),
                    agent_version: String::new(),
                    certificate,
                };
                store.register_node(new, now).await.map_err(said)?;
            }
            Ok(())
        })
    }

    /// A node's certificate was good: whether the hub lets it in.
    fn connect(&mut self, connection: u64, node: NodeId, key: PublicKey) -> Result<bool, String> {
        let mailbox = Arc::new(Mailbox::new(MAILBOX_BYTES));
        let identity = Identity {
            node,
            key,
            serial: node.as_str().as_bytes().into(),
            not_after_unix_ms: CERTIFICATES_END_MS.unsigned_abs(),
        };
        let arrival = Arrival {
            connection: ConnectionId(connection),
            identity: Some(identity),
            peer: ([127, 0, 0, 1], 1).into(),
            mailbox: Arc::clone(&mailbox),
        };
        let asked = async |hub: &Hub| hub.connect(arrival).await;
        // The receiver's error would be a hub that dropped its answer.
        let let_in = self.running()?.call(asked)?.map_err(said)?.is_ok();
        let opener = Opener::new(self.root_key, 0);
        let wire = Wire {
            node,
            mailbox,
            opener,
            outbox: OutboxId(0),
            nonce: Nonce::default(),
            next_packet: 0,
            unacked: BTreeMap::new(),
            greeted: false,
            leaving: Vec::new(),
        };
        if let_in {
            self.wires.insert(connection, wire);
        }
        Ok(let_in)
    }

    /// What becomes of publishes that arrived together, in their order.
    fn publish(&self, frames: &[(u64, Topic, Vec<u8>)]) -> Result<Vec<Verdict>, String> {
        let running = self.running()?;
        let verdicts = running.runtime.block_on(async {
            let asked: Vec<_> = frames
                .iter()
                .map(|(connection, topic, frame)| {
                    running
                        .hub
                        .publish(ConnectionId(*connection), *topic, frame)
                })
                .collect();
            let mut verdicts = Vec::new();
            for asked in asked {
                verdicts.push(asked.await.map_err(said)?);
            }
            Ok::<_, String>(verdicts)
        })?;
        running.rest()?;
        Ok(verdicts)
    }

    fn delivered(&mut self, connection: u64, packet: u16) -> Result<(), String> {
        let wire = self.wires.get_mut(&connection);
        let Some((delivery, _)) = wire.and_then(|wire| wire.unacked.remove(&packet)) else {
            return Ok(());
        };
        self.running()?.call(async |hub| {
            hub.delivered(ConnectionId(connection), delivery);
        })
    }

    pub(super) fn disconnect(&mut self, connection: u64) -> Result<(), String> {
        if self.wires.remove(&connection).is_none() {
            return Ok(());
        }
        self.running()?.call(async |hub| {
            hub.disconnect(ConnectionId(connection), Departure::Lost);
        })
    }

    pub(super) fn tick(&mut self) -> Result<(), String> {
        self.running()?.call(async |hub| hub.tick().await)
    }

    /// The command whose publish awaits the transport's acknowledgement.
    pub(super) fn awaits(&self, connection: u64, packet: u16) -> Option<CommandId> {
        let wire = self.wires.get(&connection)?;
        wire.unacked.get(&packet).map(|(_, command)| *command)
    }

    /// Sends a script to these nodes.
    fn send(
        &mut self,
        nodes: &[NodeId],
        limits: Limits,
        seconds: u32,
    ) -> Result<CommandId, String> {
        let document = holdfast_documents::library::find("AWS-RunShellScript");
        let document = document.ok_or("no such document")?;
        let parameters = [("commands", "true"), ("executionTimeout", "20")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        let concurrency = limits.slots.to_string().parse::<MaxConcurrency>();
        let errors = limits.errors_allowed.to_string().parse::<MaxErrors>();
        let request = SendCommand {
            document_name: document.name().to_owned(),
            version: document.default_version(),
            parameters: parameters.into(),
            instance_ids: nodes.iter().map(ToString::to_string).collect(),
            targets: Vec::new(),
            timeout_seconds: seconds,
            max_concurrency: concurrency.map_err(said)?,
            max_errors: errors.map_err(said)?,
            comment: String::new(),
        };
        let caller = self.caller();
        let sent = self
            .running()?
            .call(async |hub| hub.send_command(caller, request).await)?;
        sent.map(|command| command.id).map_err(said)
    }

    pub(super) fn cancel(&mut self, command: CommandId) -> Result<(), String> {
        let caller = self.caller();
        // A restored bridge may have forgotten it.
        self.running()?
            .call(async |hub| hub.cancel_command(caller, command, Vec::new()).await)
            .map(|_: Result<_, _>| ())
    }

    pub(super) fn rotate(&mut self, sealer: Sealer) -> Result<(), String> {
        *self.sealer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sealer);
        match self.running() {
            Ok(running) => running.call(async |hub| {
                hub.rotated();
            }),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn release(&mut self, nodes: &[NodeId]) -> Result<(), String> {
        for node in nodes {
            let caller = self.caller();
            self.running()?
                .call(async |hub| hub.release(caller, *node).await)?
                .map_err(said)?;
        }
        Ok(())
    }

    pub(super) fn reset_floors(&mut self, nodes: &[NodeId]) -> Result<(), String> {
        for node in nodes {
            let caller = self.caller();
            let store = self.running()?.hub.store().clone();
            let wanted = self
                .running()?
                .call(async |_| store.want_floor_reset(caller, *node).await)?;
            wanted.map_err(said)?;
        }
        self.tick()
    }

    fn back_up(&mut self) -> Result<(), String> {
        self.backups += 1;
        let (running, file) = (self.running()?, self.backup_file());
        let backup = running.hub.store().backup(&file);
        running.runtime.block_on(backup).map_err(said)?;
        self.backed_up = Some(self.followed.clone());
        Ok(())
    }

    /// Puts the backup in the database's place.
    fn restore(&mut self) -> Result<(), String> {
        let runtime = runtime()?;
        let (state, caller) = (self.state_dir(), self.caller());
        runtime.block_on(async {
            let backup = CheckedBackup::open(&self.backup_file())
                .await
                .map_err(said)?;
            backup.restore(&state, true, caller).await.map_err(said)
        })?;
        self.followed = self.backed_up.clone().unwrap_or_default();
        Ok(())
    }

    /// What a downward frame says, as its node opens it.
    fn open(wire: &mut Wire, frame: &[u8]) -> Option<Down> {
        let address = Address {
            node: wire.node,
            outbox: wire.outbox,
        };
        wire.opener
            .open(&address, frame)
            .ok()
            .map(|opened| opened.down)
    }
}

impl Running {
    /// Runs what the hub is asked, and all that follows from it.
    fn call<T>(&self, ask: impl AsyncFnOnce(&Hub) -> T) -> Result<T, String> {
        let answer = self.runtime.block_on(ask(&self.hub));
        self.rest().map(|()| answer)
    }

    /// Waits until nothing is under way: no task beyond those that always live, and no write that waits.
    fn rest(&self) -> Result<(), String> {
        let store = self.hub.store();
        self.runtime.block_on(async {
            let mut calm = 0;
            for _ in 0..LOOKS_MAX {
                // Writes keep their order: what was asked before is done with this one.
                let written = store.set_meta("sim", String::new()).await;
                written.map_err(said)?;
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                let alive = self.runtime.metrics().num_alive_tasks();
                calm = if alive <= self.tasks { calm + 1 } else { 0 };
                if calm >= CALM_LOOKS {
                    return Ok(());
                }
            }
            Err("the hub does not come to rest".to_owned())
        })
    }
}
