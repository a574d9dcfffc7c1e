//! What the bridge says to a node: hello's reply, commands, acknowledgements, cancel.
//! Never travels unsigned: see [`crate::seal`].

use crate::bounded::{Bytes, List, Text};
use crate::enrol::Reply;
use crate::frame::{self, FrameError, Kind};
use crate::id::{CommandId, Nonce};
use crate::limits::{
    DOCUMENT_BYTES_MAX, EVENT_BYTES_MAX, PARAMETER_VALUES_MAX, PARAMETERS_BYTES_MAX,
    PARAMETERS_MAX, REPORTS_MAX,
};
use crate::report::TypeName;
use crate::up::Token;
use serde::{Deserialize, Serialize};

/// The bridge accepts the node's hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// The hello's nonce: this reply, and its time, answer that hello and no earlier one.
    pub nonce: Nonce,
    /// The bridge's clock, milliseconds since 1970.
    pub unix_ms: u64,
    /// Layout revision to write from here on.
    pub revision: u16,
    /// Token for the next hello; persist it before anything is sent.
    pub token: Token,
    /// Highest sequence applied of each stream of this outbox, in the order of `Class::ALL`.
    pub acks: [u64; 4],
    /// Reports of which the bridge holds no base that fits: send them whole.
    pub resync: List<TypeName, REPORTS_MAX>,
}

/// The bridge will not talk to this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloRefusal {
    /// The hello's nonce.
    pub nonce: Nonce,
    /// Why, for a program.
    pub reason: HelloRefusalReason,
    /// Why and what to do, for a person.
    pub detail: Text<EVENT_BYTES_MAX>,
}

/// Why a hello was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HelloRefusalReason {
    /// The chained token is neither the current nor the previous one: this node or its clone.
    Quarantined,
    /// The node was deregistered.
    Deregistered,
    /// No layout revision is common; the field holds oldest and newest of the bridge.
    Revision(u16, u16),
    /// The bridge admits nodes at a bounded rate; try again after this many milliseconds.
    Later(u32),
}

/// One parameter and its values, as `SendCommand` has them.
pub type Parameter = (
    Text<256>,
    List<Text<PARAMETERS_BYTES_MAX>, PARAMETER_VALUES_MAX>,
);

/// Run a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its id; a node runs each id at most once.
    pub id: CommandId,
    /// Name of the document.
    pub document_name: Text<128>,
    /// Version of the document.
    pub document_version: Text<32>,
    /// The document, JSON or YAML as it was created.
    pub content: Text<DOCUMENT_BYTES_MAX>,
    /// SHA-256 of `content`.
    pub content_sha256: [u8; 32],
    /// Parameters as they were sent, checked against the document by both sides.
    pub parameters: List<Parameter, PARAMETERS_MAX>,
    /// Milliseconds since 1970, by the bridge's clock, from which the node must not begin it.
    pub expires_unix_ms: u64,
    /// An operator's own consent, which a node can be told to demand.
    pub operator: Option<OperatorSignature>,
}

/// Ed25519 signature of a person or system that the node trusts, apart from the bridge.
///
/// It covers the command id, SHA-256 of document and of parameters, SHA-256 of the targets as
/// they were asked for, and the expiry, each length-prefixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSignature {
    /// First eight bytes of the SHA-256 of the public key.
    pub key: [u8; 8],
    /// SHA-256 of the targets.
    pub targets_sha256: [u8; 32],
    /// The signature.
    pub signature: Bytes<64>,
}

/// Stop a command, begun or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The command.
    pub command: CommandId,
}

/// Everything up to these sequences is applied and committed; the node may forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// By class, in the order of `Class::ALL`; the outbox is in the seal.
    pub acks: [u64; 4],
}

/// Send these reports whole, with the next gathering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resync {
    /// Their types.
    pub reports: List<TypeName, REPORTS_MAX>,
}

/// Nothing but a new signing key, whose certificate the seal carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Serial of the new key, as in the seal.
    pub serial: u32,
}

/// Lowers the node's floor of time; the only message that the root itself signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorReset {
    /// Nonce of the last hello: no earlier reset can be replayed.
    pub nonce: Nonce,
    /// The new floor, milliseconds since 1970.
    pub unix_ms: u64,
}

impl FloorReset {
    /// Name of the audit record by which a node confirms a reset.
    pub const CONFIRMATION: &str = "floor-reset";

    /// Detail of that record.
    #[must_use]
    pub fn confirmation(&self) -> String {
        format!("{}{FLOOR_UNIT}", self.unix_ms)
    }

    /// The floor that a record of this detail confirms; `None` when it confirms none.
    #[must_use]
    pub fn confirmed(detail: &str) -> Option<u64> {
        detail.strip_suffix(FLOOR_UNIT)?.parse().ok()
    }
}

/// What follows the floor in a confirmation.
const FLOOR_UNIT: &str = " ms since 1970";

/// Everything a bridge says to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// Accepted.
    HelloReply(HelloReply),
    /// Not accepted.
    HelloRefusal(HelloRefusal),
    /// Run.
    Command(Box<Command>),
    /// Stop.
    Cancel(Cancel),
    /// Applied.
    Ack(Ack),
    /// Whole reports wanted.
    Resync(Resync),
    /// New signing key.
    Rotation(Rotation),
    /// New certificate.
    Renewed(Reply),
    /// Lower floor.
    FloorReset(FloorReset),
}

impl Down {
    /// The kind on the wire.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::HelloReply(_) => Kind::HelloReply,
            Self::HelloRefusal(_) => Kind::HelloRefusal,
            Self::Command(_) => Kind::Command,
            Self::Cancel(_) => Kind::Cancel,
            Self::Ack(_) => Kind::Ack,
            Self::Resync(_) => Kind::Resync,
            Self::Rotation(_) => Kind::Rotation,
            Self::Renewed(_) => Kind::Renewed,
            Self::FloorReset(_) => Kind::FloorReset,
        }
    }

    pub(crate) fn encode_body(&self) -> Result<Vec<u8>, FrameError> {
        let kind = self.kind();
        match self {
            Self::HelloReply(body) => frame::encode(kind, body),
            Self::HelloRefusal(body) => frame::encode(kind, body),
            Self::Command(body) => frame::encode(kind, body),
            Self::Cancel(body) => frame::encode(kind, body),
            Self::Ack(body) => frame::encode(kind, body),
            Self::Resync(body) => frame::encode(kind, body),
            Self::Rotation(body) => frame::encode(kind, body),
            Self::Renewed(body) => frame::encode(kind, body),
            Self::FloorReset(body) => frame::encode(kind, body),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a kind that is not decoded here does not belong here"
    )]
    pub(crate) fn decode_body(kind: Kind, body: &[u8]) -> Result<Self, FrameError> {
        Ok(match kind {
            Kind::HelloReply => Self::HelloReply(frame::decode(kind, body)?),
            Kind::HelloRefusal => Self::HelloRefusal(frame::decode(kind, body)?),
            Kind::Command => Self::Command(frame::decode(kind, body)?),
            Kind::Cancel => Self::Cancel(frame::decode(kind, body)?),
            Kind::Ack => Self::Ack(frame::decode(kind, body)?),
            Kind::Resync => Self::Resync(frame::decode(kind, body)?),
            Kind::Rotation => Self::Rotation(frame::decode(kind, body)?),
            Kind::Renewed => Self::Renewed(frame::decode(kind, body)?),
            Kind::FloorReset => Self::FloorReset(frame::decode(kind, body)?),
            _ => return Err(FrameError::Misplaced { kind }),
        })
    }
}
