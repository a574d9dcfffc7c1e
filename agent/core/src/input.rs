//! Everything that can happen to the agent, as the shell tells it to the core.
//! Never carries a wall clock; randomness comes only with [`Input::Connected`] and [`Restored`].

use crate::effect::{Attempt, Delivery, Gathering, Ticket};
use holdfast_protocol::enrol::Renewal;
use holdfast_protocol::report::{Table, TypeName};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Class, GapReason, OutputStream, Platform};
use holdfast_protocol::{CommandId, limits};
use serde::{Deserialize, Serialize};

/// Milliseconds since this machine booted, suspend included (`CLOCK_BOOTTIME`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// This many milliseconds later.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; 0 when that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One input. Each answers an effect or reports an event; none may be made up.
#[derive(Debug)]
pub enum Input {
    /// [`crate::Core::next_deadline`] has come.
    Tick,

    /// All writes of a ticket are durable.
    Persisted {
        /// The ticket.
        ticket: Ticket,
        /// Sequence of each [`crate::Write::Append`] of the ticket, in its order.
        appended: Vec<u64>,
        /// The streams as they are now.
        streams: [StreamFigures; 4],
    },
    /// Acknowledged records are released: there is room again. Answers [`crate::StoreOp::Release`],
    /// several by one.
    Released {
        /// The streams as they are now.
        streams: [StreamFigures; 4],
    },
    /// The journal refused a ticket by a bound. Nothing that its ledger writes say will be durable.
    PersistFailed {
        /// The ticket.
        ticket: Ticket,
        /// Which bound.
        why: PersistRefusal,
    },
    /// The device fails. The ticket stays open: the shell tries again until it is durable.
    PersistDelayed {
        /// The ticket.
        ticket: Ticket,
        /// What the device said.
        why: String,
    },
    /// Answer to [`crate::StoreOp::Read`].
    Records {
        /// The stream.
        class: Class,
        /// `from` of the effect.
        from: u64,
        /// Entries from there on without holes, in order; empty when there are none.
        entries: Vec<Entry>,
    },
    /// [`crate::StoreOp::Read`] failed on the device; the core tries again later.
    ReadFailed {
        /// The stream.
        class: Class,
        /// What the device said.
        why: String,
    },
    /// Answer to [`crate::StoreOp::Load`].
    Loaded {
        /// The key.
        key: String,
        /// Its value; `None` when there is none or it cannot be read.
        value: Option<Vec<u8>>,
    },

    /// A connection could not be made. Answers [`crate::Effect::Connect`].
    LinkFailed {
        /// The attempt.
        attempt: Attempt,
        /// How far it came.
        fault: LinkFault,
        /// What the stage said.
        why: String,
    },
    /// Connected and subscribed: both `down` topics, or the reply topic of an enrolment. Answers
    /// [`crate::Effect::Connect`].
    Connected {
        /// The attempt.
        attempt: Attempt,
        /// Fresh randomness of the operating system: nonce of the hello, a spare outbox id, jitter.
        random: [u8; 32],
        /// End of the certificate that the bridge showed, milliseconds since 1970: no time that this
        /// connection brings can be later.
        bridge_expires_unix_ms: u64,
    },
    /// A connection that was made has ended, for whatever reason, [`crate::Effect::Disconnect`] included.
    Disconnected {
        /// The attempt that made it.
        attempt: Attempt,
        /// What kind of end.
        fault: LinkFault,
        /// What the transport said.
        why: String,
    },
    /// A publish arrived.
    Received {
        /// To be named in [`crate::Effect::AckTransport`].
        delivery: Delivery,
        /// Its topic, parsed.
        topic: Topic,
        /// Its payload: at most [`limits::FRAME_BYTES_MAX`] are looked at.
        frame: Vec<u8>,
    },
    /// The transport acknowledged this many QoS 1 publishes of the connection.
    PubAcked {
        /// The attempt that made the connection.
        attempt: Attempt,
        /// How many.
        count: u32,
    },

    /// Answers [`crate::Effect::EndRemains`]: nothing runs that an earlier process began.
    RemainsEnded,
    /// A piece of a running step's output, in order, at most [`limits::OUTPUT_CHUNK_BYTES_MAX`].
    Output {
        /// The command.
        command: CommandId,
        /// The step, from 0.
        step: u8,
        /// Which of its streams.
        stream: OutputStream,
        /// The piece.
        bytes: Vec<u8>,
    },
    /// A step has ended, all its [`Input::Output`] and [`Input::Reported`] before it. Answers
    /// [`crate::Effect::Run`], also after [`crate::Effect::Kill`].
    StepEnded {
        /// The command.
        command: CommandId,
        /// The step, from 0.
        step: u8,
        /// How it ended.
        end: StepEnd,
    },
    /// A table was gathered, by a schedule or by a step.
    Reported {
        /// The command whose step gathered it; `None` for a schedule's.
        origin: Option<CommandId>,
        /// Type, such as `AWS:Application`.
        type_name: TypeName,
        /// The canonical table.
        table: Table,
    },
    /// Answers [`crate::Effect::Gather`], after all its [`Input::Reported`].
    Gathered {
        /// What was asked for.
        what: Gathering,
        /// Why it failed, wholly or in part.
        fault: Option<String>,
    },

    /// Answers [`crate::Effect::Reboot`] when the machine does not go down.
    RebootFailed {
        /// What is in the way, as the end of a sentence.
        why: String,
    },

    /// Answers [`crate::Effect::MakeRenewal`]: the fresh key is durable.
    RenewalReady {
        /// The signed request.
        renewal: Box<Renewal>,
    },
    /// Answers [`crate::Effect::Install`]: the new certificate and its key are durable and used from
    /// the next connection on.
    Installed {
        /// The new certificate's life.
        certificate: CertificateLife,
    },
    /// [`crate::Effect::MakeRenewal`] or [`crate::Effect::Install`] failed; the old certificate stays.
    RenewalFailed {
        /// Why.
        why: String,
    },

    /// What the node is has changed; goes with the next hello.
    Platform(Box<Platform>),
    /// The process is asked to end. [`crate::Effect::Stopped`] follows within seconds.
    Stop,
}

/// What the shell found when it opened the state directory, and the moment it did.
#[derive(Debug)]
pub struct Restored {
    /// Every ledger entry whose key does not begin with [`crate::BULK_PREFIX`].
    pub ledger: Vec<(String, Vec<u8>)>,
    /// The streams.
    pub streams: [StreamFigures; 4],
    /// Whether all of it was durable when the journal was opened. If not, a power cut may still take
    /// what the last process wrote at the end: nothing of it is told before this process's own first
    /// write is durable.
    pub secured: bool,
    /// Identifies this boot of the machine, such as `/proc/sys/kernel/random/boot_id`.
    pub boot_id: [u8; 16],
    /// Fresh randomness: the first outbox id, jitter.
    pub random: [u8; 32],
    /// The journal cannot say which sequences it has given out (its cursor was lost): a new life of
    /// the outbox begins.
    pub sequences_lost: bool,
    /// What the medium has damaged.
    pub damage: LedgerDamage,
    /// Now.
    pub now: Monotonic,
}

/// What a medium has damaged of a journal, and whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerDamage {
    /// Keys of the ledger whose newest entry is damaged: what is in the ledger of them, if anything, is
    /// older. A command among them is never begun, and still gets its result.
    pub doubtful: Vec<String>,
    /// Commands whose result is damaged in the stream. They are answered again, by what the ledger
    /// knows of them.
    pub lost_results: Vec<CommandId>,
    /// Damaged records in all streams and the ledger.
    pub records: u64,
}

/// Figures of one stream, in the order of [`Class::ALL`] where there are four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamFigures {
    /// Newest durable sequence; 0 before the first.
    pub head: u64,
    /// Released up to and including this sequence.
    pub released: u64,
    /// Bytes used, without reservations.
    pub used_bytes: u64,
    /// Bytes reserved.
    pub reserved_bytes: u64,
    /// The bound on both together.
    pub cap_bytes: u64,
    /// Records neither released nor given up.
    pub records: u64,
    /// Records given up, or found damaged, of which the bridge does not know yet; in stream
    /// *state* also those that a newer report has replaced.
    pub lost: u64,
}

/// Why the journal refused a ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersistRefusal {
    /// A stream's bytes.
    #[error("stream {} is full: {cap_bytes} bytes", class.name())]
    Stream {
        /// The stream.
        class: Class,
        /// Its bound.
        cap_bytes: u64,
    },
    /// The ledger's bytes.
    #[error("the ledger is full: {cap_bytes} bytes")]
    Ledger {
        /// Its bound.
        cap_bytes: u64,
    },
    /// The device has no room, or not for all that was promised.
    #[error("the device is full: {why}")]
    Disk {
        /// What the journal said.
        why: String,
    },
}

/// What a stream holds at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A record.
    Record {
        /// Its sequence.
        sequence: u64,
        /// Its stored form, as it was appended.
        stored: Vec<u8>,
    },
    /// Sequences without a record.
    Gap {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
        /// Why.
        reason: GapReason,
    },
}

impl Entry {
    /// The last sequence it covers.
    #[must_use]
    pub fn last(&self) -> u64 {
        match *self {
            Self::Record { sequence, .. } => sequence,
            Self::Gap { last, .. } => last,
        }
    }
}

/// How a connection failed or ended. It decides between probing and backing off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum LinkFault {
    /// The name did not resolve or TCP did not connect: the link is down, so probe.
    Tcp,
    /// TLS failed, so back off: wrong root, wrong name, no common version.
    Tls,
    /// The bridge says that this node's certificate has expired: enrol again.
    CertificateExpired,
    /// The bridge refuses this node's certificate for another reason: revoked, unknown.
    CertificateRefused,
    /// MQTT failed: CONNECT or SUBSCRIBE refused or unanswered, or a malformed packet.
    Mqtt,
    /// An established connection was lost: reset, keep-alive, end of stream.
    Lost,
    /// The core asked for it.
    Asked,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// By itself or not.
    pub exit: StepExit,
    /// Bytes of standard output written, kept or not.
    pub stdout_bytes: u64,
    /// Bytes of standard error written, kept or not.
    pub stderr_bytes: u64,
}

/// What ended a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepExit {
    /// It ended with this code.
    Code(i32),
    /// A signal ended it; also after a kill that the core asked for.
    Signal(i32),
    /// It could not be started or carried out, for this reason.
    Failed(String),
}

/// Life of the node's certificate, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CertificateLife {
    /// `notBefore`: only its distance to `notAfter` is used.
    pub issued_unix_ms: u64,
    /// `notAfter`.
    pub expires_unix_ms: u64,
}

const _: () = assert!(limits::OUTPUT_CHUNK_BYTES_MAX <= limits::FRAME_BYTES_MAX);
