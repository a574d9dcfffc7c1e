//! What a node says: hello, the records of its four streams, and answers that nobody keeps.
//! Never decides anything; a decoded message keeps every bound of [`crate::limits`].

use crate::bounded::{Bytes, List, Text};
use crate::enrol::{Renewal, Request};
use crate::frame::{self, FrameError, Kind, Raw};
use crate::id::{CommandId, Nonce, OutboxId};
use crate::limits::{EVENT_BYTES_MAX, OUTPUT_CHUNK_BYTES_MAX, REPORTS_MAX, REVISION, STEPS_MAX};
use crate::report::{PackedReport, Report, TableHash, TypeName};
use serde::{Deserialize, Serialize};

/// The streams of a node's outbox, each with its own sequence and acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Invocations and their output: never dropped.
    Result,
    /// What was done to the node itself: never dropped.
    Audit,
    /// Inventory and patch state: newest wins per report type.
    State,
    /// The agent's own notable lines: oldest dropped first.
    Log,
}

impl Class {
    /// All of them; a class's place here is its index in arrays by class.
    pub const ALL: [Self; 4] = [Self::Result, Self::Audit, Self::State, Self::Log];

    /// Place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Name in topics, status and figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Audit => "audit",
            Self::State => "state",
            Self::Log => "log",
        }
    }

    /// The class of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// When something happened, as far as the node can tell. The order of records is their sequence;
/// this only dates them, and the bridge stamps what it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// How often this node has booted since it was registered.
    pub boot: u32,
    /// Milliseconds since that boot, suspend included.
    pub uptime_ms: u64,
    /// Milliseconds since 1970, when signed time is known in this boot.
    pub unix_ms: Option<u64>,
}

/// One stream as the node holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamHead {
    /// Sequence of the newest record; 0 before the first.
    pub head: u64,
    /// Highest acknowledgement seen.
    pub acked: u64,
}

/// The chained token that tells a node from its clone. Made and checked by the bridge alone.
pub type Token = Bytes<64>;

/// First words of a node on each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's version, such as `0.1.0`.
    pub agent_version: heapless::String<32>,
    /// Oldest and newest layout revision that the agent reads.
    pub revisions: (u16, u16),
    /// Boot and uptime.
    pub stamp: Stamp,
    /// Life of the outbox that the heads belong to.
    pub outbox: OutboxId,
    /// Its streams, in the order of [`Class::ALL`].
    pub streams: [StreamHead; 4],
    /// Highest counter of a downward frame seen.
    pub counter: u64,
    /// Serial of the newest signing key accepted.
    pub signing_serial: u32,
    /// Token of the last hello's reply; `None` before the first.
    pub token: Option<Token>,
    /// Fresh for this hello; the reply repeats it, so its time is fresh too.
    pub nonce: Nonce,
    /// Bases held of each report, so that the bridge can ask for what it lacks.
    pub bases: List<(TypeName, TableHash), REPORTS_MAX>,
    /// What the node is.
    pub platform: Platform,
}

/// What a node is, for `DescribeInstanceInformation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Platform {
    /// Name of the operating system, such as `Debian GNU/Linux`.
    pub name: Text<128>,
    /// Its version, such as `12`.
    pub version: Text<64>,
    /// Host name.
    pub computer_name: Text<255>,
    /// Address of the interface that reaches the bridge.
    pub ip_address: Text<46>,
    /// Machine architecture, such as `x86_64`.
    pub architecture: Text<32>,
}

/// How far an invocation is on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InvocationState {
    /// Durable, not begun.
    Pending,
    /// A step was begun, or is about to be.
    InProgress,
    /// Every step that had to succeed did.
    Success,
    /// A step failed.
    Failed,
    /// A step ran past its `executionTimeout`.
    TimedOut,
    /// Cancelled on request.
    Cancelled,
    /// The agent or the machine died in a step; nobody can know how far it came.
    Interrupted,
    /// Not begun, for the reason given.
    Refused(RefusalReason),
}

impl InvocationState {
    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

/// Why a node did not begin an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusalReason {
    /// Its delivery time had passed.
    Expired,
    /// The document cannot be read, is of an unknown schema or not what its hash says.
    InvalidDocument,
    /// The parameters do not fit the document.
    InvalidParameters,
    /// The document is for other platforms.
    InvalidPlatform,
    /// The node demands an operator's signature, which is missing or wrong.
    OperatorSignature,
}

/// Status of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StepState {
    /// Ended well.
    Success,
    /// Ended with another exit code than success, or could not be started.
    Failed,
    /// Killed at its `executionTimeout`.
    TimedOut,
    /// Killed on request.
    Cancelled,
    /// Not run: a precondition was not met or an earlier step ended the document.
    Skipped,
    /// Was running when the agent or the machine died.
    Interrupted,
}

/// Result of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// Name in the document.
    pub name: Text<128>,
    /// Action, such as `aws:runShellScript`.
    pub action: Text<64>,
    /// How it ended.
    pub state: StepState,
    /// Exit code; -1 where the process ended otherwise.
    pub exit_code: i32,
    /// When it began; `None` if it never did.
    pub started: Option<Stamp>,
    /// When it ended.
    pub ended: Option<Stamp>,
    /// Bytes of standard output written by the step, kept or not.
    pub stdout_bytes: u64,
    /// Bytes of standard error written by the step, kept or not.
    pub stderr_bytes: u64,
    /// What the agent has to say about it, such as the reason of a failed start.
    pub detail: Text<EVENT_BYTES_MAX>,
}

/// A step's output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a step's output; all pieces come before the invocation's terminal update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChunk {
    /// The command.
    pub command: CommandId,
    /// Step, from 0.
    pub step: u8,
    /// Which of its streams.
    pub stream: OutputStream,
    /// Where the piece begins, in bytes.
    pub offset: u32,
    /// The piece, as the process wrote it.
    pub bytes: Bytes<OUTPUT_CHUNK_BYTES_MAX>,
}

/// An invocation went a step further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvocationUpdate {
    /// The command.
    pub command: CommandId,
    /// State reached.
    pub state: InvocationState,
    /// When.
    pub stamp: Stamp,
    /// Results of the steps; empty until the state is terminal.
    pub steps: List<StepResult, STEPS_MAX>,
    /// Why, where the state alone does not say it.
    pub detail: Text<EVENT_BYTES_MAX>,
}

/// A line of the streams *audit* and *log*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub stamp: Stamp,
    /// What, as a stable name such as `certificate-renewed`.
    pub name: heapless::String<64>,
    /// More about it.
    pub detail: Text<EVENT_BYTES_MAX>,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GapReason {
    /// Dropped to keep the stream within its bytes.
    Evicted,
    /// A newer report of the same type took their place.
    Superseded,
    /// Lost to a damaged medium.
    Damaged,
}

/// Records of a stream that will not come. Its own sequence is that of the last one missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Sequence of the first record missing.
    pub first: u64,
    /// Why.
    pub reason: GapReason,
}

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Stream *result*.
    Invocation(InvocationUpdate),
    /// Stream *result*.
    Output(OutputChunk),
    /// Stream *audit*.
    Audit(Event),
    /// Stream *state*.
    Report(Report),
    /// Stream *log*.
    Log(Event),
    /// Any stream.
    Gap(Gap),
}

impl Record {
    fn kind(&self) -> Kind {
        match self {
            Self::Invocation(_) => Kind::Invocation,
            Self::Output(_) => Kind::Output,
            Self::Audit(_) => Kind::Audit,
            Self::Report(_) => Kind::Report,
            Self::Log(_) => Kind::Log,
            Self::Gap(_) => Kind::Gap,
        }
    }

    /// The stream it belongs to; `None` for a gap, which belongs to any.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Invocation(_) | Self::Output(_) => Some(Class::Result),
            Self::Audit(_) => Some(Class::Audit),
            Self::Report(_) => Some(Class::State),
            Self::Log(_) => Some(Class::Log),
            Self::Gap(_) => None,
        }
    }

    /// The form in which a journal keeps it: a frame of sequence 0 whose body is not yet deflated.
    /// [`stored_to_frame`] turns it into what is sent.
    ///
    /// # Errors
    /// [`FrameError::Encode`] or [`FrameError::TooLarge`] when a bound is not kept.
    pub fn to_stored(&self) -> Result<Vec<u8>, FrameError> {
        self.to_stored_as(self.kind().revision())
    }

    /// In the layout of this revision, one that this build reads.
    fn to_stored_as(&self, revision: u16) -> Result<Vec<u8>, FrameError> {
        let kind = self.kind();
        let body = match self {
            Self::Invocation(update) => frame::encode(kind, update),
            Self::Output(chunk) => frame::encode(kind, chunk),
            Self::Audit(event) | Self::Log(event) => frame::encode(kind, event),
            Self::Report(report) if revision == 1 => frame::encode(kind, report),
            Self::Report(report) => PackedReport::try_from(report)
                .map_err(|why| FrameError::Encode {
                    kind,
                    why: why.to_string(),
                })
                .and_then(|packed| frame::encode(kind, &packed)),
            Self::Gap(gap) => frame::encode(kind, gap),
        }?;
        let (flags, body) = frame::pack(&body);
        frame::write(flags, (kind, revision), 0, &[&body])
    }

    /// Reads what [`Self::to_stored`] wrote.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn from_stored(stored: &[u8]) -> Result<Self, FrameError> {
        let raw = Raw::read(stored)?;
        Self::decode(raw.kind, raw.revision, &raw.inflated()?)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a kind that is not decoded here does not belong here"
    )]
    fn decode(kind: Kind, revision: u16, body: &[u8]) -> Result<Self, FrameError> {
        Ok(match kind {
            Kind::Invocation => Self::Invocation(frame::decode(kind, body)?),
            Kind::Output => Self::Output(frame::decode(kind, body)?),
            Kind::Audit => Self::Audit(frame::decode(kind, body)?),
            Kind::Report if revision == 1 => Self::Report(frame::decode(kind, body)?),
            Kind::Report => {
                let packed: PackedReport = frame::decode(kind, body)?;
                let report = Report::try_from(packed).map_err(|why| FrameError::Malformed {
                    kind,
                    why: why.to_string(),
                });
                Self::Report(report?)
            }
            Kind::Log => Self::Log(frame::decode(kind, body)?),
            Kind::Gap => Self::Gap(frame::decode(kind, body)?),
            other => return Err(FrameError::Misplaced { kind: other }),
        })
    }
}

/// Turns a stored record into the frame that is sent to who reads up to this revision. What such a one
/// can read is not decoded.
///
/// # Errors
/// [`FrameError`] when `stored` is no stored record.
pub fn stored_to_frame(
    stored: &[u8],
    outbox: OutboxId,
    sequence: u64,
    revision: u16,
) -> Result<Vec<u8>, FrameError> {
    let older;
    let mut raw = Raw::read(stored)?;
    if raw.revision > revision {
        older = Record::from_stored(stored)?.to_stored_as(revision)?;
        raw = Raw::read(&older)?;
    }
    frame::write(
        raw.flags,
        (raw.kind, raw.revision),
        sequence,
        &[&outbox.0.to_le_bytes(), raw.body],
    )
}

/// Said once in reply to a downward frame, kept nowhere: the bridge asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// No room for the worst result of one more command.
    Busy {
        /// The command that was not admitted.
        command: CommandId,
        /// The bound that is reached.
        bound: Bound,
    },
    /// The counter was seen before; sign the frame again above this one.
    Stale {
        /// The command that the frame brings or cancels.
        command: Option<CommandId>,
        /// Highest counter seen.
        counter: u64,
    },
    /// The command is known and this far; its records went or will go through the stream.
    Known {
        /// The command.
        command: CommandId,
        /// Its state on the node.
        state: InvocationState,
    },
    /// No such command here: a cancel came before it, or its tombstone has passed.
    Unknown {
        /// The command.
        command: CommandId,
    },
}

/// A bound of the agent that a command ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// Bytes of the result stream, with the cap.
    ResultBytes(u64),
    /// Bytes of the inbox, with the cap.
    InboxBytes(u64),
    /// Commands held at once, with the cap.
    Commands(u32),
    /// The medium takes no more bytes.
    Disk,
}

/// Birth and will of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the connection lives.
    pub online: bool,
    /// Which connection of the node this is; one that is lower than the newest says nothing.
    pub connection: u64,
}

/// Everything a node says under its own topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// First words.
    Hello(Box<Hello>),
    /// A record of a stream.
    Record {
        /// Life of the outbox that the sequence belongs to.
        outbox: OutboxId,
        /// Sequence in the stream; of a gap, that of the last record missing.
        sequence: u64,
        /// The record.
        record: Box<Record>,
    },
    /// An answer.
    Answer(Answer),
    /// Birth or will.
    Presence(Presence),
    /// A request for a new certificate.
    Renewal(Renewal),
    /// A request to enrol.
    Enrol(Box<Request>),
}

impl Up {
    /// Reads a frame from a node.
    ///
    /// # Errors
    /// [`FrameError`], by name; nothing larger than the bounds was allocated.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a kind that is not decoded here does not belong here"
    )]
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let raw = Raw::read(bytes)?;
        let kind = raw.kind;
        if raw.flags & (frame::SIGNED | frame::CERTIFIED) != 0 {
            return Err(FrameError::Flags { found: raw.flags });
        }
        match kind {
            Kind::Hello => Ok(Self::Hello(frame::decode(kind, &raw.inflated()?)?)),
            Kind::Answer => Ok(Self::Answer(frame::decode(kind, &raw.inflated()?)?)),
            Kind::Presence => Ok(Self::Presence(frame::decode(kind, &raw.inflated()?)?)),
            Kind::Renewal => Ok(Self::Renewal(frame::decode(kind, &raw.inflated()?)?)),
            Kind::EnrolRequest => Ok(Self::Enrol(frame::decode(kind, &raw.inflated()?)?)),
            Kind::Invocation
            | Kind::Output
            | Kind::Audit
            | Kind::Report
            | Kind::Log
            | Kind::Gap => {
                let (outbox, body) = raw
                    .body
                    .split_first_chunk::<8>()
                    .ok_or(FrameError::Truncated { part: "outbox id" })?;
                let body = frame::inflate(kind, raw.flags, body)?;
                let record = Box::new(Record::decode(kind, raw.revision, &body)?);
                Ok(Self::Record {
                    outbox: OutboxId(u64::from_le_bytes(*outbox)),
                    sequence: raw.sequence,
                    record,
                })
            }
            _ => Err(FrameError::Misplaced { kind }),
        }
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// [`FrameError::Encode`] or [`FrameError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let (kind, body) = match self {
            Self::Hello(hello) => (Kind::Hello, frame::encode(Kind::Hello, hello)?),
            Self::Answer(answer) => (Kind::Answer, frame::encode(Kind::Answer, answer)?),
            Self::Presence(presence) => (Kind::Presence, frame::encode(Kind::Presence, presence)?),
            Self::Renewal(renewal) => (Kind::Renewal, frame::encode(Kind::Renewal, renewal)?),
            Self::Enrol(request) => (
                Kind::EnrolRequest,
                frame::encode(Kind::EnrolRequest, request)?,
            ),
            Self::Record {
                outbox,
                sequence,
                record,
            } => {
                return stored_to_frame(&record.to_stored()?, *outbox, *sequence, REVISION);
            }
        };
        let (flags, body) = frame::pack(&body);
        frame::write(flags, (kind, kind.revision()), 0, &[&body])
    }
}
