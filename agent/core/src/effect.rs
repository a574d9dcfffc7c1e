//! Everything the core asks of the shell, in the order in which it must begin.
//! Never performs anything; what an effect came to returns as an [`crate::Input`].

use holdfast_documents::StepInputs;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Class;
use holdfast_protocol::{CommandId, Nonce};
use serde::Serialize;

/// Ledger keys with this prefix hold bulky values: not in [`crate::Restored`], but asked for by [`StoreOp::Load`].
pub const BULK_PREFIX: &str = "table/";

/// Names one durable write. Tickets grow by one and are written in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names one attempt to connect and the connection that it makes. Grows over the life of the state
/// directory, so it is also the connection number in presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Attempt(pub u64);

/// Names one incoming publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The connection.
    pub attempt: Attempt,
    /// Its packet id, or whatever the shell tells publishes apart by.
    pub packet: u16,
}

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Work for the store.
    Store(StoreOp),

    /// Connect: TCP within four seconds, then TLS, MQTT and the subscriptions within twenty. At
    /// most one attempt or connection lives at a time. Answered by `Connected` or `LinkFailed`.
    Connect {
        /// To be named in the answer.
        attempt: Attempt,
        /// Place in the configured list of bridges.
        bridge: usize,
        /// As whom.
        identity: LinkIdentity,
        /// The bridge's certificate must not have expired before this, milliseconds since 1970.
        floor_unix_ms: u64,
    },
    /// Close the connection or give up the attempt. Answered by `Disconnected`, or `LinkFailed`
    /// with [`crate::LinkFault::Asked`] when it was not yet made.
    Disconnect {
        /// The attempt.
        attempt: Attempt,
        /// Why.
        why: String,
    },
    /// Publish. Dropped when the connection has ended.
    Send {
        /// The connection.
        attempt: Attempt,
        /// Where.
        topic: Topic,
        /// What.
        frame: Vec<u8>,
        /// 1 where the transport's acknowledgement is to be reported, else 0.
        qos: Qos,
    },
    /// Acknowledge an incoming publish, on the wire after every [`Effect::Send`] before it. Dropped
    /// when its connection has ended.
    AckTransport {
        /// Which.
        delivery: Delivery,
    },

    /// End what steps of an earlier process on this state directory left running. The first effect of
    /// a process. Answered by `RemainsEnded`.
    EndRemains,
    /// Begin a step. Answered by `StepEnded`, with output and reports before it.
    Run(Box<Run>),
    /// Stop a step with its whole process group. `StepEnded` follows as ever.
    Kill {
        /// The command.
        command: CommandId,
        /// The step.
        step: u8,
        /// Why.
        why: KillReason,
    },
    /// Restart the machine: a step asked for it, its place is durable, and nothing else runs.
    /// Answered by `RebootFailed`, or by the end of this process.
    Reboot {
        /// The command.
        command: CommandId,
    },
    /// Gather; the tables come as `Reported`, then `Gathered`.
    Gather(Gathering),

    /// Make a fresh key unless one waits already, make it durable, and sign a renewal with both
    /// keys. Answered by `RenewalReady` or `RenewalFailed`.
    MakeRenewal {
        /// The renewal's nonce.
        nonce: Nonce,
    },
    /// Install a certificate for the fresh key: check that it is for that key, make it durable, use
    /// it from the next connection on. Answered by `Installed` or `RenewalFailed`.
    Install {
        /// DER.
        certificate: Vec<u8>,
    },

    /// A line for the agent's own log.
    Log {
        /// How grave.
        level: Level,
        /// What, on one line. Holds no parameter value and no output.
        message: String,
    },
    /// Everything is durable and told; the process may end when its store has done what it was asked.
    Stopped,
}

/// What the store does, in this order, each on its own or with others where that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOp {
    /// Make these writes durable, together with others where that helps, never before an earlier
    /// ticket. Answered by `Persisted`, or `PersistFailed` when a bound refuses it.
    Persist {
        /// To be named in the answer.
        ticket: Ticket,
        /// In order. Streams become durable before the ledger.
        writes: Vec<Write>,
    },
    /// The bridge has everything up to here: forget it. Not answered.
    Release {
        /// The stream.
        class: Class,
        /// Up to and including this sequence.
        up_to: u64,
    },
    /// Read durable records. At most one is open for each stream. Answered by `Records`.
    Read {
        /// The stream.
        class: Class,
        /// From this sequence on.
        from: u64,
        /// Up to and including this sequence, though more may be there by then.
        up_to: u64,
        /// At most so many entries.
        max_records: usize,
        /// At most so many bytes, but at least one entry.
        max_bytes: usize,
    },
    /// Read one bulky ledger value. Answered by `Loaded`.
    Load {
        /// The key; begins with [`BULK_PREFIX`].
        key: String,
    },
    /// Make acknowledgements durable too: the process ends. Not answered.
    Checkpoint,
}

/// One durable change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a ledger entry.
    Put {
        /// At most 64 bytes.
        key: String,
        /// At most 256 KiB.
        value: Vec<u8>,
    },
    /// Removes a ledger entry, or nothing.
    Remove {
        /// The key.
        key: String,
    },
    /// Appends a record to a stream.
    Append {
        /// The stream.
        class: Class,
        /// In stream *state*, the newest record of a key replaces its older ones. 0 elsewhere.
        key: u16,
        /// Stored form of the record.
        stored: Vec<u8>,
        /// The command whose reservation it may use.
        reserved: Option<CommandId>,
    },
    /// Reserves room in stream *result* for a command. Refused, the whole ticket is; it must come
    /// first. Does not survive the process.
    Reserve {
        /// The command.
        command: CommandId,
        /// Bytes of records, framing included.
        bytes: u64,
    },
    /// Gives back what is left of a command's reservation.
    Unreserve {
        /// The command.
        command: CommandId,
    },
}

/// As whom to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkIdentity {
    /// As the node, with its certificate; subscribe to both its `down` topics.
    Node {
        /// The will: retained never, QoS 0, on the node's presence topic.
        will: Vec<u8>,
    },
    /// Without a certificate, for an expired one; subscribe to the reply topic.
    Enrol {
        /// Nonce of the topics.
        nonce: Nonce,
    },
}

/// MQTT quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Sent once, not acknowledged.
    AtMostOnce,
    /// Acknowledged by the transport.
    AtLeastOnce,
}

/// One step to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The command.
    pub command: CommandId,
    /// The step, from 0.
    pub step: u8,
    /// Its name, safe as a file name.
    pub name: String,
    /// What to do.
    pub inputs: StepInputs,
    /// Bytes of standard output to hand over; the rest is read and counted.
    pub stdout_bytes_max: usize,
    /// Bytes of standard error to hand over.
    pub stderr_bytes_max: usize,
}

/// Why a step is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// Past its `executionTimeout`.
    TimedOut,
    /// Cancelled on request.
    Cancelled,
    /// The agent ends.
    Stopping,
}

/// What a schedule gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Gathering {
    /// The inventory types that need no parameters.
    Inventory,
    /// The patch scan under the default baseline.
    Patches,
}

/// How grave a log line is: `Warn` is worth waking someone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Details of no interest to most.
    Debug,
    /// What happened.
    Info,
    /// What someone should look at.
    Warn,
    /// What stops the agent from doing its work.
    Error,
}
