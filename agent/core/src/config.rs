//! What the core is told once: who the node is, and its bounds and intervals.
//! Never read from a file here.

use crate::input::CertificateLife;
use holdfast_protocol::NodeId;
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::up::Platform;

/// Publishes that the transport has not acknowledged, at most. With few under way, a lost packet or a
/// long way leaves the link idle.
pub const IN_FLIGHT_MAX: u16 = 256;

/// Configuration of one agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node.
    pub node: NodeId,
    /// The pinned root.
    pub root: PublicKey,
    /// How many bridge addresses are configured, at least one; they are tried in turn.
    pub bridges: usize,
    /// Life of the node's certificate.
    pub certificate: CertificateLife,
    /// Version of the agent, at most 32 bytes.
    pub agent_version: heapless::String<32>,
    /// What the node is, for the hello.
    pub platform: Platform,
    /// What the node is, for documents.
    pub document_platform: holdfast_documents::Platform,
    /// When this agent was built, milliseconds since 1970: the floor of time is never below it.
    pub built_unix_ms: u64,
    /// When the node was registered by the bridge's clock, milliseconds since 1970: the first floor.
    /// Later it says nothing: the root may have set the floor below it.
    pub registered_unix_ms: u64,
    /// Bounds.
    pub limits: Limits,
    /// Intervals.
    pub intervals: Intervals,
}

/// Bounds of memory and disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Commands held, from the inbox to their results.
    pub commands_max: usize,
    /// Bytes of those commands.
    pub inbox_bytes_max: u64,
    /// Commands that run at once.
    pub running_max: usize,
    /// Commands remembered after their end, until they expire.
    pub tombstones_max: usize,
    /// Publishes that the transport has not acknowledged: fewer than its window.
    pub in_flight_max: u32,
    /// Bytes of those publishes.
    pub in_flight_bytes_max: usize,
    /// Records that the bridge has not acknowledged, of one stream.
    pub unacked_records_max: u64,
    /// Bytes reserved for the result of one command.
    pub result_bytes_reserved: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commands_max: 32,
            inbox_bytes_max: 1 << 20,
            running_max: 4,
            tombstones_max: 1024,
            in_flight_max: IN_FLIGHT_MAX.into(),
            in_flight_bytes_max: 256 << 10,
            unacked_records_max: 512,
            result_bytes_reserved: crate::command::RESULT_BYTES_MAX,
        }
    }
}

/// Intervals, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Between two inventories.
    pub inventory_ms: u64,
    /// Between two patch scans.
    pub patch_scan_ms: u64,
    /// Between two probes while TCP does not connect, at most.
    pub probe_ms_max: u64,
    /// First wait after TCP connected and something later failed; doubles.
    pub backoff_ms_min: u64,
    /// Longest such wait.
    pub backoff_ms_max: u64,
    /// Wait after a refusal that only a person can lift.
    pub refused_ms: u64,
    /// How long a hello may be unanswered.
    pub hello_ms: u64,
    /// How long acknowledgements may stand still while records are out.
    pub stuck_ms: u64,
    /// How long a renewal may be unanswered, and the wait between two.
    pub renewal_ms: u64,
    /// How long running steps may take to end when the agent stops.
    pub stop_ms: u64,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            inventory_ms: 30 * 60_000,
            patch_scan_ms: 24 * 3_600_000,
            probe_ms_max: 4_000,
            backoff_ms_min: 1_000,
            backoff_ms_max: 60_000,
            refused_ms: 15 * 60_000,
            hello_ms: 20_000,
            stuck_ms: 60_000,
            renewal_ms: 10 * 60_000,
            stop_ms: 8_000,
        }
    }
}
