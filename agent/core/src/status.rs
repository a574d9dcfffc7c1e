//! What `holdfast-agent status` shows, as one serialisable value.
//! Never holds a secret, a parameter value or output.

use crate::effect::Attempt;
use crate::input::{CertificateLife, LinkFault};
use holdfast_protocol::up::InvocationState;
use holdfast_protocol::{CommandId, NodeId, OutboxId};
use serde::{Serialize, Serializer};

/// A snapshot. Times are milliseconds: `…_in_ms` from now, `…_ms_ago` until now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The node.
    #[serde(serialize_with = "as_text")]
    pub node: NodeId,
    /// Life of its outbox.
    #[serde(serialize_with = "as_text")]
    pub outbox: OutboxId,
    /// The link.
    pub link: LinkStatus,
    /// The streams, in the order of `Class::ALL`.
    pub queues: [QueueStatus; 4],
    /// Commands that are not finished.
    pub commands: Vec<CommandStatus>,
    /// The certificate.
    pub certificate: CertificateLife,
    /// Durable floor of signed time, milliseconds since 1970.
    pub floor_unix_ms: u64,
    /// Signed time, where it is known in this boot.
    pub trusted_unix_ms: Option<u64>,
    /// Why the bridge refuses this node, where it does.
    pub refused: Option<String>,
    /// What the disk last failed with, while it fails.
    pub disk: Option<String>,
    /// Next inventory.
    pub inventory_in_ms: u64,
    /// Next patch scan.
    pub patch_scan_in_ms: u64,
}

/// The link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// How far it is.
    pub state: LinkState,
    /// Which of the configured bridges, from 0.
    pub bridge: usize,
    /// The newest attempt.
    pub attempt: Attempt,
    /// Kind of the last failure.
    pub last_fault: Option<LinkFault>,
    /// What the last failure said.
    pub last_error: Option<String>,
    /// How long ago that was.
    pub last_error_ms_ago: Option<u64>,
    /// Next attempt, while waiting.
    pub next_try_in_ms: Option<u64>,
}

/// How far the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LinkState {
    /// Waiting for the next attempt.
    Waiting,
    /// Connecting.
    Connecting,
    /// Connected, hello not yet answered.
    Greeting,
    /// The bridge has accepted this node.
    Online,
    /// Connected to enrol again.
    Enrolling,
}

/// One stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QueueStatus {
    /// Its name.
    pub class: &'static str,
    /// Records that wait for the bridge.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes reserved for results to come.
    pub reserved_bytes: u64,
    /// The bound.
    pub cap_bytes: u64,
    /// Newest sequence.
    pub head: u64,
    /// Acknowledged sequence.
    pub acked: u64,
    /// Records given up or damaged, of which the bridge does not know yet; it counts them for good.
    pub lost: u64,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandStatus {
    /// The command.
    #[serde(serialize_with = "as_text")]
    pub command: CommandId,
    /// Its document.
    pub document: String,
    /// How far it is.
    #[serde(serialize_with = "as_debug")]
    pub state: InvocationState,
    /// The running step, from 0.
    pub step: Option<u8>,
}

fn as_text<T: std::fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn as_debug<T: std::fmt::Debug, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{value:?}"))
}
