//! The bridge: as a model around its real core (a store that commits, sessions, a dispatcher), or, for a
//! share of the worlds, the real hub on real SQLite.
//! Never acknowledges what is not committed, never sends what is not recorded.

mod floor;
#[cfg(feature = "sqlite")]
mod hub;
#[cfg(not(feature = "sqlite"))]
#[path = "bridge/no_hub.rs"]
mod hub;
mod ingest;

use crate::machine::EPOCH_UNIX_MS;
use holdfast_bridge_core::invocation::{Event, Invocation, Stage, may_send};
use holdfast_bridge_core::output::Kept;
use holdfast_bridge_core::rate::{self, Admission, Limits, Tally};
use holdfast_bridge_core::token::{Chain, TokenKey};
use holdfast_protocol::down::{self, Cancel, Down};
use holdfast_protocol::report::Table;
use holdfast_protocol::seal::{Address, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Class, InvocationUpdate};
use holdfast_protocol::{CommandId, NodeId, Nonce, OutboxId};
use std::collections::{BTreeMap, BTreeSet};

/// Wait before a busy node is asked again.
const BUSY_MS: u64 = 5_000;

/// One invocation, with what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) state: Invocation,
    pub(crate) result: Option<Ended>,
    /// Bytes of output that were kept, by step.
    pub(crate) output_bytes: BTreeMap<u8, u64>,
    pub(crate) kept: Kept,
    /// Whether it was ever sent.
    pub(crate) was_sent: bool,
}

/// A node's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What it came to, in words.
    pub(crate) state: String,
    /// Bytes of output written, by step.
    pub(crate) stdout_bytes: Vec<u64>,
}

impl From<&InvocationUpdate> for Ended {
    fn from(update: &InvocationUpdate) -> Self {
        let steps = update.steps.iter();
        Self {
            state: format!("{:?}", update.state),
            stdout_bytes: steps.map(|step| step.stdout_bytes).collect(),
        }
    }
}

/// One command.
#[derive(Debug, Clone)]
pub(crate) struct CommandRow {
    pub(crate) command: down::Command,
    /// When it was asked for, by the bridge's clock.
    pub(crate) requested_unix_ms: u64,
    pub(crate) limits: Limits,
    /// Longest run of all its steps.
    pub(crate) run_bound_ms: u64,
    pub(crate) rows: BTreeMap<NodeId, Row>,
}

impl CommandRow {
    /// Whether it may go to a node at this date.
    fn may_send(&self, unix_ms: u64) -> bool {
        let [now, requested, expires] = [
            unix_ms,
            self.requested_unix_ms,
            self.command.expires_unix_ms,
        ]
        .map(u64::cast_signed);
        may_send(now, requested, expires)
    }
}

/// One node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeRow {
    chain: Option<Chain>,
    applied: BTreeMap<OutboxId, [u64; 4]>,
    counter: u64,
    pub(crate) quarantined: bool,
    /// The life of its outbox that was heard of last.
    life: Option<OutboxId>,
    pub(crate) tables: Vec<Table>,
    /// Whether a person wants its floor of time set back, and to what it was told to be.
    floor_reset: Option<Option<u64>>,
}

/// What survives a crash of the bridge, and what a backup copies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) nodes: BTreeMap<NodeId, NodeRow>,
    pub(crate) commands: BTreeMap<CommandId, CommandRow>,
    /// Records that will never come, counted.
    pub(crate) gaps: u64,
}

/// What the bridge has taken of a stream, for whoever keeps the accounts.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A session is open: the token of its hello's reply is durable on the node.
    Greeted { node: NodeId, connection: u64 },
    /// A node knows the end of a command that was asked of it on this connection, and which has no
    /// end here.
    Known { node: NodeId, command: CommandId },
    /// A hello: the bridge goes on above `last`. `before`: where a life of the outbox begins that
    /// it does not know.
    Opened {
        stream: (NodeId, OutboxId, Class),
        before: u64,
        last: u64,
    },
    /// A record, or a gap where it begins and ends.
    Record {
        stream: (NodeId, OutboxId, Class),
        gap_from: Option<u64>,
        last: u64,
    },
}

#[derive(Debug)]
struct Session {
    connection: u64,
    outbox: OutboxId,
    /// Of its hello: what the root says answers it.
    nonce: Nonce,
    /// Whether the hello was accepted and its streams fit.
    open: bool,
    next_packet: u16,
    /// Serial of the signing key whose certificate this connection was last sent; 0 before any.
    certified: u32,
    unacked: BTreeMap<u16, CommandId>,
    /// Commands that were sent or cancelled.
    asked: BTreeSet<CommandId>,
    busy_until: u64,
    /// Something was committed that is not acknowledged yet.
    owes: bool,
}

/// A frame that waits for the next commit.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) connection: u64,
    pub(crate) node: NodeId,
    pub(crate) topic: Topic,
    pub(crate) frame: Vec<u8>,
    pub(crate) acknowledged: bool,
}

/// What waits for the next commit, in the order in which it came.
#[derive(Debug)]
enum Arrived {
    Frame(Incoming),
    PubAck {
        node: NodeId,
        connection: u64,
        packet: u16,
    },
}

/// What the world has to do for the bridge.
#[derive(Debug)]
pub(crate) enum Out {
    Publish {
        connection: u64,
        packet: u16,
        topic: Topic,
        frame: Vec<u8>,
    },
    PubAck {
        connection: u64,
    },
    Close {
        connection: u64,
    },
}

/// The bridge.
pub(crate) struct Bridge {
    pub(crate) store: Store,
    pub(crate) up: bool,
    /// For what only the root may say.
    root: Sealer,
    sealer: Sealer,
    /// Whether a new key's certificate comes with a hello alone, not with its first frame.
    bare: bool,
    tokens: TokenKey,
    sessions: BTreeMap<NodeId, Session>,
    incoming: Vec<Arrived>,
    out: Vec<Out>,
    /// How long certificates are good.
    pub(crate) life_ms: u64,
    /// How far the bridge's clock has jumped.
    pub(crate) clock_jump_ms: i64,
    /// What nodes said that contradicts what was known of them.
    pub(crate) contradictions: Vec<(NodeId, String)>,
    /// What was taken since somebody looked.
    pub(crate) heard: Vec<Heard>,
    /// What failed that never should.
    pub(crate) failed: Option<String>,
    /// The real hub, which then does everything; `store` is a copy of what its database holds.
    real: Option<Box<hub::Real>>,
}

impl Bridge {
    pub(crate) fn new(root: Sealer, sealer: Sealer, life_ms: u64) -> Self {
        Self {
            store: Store::default(),
            up: true,
            root,
            sealer,
            bare: false,
            tokens: TokenKey::new(&[7; 32]),
            sessions: BTreeMap::new(),
            incoming: Vec::new(),
            out: Vec::new(),
            life_ms,
            clock_jump_ms: 0,
            contradictions: Vec::new(),
            heard: Vec::new(),
            failed: None,
            real: None,
        }
    }

    /// The bridge's clock, milliseconds since 1970.
    pub(crate) fn unix_ms(&self, now: u64) -> u64 {
        (EPOCH_UNIX_MS + now).saturating_add_signed(self.clock_jump_ms)
    }

    /// The process dies: what was not committed is gone.
    pub(crate) fn die(&mut self) {
        self.up = false;
        if let Some(real) = &mut self.real {
            real.die();
        }
        self.sessions.clear();
        self.incoming.clear();
        self.out.clear();
    }

    pub(crate) fn receive(&mut self, incoming: Incoming) {
        self.incoming.push(Arrived::Frame(incoming));
    }

    /// Commits what has come, then tells what follows from it.
    pub(crate) fn commit(&mut self, now: u64, random: [u8; 16]) -> Vec<Out> {
        if self.real.is_some() {
            return self.commit_real(now);
        }
        let mut acknowledged = Vec::new();
        for arrived in std::mem::take(&mut self.incoming) {
            match arrived {
                Arrived::Frame(incoming) => {
                    if incoming.acknowledged {
                        acknowledged.push(incoming.connection);
                    }
                    self.ingest(now, &incoming, random);
                }
                Arrived::PubAck {
                    node,
                    connection,
                    packet,
                } => self.delivered(node, connection, packet),
            }
        }
        let owing: Vec<NodeId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.owes)
            .map(|(node, _)| *node)
            .collect();
        for node in owing {
            self.acknowledge(node);
        }
        let told = acknowledged
            .into_iter()
            .map(|connection| Out::PubAck { connection });
        self.out.extend(told);
        self.dispatch(now);
        std::mem::take(&mut self.out)
    }

    /// Time passes: expiry, and what may be sent again.
    pub(crate) fn tick(&mut self, now: u64) -> Vec<Out> {
        if self.real.is_some() {
            return self.ask_real(now, hub::Real::tick);
        }
        let unix = self.unix_ms(now);
        for row in self.store.commands.values_mut() {
            let expires = row.command.expires_unix_ms;
            for invocation in row.rows.values_mut() {
                if unix >= expires {
                    invocation.state.apply(Event::DeliveryExpired);
                }
                if unix >= expires + row.run_bound_ms {
                    invocation.state.apply(Event::BoundPassed);
                }
            }
        }
        self.dispatch(now);
        std::mem::take(&mut self.out)
    }

    /// A connection has ended.
    pub(crate) fn closed(&mut self, now: u64, node: NodeId, connection: u64) {
        if self.real.is_some() {
            let out = self.ask_real(now, |real| real.disconnect(connection));
            return self.out.extend(out);
        }
        if self
            .sessions
            .get(&node)
            .is_some_and(|session| session.connection == connection)
        {
            self.sessions.remove(&node);
            self.presence(node, Event::LinkLost);
        }
    }

    fn presence(&mut self, node: NodeId, event: Event) {
        for command in self.store.commands.values_mut() {
            if let Some(row) = command.rows.get_mut(&node) {
                row.state.apply(event);
            }
        }
    }

    /// The command whose publish awaits the transport's acknowledgement.
    pub(crate) fn awaits(&self, node: NodeId, connection: u64, packet: u16) -> Option<CommandId> {
        if let Some(real) = &self.real {
            return real.awaits(connection, packet);
        }
        let session = self.sessions.get(&node)?;
        let found = session.unacked.get(&packet)?;
        (session.connection == connection).then_some(*found)
    }

    /// The node's transport has a publish; an answer to it came before that, and is committed before.
    pub(crate) fn receive_ack(&mut self, node: NodeId, connection: u64, packet: u16) {
        self.incoming.push(Arrived::PubAck {
            node,
            connection,
            packet,
        });
    }

    fn delivered(&mut self, node: NodeId, connection: u64, packet: u16) {
        let Some(session) = self.sessions.get_mut(&node) else {
            return;
        };
        if session.connection != connection {
            return;
        }
        if let Some(command) = session.unacked.remove(&packet) {
            self.apply(node, command, Event::Delivered);
        }
    }

    fn apply(&mut self, node: NodeId, command: CommandId, event: Event) {
        let row = self.store.commands.get_mut(&command);
        if let Some(row) = row.and_then(|row| row.rows.get_mut(&node)) {
            row.state.apply(event);
        }
    }

    /// A command comes through the API.
    pub(crate) fn submit(&mut self, now: u64, row: CommandRow) -> Vec<Out> {
        self.store.commands.insert(row.command.id, row);
        self.dispatch(now);
        std::mem::take(&mut self.out)
    }

    /// A new invocation of a node.
    pub(crate) fn row(&self, node: NodeId) -> Row {
        let online = self.sessions.get(&node).is_some_and(|session| session.open);
        Row {
            state: Invocation::new(online),
            result: None,
            output_bytes: BTreeMap::new(),
            kept: Kept::default(),
            was_sent: false,
        }
    }

    /// A cancel comes through the API.
    pub(crate) fn cancel(&mut self, now: u64, command: CommandId) -> Vec<Out> {
        if self.real.is_some() {
            return self.ask_real(now, |real| real.cancel(command));
        }
        let Some(row) = self.store.commands.get_mut(&command) else {
            return Vec::new();
        };
        let mut asked = Vec::new();
        for (node, row) in &mut row.rows {
            row.state.apply(Event::Cancel);
            if row.state.stage == Stage::Sent {
                asked.push(*node);
            }
        }
        for node in asked {
            self.send(node, &Down::Cancel(Cancel { command }), None);
        }
        std::mem::take(&mut self.out)
    }

    /// Sends what may be sent, recorded before it leaves.
    fn dispatch(&mut self, now: u64) {
        let unix = self.unix_ms(now);
        let mut sends = Vec::new();
        for (id, command) in &mut self.store.commands {
            let rows = command.rows.values();
            let count = |which: &dyn Fn(&&Row) -> bool| {
                u32::try_from(rows.clone().filter(which).count()).unwrap_or(u32::MAX)
            };
            let tally = Tally {
                waiting: count(&|row| row.state.is_waiting()),
                held: count(&|row| row.state.slot),
                errors: count(&|row| row.state.details.counts_as_error()),
            };
            match rate::admit(command.limits, tally) {
                Admission::Hold => {}
                Admission::Terminate => {
                    for row in command.rows.values_mut() {
                        row.state.apply(Event::Terminate);
                    }
                }
                Admission::Send(many) if command.may_send(unix) => {
                    let sessions = &self.sessions;
                    let ready = |node: &NodeId| {
                        let session = sessions.get(node);
                        session.is_some_and(|session| session.open && session.busy_until <= now)
                    };
                    let waiting = command
                        .rows
                        .iter_mut()
                        .filter(|(node, row)| row.state.is_waiting() && ready(node));
                    for (node, row) in waiting.take(many as usize) {
                        row.state.apply(Event::Sent);
                        row.was_sent = true;
                        sends.push((*node, *id));
                    }
                }
                Admission::Send(_) => {}
            }
        }
        for (node, id) in sends {
            self.send_command(node, id);
        }
    }

    fn send_command(&mut self, node: NodeId, id: CommandId) {
        if let Some(row) = self.store.commands.get(&id) {
            let down = Down::Command(Box::new(row.command.clone()));
            self.send(node, &down, Some(id));
        }
    }

    fn send(&mut self, node: NodeId, down: &Down, command: Option<CommandId>) {
        let Some(session) = self.sessions.get_mut(&node) else {
            return;
        };
        let Some(row) = self.store.nodes.get_mut(&node) else {
            return;
        };
        row.counter += 1;
        let cancelled = if let Down::Cancel(cancel) = down {
            Some(cancel.command)
        } else {
            None
        };
        session.asked.extend(command.or(cancelled));
        let address = Address {
            node,
            outbox: session.outbox,
        };
        if matches!(down, Down::FloorReset(_)) {
            if let Ok(frame) = self.root.seal(&address, row.counter, false, down) {
                self.publish(node, frame, None);
            }
            return;
        }
        let serial = self.sealer.certificate().map_or(0, |own| own.serial);
        let greets = matches!(down, Down::HelloReply(_) | Down::HelloRefusal(_));
        let certified = greets || (session.certified != serial && !self.bare);
        if certified {
            session.certified = serial;
        }
        if let Ok(frame) = self.sealer.seal(&address, row.counter, certified, down) {
            self.publish(node, frame, command);
        }
    }

    fn publish(&mut self, node: NodeId, frame: Vec<u8>, command: Option<CommandId>) {
        let Some(session) = self.sessions.get_mut(&node) else {
            return;
        };
        session.next_packet = session.next_packet.wrapping_add(1);
        let packet = session.next_packet;
        if let Some(command) = command {
            session.unacked.insert(packet, command);
        }
        let topic = if command.is_some() {
            Topic::Command(node)
        } else {
            Topic::Control(node)
        };
        self.out.push(Out::Publish {
            connection: session.connection,
            packet,
            topic,
            frame,
        });
    }

    /// Signs with a new key from here on, which the same root has certified.
    pub(crate) fn rotate(&mut self, now: u64, sealer: Sealer, bare: bool) -> Vec<Out> {
        if self.real.is_some() {
            return self.ask_real(now, |real| real.rotate(sealer));
        }
        self.sealer = sealer;
        self.bare = bare;
        Vec::new()
    }

    /// The operator releases every node that is quarantined: its chain begins anew.
    pub(crate) fn release_all(&mut self, now: u64) {
        if self.real.is_some() {
            let nodes = self.store.nodes.iter().filter(|(_, row)| row.quarantined);
            let nodes: Vec<NodeId> = nodes.map(|(node, _)| *node).collect();
            let out = self.ask_real(now, |real| real.release(&nodes));
            return self.out.extend(out);
        }
        for row in self.store.nodes.values_mut().filter(|row| row.quarantined) {
            row.quarantined = false;
            row.chain = None;
        }
    }

    /// What is to be done for the bridge.
    pub(crate) fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// The invocations that have not ended.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let commands = self.store.commands.iter();
        let rows =
            commands.flat_map(|(id, row)| row.rows.iter().map(move |(node, row)| (id, node, row)));
        rows.filter(|(_, _, row)| row.state.stage != Stage::Closed)
            .map(|(id, node, row)| format!("{node} {id} {:?}", row.state))
            .collect()
    }

    /// Whether every invocation has ended.
    pub(crate) fn is_finished(&self) -> bool {
        let mut rows = self
            .store
            .commands
            .values()
            .flat_map(|row| row.rows.values());
        rows.all(|row| row.state.stage == Stage::Closed)
    }
}
