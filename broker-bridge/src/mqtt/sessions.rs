//! The seam between the endpoint and what stands behind it: who connected, what was published,
//! what was acknowledged. Never knows a socket, a packet or a database.
//!
//! # Order of calls
//! [`Sessions::connect`] comes first and is awaited; until it is accepted nothing else is called
//! for that connection. Then [`Sessions::publish`] and [`Sessions::delivered`], in the order in
//! which the client sent them; [`Sessions::disconnect`] is the last call. It always comes, but for
//! a client that `connect` refused.
//!
//! A second connection of a node takes over: its `connect` may come before the `disconnect` of
//! the first. So whoever implements this compares the [`ConnectionId`]s, which grow, and takes a
//! `publish` or `disconnect` of an older connection for what it is: words from the past.

use super::mailbox::Mailbox;
use holdfast_protocol::NodeId;
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::topic::Topic;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A connection in the life of this process; a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Names a downward message until the node has acknowledged it. The giver chooses the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// What a client proved by its certificate: TLS verified its chain, usage and validity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node: common name of the certificate, and the MQTT client id.
    pub node: NodeId,
    /// The certified key, to be compared with the node's current and previous one.
    pub key: PublicKey,
    /// Serial number of the certificate, big-endian, for revocation.
    pub serial: Box<[u8]>,
    /// End of its validity, milliseconds since 1970.
    pub not_after_unix_ms: u64,
}

/// A client that asks to be let in.
#[derive(Debug)]
pub struct Arrival {
    /// This connection.
    pub connection: ConnectionId,
    /// Who it is; `None` for a client without a certificate, which may only enrol.
    pub identity: Option<Identity>,
    /// Address and port of the client.
    pub peer: std::net::SocketAddr,
    /// Where messages for this connection go. Nothing of it is sent before the client is let in
    /// and has subscribed to the message's topic.
    pub mailbox: Arc<Mailbox>,
}

/// Why a certified client is not let in. It is told by CONNACK 5 (3 for `Unavailable`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectRefusal {
    /// No such node, or it was certified for another key.
    #[error("the node is not known with this key")]
    Unknown,
    /// The node was deregistered or its certificate revoked.
    #[error("the node's certificate is revoked")]
    Revoked,
    /// The store cannot say just now.
    #[error("the store is not available")]
    Unavailable,
}

/// What became of a publish. The sender dropped without a word is taken for `Close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Committed, or of a kind that needs no commit: PUBACK may go out.
    Accepted,
    /// Not taken, and a repeat of the same bytes would fare no better (malformed, stale): PUBACK
    /// goes out so that the client goes on; whoever refused it has logged why.
    Discarded,
    /// Not committed: the connection closes without PUBACK, and the client sends again.
    Close(CloseReason),
}

/// Why the bridge closes a connection; for logs, as MQTT 3.1.1 has no word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The same node connected again.
    #[error("taken over by a newer connection of the same node")]
    TakenOver,
    /// The node was deregistered.
    #[error("the node was deregistered")]
    Deregistered,
    /// The node's token is not the one that was given to it.
    #[error("the node is quarantined")]
    Quarantined,
    /// The client does not read what it is sent.
    #[error("the client reads too slowly: its outbound queue is full")]
    SlowConsumer,
    /// The store could not commit.
    #[error("the store could not commit")]
    Store,
    /// The bridge stops.
    #[error("the bridge is stopping")]
    Shutdown,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Departure {
    /// The client said DISCONNECT; its will is dropped.
    Graceful,
    /// Anything else; the will, if there was one, was published just before.
    Lost,
}

/// What the endpoint needs behind it. Calls must not block: work goes to other tasks, and what
/// takes time is answered through the receiver.
///
/// Topics are those the client has a right to (`Topic::may_publish`); payloads are of any content
/// up to the packet's limit and are borrowed: decode or copy what must stay.
pub trait Sessions: Send + Sync + 'static {
    /// A client arrived. For one without a certificate the answer is normally `Ok`.
    fn connect(&self, arrival: Arrival) -> oneshot::Receiver<Result<(), ConnectRefusal>>;

    /// A client published. The receiver resolves after the commit; until then no PUBACK goes out.
    /// Many may be outstanding; PUBACKs keep the order of the publishes.
    fn publish(
        &self,
        connection: ConnectionId,
        topic: Topic,
        payload: &[u8],
    ) -> oneshot::Receiver<Verdict>;

    /// The client acknowledged a message that was sent with this id.
    fn delivered(&self, connection: ConnectionId, delivery: DeliveryId);

    /// How many publishes one client may have waiting for their commit just now, of `full` when
    /// little waits; at least 1.
    fn window(&self, full: usize) -> usize {
        full
    }

    /// The connection is over.
    fn disconnect(&self, connection: ConnectionId, departure: Departure);
}

/// A receiver that has its answer already, for implementations that know at once.
#[must_use]
pub fn ready<T>(value: T) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    // The receiver is in hand, so this cannot fail.
    let _ = sender.send(value);
    receiver
}
