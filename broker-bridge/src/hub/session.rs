//! Live connections: one session a node, its counter, and what was sent on it without an answer.
//! Never holds a message: what waits is in the mailbox or in the store.

use super::Sealers;
use crate::mqtt::{CloseReason, ConnectionId, DeliveryId, Mailbox, Outbound};
use crate::store::UnixMs;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use holdfast_bridge_core::places::{Places, Send, Wanted};
use holdfast_protocol::down::{Down, FloorReset};
use holdfast_protocol::seal::{Address, PublicKey, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Stamp;
use holdfast_protocol::{CommandId, NodeId, Nonce, OutboxId};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Bytes that may wait in a mailbox before one more command joins them.
const MAILBOX_FREE_BELOW: usize = 128 * 1024;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these, and what they guard is valid between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the accepted hello of a session brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greeted {
    pub(super) outbox: OutboxId,
    /// First counter of this session; sends are recorded under it.
    pub(super) epoch: i64,
    /// Counter of the frame sent last.
    pub(super) counter: u64,
    /// Counters end here; a new hello reserves more.
    pub(super) counter_end: u64,
    pub(super) dating: Dating,
    /// Its disk was rolled back: it answers the reply with a new life of its outbox, and can open
    /// nothing that is sealed for this one.
    pub(super) regressed: bool,
    /// Its outbox is the one that it said hello with before: what it is known to have, it still has.
    pub(super) same_life: bool,
    /// Nonce of the hello: what the root says answers it.
    pub(super) nonce: Nonce,
}

/// Turns a node's stamps of this boot into the bridge's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dating {
    boot: u32,
    booted: UnixMs,
}

impl Dating {
    /// From a hello that came at `now`.
    pub(super) fn new(stamp: &Stamp, now: UnixMs) -> Self {
        let uptime = i64::try_from(stamp.uptime_ms).unwrap_or(i64::MAX);
        Self {
            boot: stamp.boot,
            booted: now.saturating_sub(uptime),
        }
    }

    /// The bridge's time of a stamp, as far as it can be told.
    pub(super) fn date(&self, stamp: &Stamp) -> Option<UnixMs> {
        if stamp.boot == self.boot {
            let uptime = i64::try_from(stamp.uptime_ms).unwrap_or(i64::MAX);
            return Some(self.booted.saturating_add(uptime));
        }
        stamp.unix_ms.and_then(|unix| i64::try_from(unix).ok())
    }
}

#[derive(Debug, Default)]
struct Link {
    greeted: Option<Greeted>,
    /// Serial of the signing key whose certificate this connection was last sent; 0 before any.
    certified: u32,
    places: Places,
    /// When the first of the commands that are to be sent again comes into its time.
    again_at: Option<UnixMs>,
    /// What places are for that nobody could use when they came free.
    put_off: Wanted,
    /// Ends when the newest answer is recorded.
    answered: Option<Recorded>,
}

/// Ends when what it stands for is recorded; with an error if it never will be.
pub(super) type Recorded = Shared<oneshot::Receiver<()>>;

/// A node's live connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) node: NodeId,
    pub(super) connection: ConnectionId,
    /// The key that its certificate is for.
    pub(super) key: PublicKey,
    mailbox: Arc<Mailbox>,
    link: Mutex<Link>,
}

impl Session {
    pub(super) fn new(
        node: NodeId,
        connection: ConnectionId,
        key: PublicKey,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self {
            node,
            connection,
            key,
            mailbox,
            link: Mutex::default(),
        }
    }

    /// The number under which the store knows this connection; never 0, which means none.
    pub(super) fn number(&self) -> i64 {
        i64::try_from(self.connection.0).unwrap_or(i64::MAX - 1) + 1
    }

    pub(super) fn greeted(&self) -> Option<Greeted> {
        lock(&self.link).greeted
    }

    pub(super) fn close(&self, reason: CloseReason) {
        self.mailbox.close(reason);
    }

    /// Begins the session with the reply to its hello: nothing is sent before it.
    pub(super) fn greet(&self, greeted: Greeted, reply: &Down, sealers: &Sealers) {
        let mut link = lock(&self.link);
        link.greeted = Some(greeted);
        link.places.clear();
        link.again_at = None;
        link.put_off = Wanted::NOTHING;
        link.certified = 0;
        self.transmit(&mut link, reply, None, sealers);
    }

    /// Sends a message; one that cannot be sent is sent again after the next hello.
    pub(super) fn send(&self, down: &Down, delivery: Option<DeliveryId>, sealers: &Sealers) {
        self.transmit(&mut lock(&self.link), down, delivery, sealers);
    }

    /// Has the node set its floor of time back to `unix_ms`, by the root's word.
    pub(super) fn reset_floor(&self, unix_ms: u64, root: &Sealer) {
        let mut link = lock(&self.link);
        let Some(greeted) = link.greeted.as_mut() else {
            return;
        };
        greeted.counter += 1;
        let (counter, outbox) = (greeted.counter, greeted.outbox);
        let down = Down::FloorReset(FloorReset {
            nonce: greeted.nonce,
            unix_ms,
        });
        let address = Address {
            node: self.node,
            outbox,
        };
        match root.seal(&address, counter, false, &down) {
            Ok(frame) => drop(self.post(&down, frame, None)),
            Err(error) => {
                tracing::error!(node_id = %self.node, %error, "a frame could not be sealed");
            }
        }
    }

    /// Counter, seal and queue under one lock: counters must leave in their order.
    fn transmit(
        &self,
        link: &mut Link,
        down: &Down,
        delivery: Option<DeliveryId>,
        sealers: &Sealers,
    ) {
        let Some(greeted) = link.greeted.as_mut() else {
            return;
        };
        if greeted.counter + 1 >= greeted.counter_end {
            // The next hello reserves fresh counters.
            return self.close(CloseReason::Store);
        }
        greeted.counter += 1;
        let address = Address {
            node: self.node,
            outbox: greeted.outbox,
        };
        let sealer = sealers.current();
        let serial = sealer.certificate().map_or(0, |own| own.serial);
        // The first frame under a new signing key brings its certificate along, so that a
        // rotation strands no connected node.
        let certified = link.certified != serial;
        match sealer.seal(&address, greeted.counter, certified, down) {
            Ok(frame) => {
                if self.post(down, frame, delivery) {
                    link.certified = serial;
                }
            }
            Err(error) => {
                tracing::error!(node_id = %self.node, %error, "a frame could not be sealed");
            }
        }
    }

    /// Puts a frame into the mailbox; `false`: there was no room.
    fn post(&self, down: &Down, frame: Vec<u8>, delivery: Option<DeliveryId>) -> bool {
        let topic = if matches!(down, Down::Command(_)) {
            Topic::Command(self.node)
        } else {
            Topic::Control(self.node)
        };
        let outbound = Outbound {
            topic,
            payload: frame.into(),
            delivery,
        };
        let sent = self.mailbox.send(outbound);
        if let Err(error) = &sent {
            tracing::debug!(node_id = %self.node, %error, "not sent; the next hello asks again");
        }
        sent.is_ok()
    }

    /// Answers a hello without a session.
    pub(super) fn refuse(&self, outbox: OutboxId, counter: u64, refusal: &Down, sealers: &Sealers) {
        let address = Address {
            node: self.node,
            outbox,
        };
        match sealers.current().seal(&address, counter, true, refusal) {
            Ok(frame) => drop(self.post(refusal, frame, None)),
            Err(error) => {
                tracing::error!(node_id = %self.node, %error, "a refusal could not be sealed");
            }
        }
    }

    /// Takes a place on the wire for a command: this session's epoch, or `None` without one.
    pub(super) fn reserve(&self, command: CommandId, send: Send) -> Option<(i64, DeliveryId)> {
        let mut link = lock(&self.link);
        let epoch = link.greeted.filter(|greeted| !greeted.regressed)?.epoch;
        let room = self.mailbox.queued_bytes() < MAILBOX_FREE_BELOW;
        let delivery = link.places.take(command, send, room)?;
        Some((epoch, DeliveryId(delivery)))
    }

    /// The node acknowledged a delivery: its command, and what its place is for now.
    pub(super) fn delivered(&self, delivery: DeliveryId) -> Option<(CommandId, Wanted)> {
        lock(&self.link).places.acknowledge(delivery.0)
    }

    /// The node took nothing under counters up to this one; what the places of the command that came
    /// so are for now. Heard before its PUBACK, which follows at once and would tell otherwise.
    pub(super) fn stale(&self, command: Option<CommandId>, counter: u64) -> Wanted {
        let mut link = lock(&self.link);
        if let Some(greeted) = link.greeted.as_mut() {
            greeted.counter = greeted.counter.max(counter.min(greeted.counter_end));
        }
        command.map_or(Wanted::NOTHING, |command| link.places.give_back(command))
    }

    /// Gives a place back whose send was not recorded. The tick uses it: what failed a moment ago is not
    /// tried again at once.
    pub(super) fn unreserve(&self, delivery: DeliveryId) {
        let mut link = lock(&self.link);
        let wanted = link.places.withdraw(delivery.0);
        link.put_off = link.put_off.and(wanted);
    }

    /// Has commands that are to be sent again looked at when their time has come, if any wait for it.
    pub(super) fn send_again_at(&self, at: Option<UnixMs>) {
        lock(&self.link).again_at = at;
    }

    /// What is to be looked for now, for nothing but time brings it back.
    pub(super) fn due(&self, now: UnixMs) -> Wanted {
        let mut link = lock(&self.link);
        let mut due = std::mem::take(&mut link.put_off);
        if link.again_at.is_some_and(|at| at <= now) {
            link.again_at = None;
            due = due.and(Wanted::AGAIN);
        }
        due
    }

    /// Puts an answer into the order of this session: what the one before it ends with, and what
    /// is told once this one is recorded, or dropped if it never will be.
    pub(super) fn answers(&self) -> (Option<Recorded>, oneshot::Sender<()>) {
        let (done, recorded) = oneshot::channel();
        let before = lock(&self.link).answered.replace(recorded.shared());
        (before, done)
    }

    /// The newest answer, while it may not be recorded.
    pub(super) fn answered(&self) -> Option<Recorded> {
        lock(&self.link).answered.clone()
    }
}

#[derive(Debug, Default)]
struct Maps {
    nodes: HashMap<NodeId, Arc<Session>>,
    connections: HashMap<ConnectionId, Arc<Session>>,
    anonymous: HashMap<ConnectionId, (Arc<Mailbox>, SocketAddr)>,
}

/// All live connections.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    maps: Mutex<Maps>,
}

impl Sessions {
    /// Adds a session; the node's older one is closed. `false` when a newer one is there already.
    pub(super) fn insert(&self, session: &Arc<Session>) -> bool {
        let mut maps = lock(&self.maps);
        if let Some(other) = maps.nodes.get(&session.node).cloned() {
            if other.connection > session.connection {
                return false;
            }
            other.close(CloseReason::TakenOver);
            maps.connections.remove(&other.connection);
        }
        maps.nodes.insert(session.node, Arc::clone(session));
        maps.connections
            .insert(session.connection, Arc::clone(session));
        true
    }

    pub(super) fn insert_anonymous(
        &self,
        connection: ConnectionId,
        mailbox: Arc<Mailbox>,
        peer: SocketAddr,
    ) {
        let anonymous = (mailbox, peer);
        lock(&self.maps).anonymous.insert(connection, anonymous);
    }

    pub(super) fn anonymous(&self, connection: ConnectionId) -> Option<(Arc<Mailbox>, SocketAddr)> {
        lock(&self.maps).anonymous.get(&connection).cloned()
    }

    /// The session of a connection, unless a newer one took over.
    pub(super) fn of(&self, connection: ConnectionId) -> Option<Arc<Session>> {
        lock(&self.maps).connections.get(&connection).cloned()
    }

    pub(super) fn of_node(&self, node: NodeId) -> Option<Arc<Session>> {
        lock(&self.maps).nodes.get(&node).cloned()
    }

    /// Removes a connection; its session, if it was the node's live one.
    pub(super) fn remove(&self, connection: ConnectionId) -> Option<Arc<Session>> {
        let mut maps = lock(&self.maps);
        maps.anonymous.remove(&connection);
        let session = maps.connections.remove(&connection)?;
        maps.nodes.remove(&session.node);
        Some(session)
    }

    /// Every node's live session.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.maps).nodes.values().cloned().collect()
    }

    /// Closes a node's connection; its `disconnect` still follows.
    pub(super) fn close_node(&self, node: NodeId, reason: CloseReason) {
        if let Some(session) = self.of_node(node) {
            session.close(reason);
        }
    }

    pub(super) fn close_all(&self, reason: CloseReason) {
        let maps = lock(&self.maps);
        maps.nodes
            .values()
            .for_each(|session| session.close(reason));
        maps.anonymous
            .values()
            .for_each(|(mailbox, _)| mailbox.close(reason));
    }

    /// Whether a connection of this node lives.
    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        lock(&self.maps).nodes.contains_key(&node)
    }

    /// Connections that live.
    pub(super) fn count(&self) -> usize {
        lock(&self.maps).nodes.len()
    }
}
