//! What the core keeps in the ledger: its keys, and one layout byte before each postcard value.
//! Never decides when something is written.

use crate::core::RestoreError;
use crate::time::Clock;
use holdfast_protocol::up::{InvocationState, StepResult, Token};
use holdfast_protocol::{CommandId, OutboxId, down};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Layout of every value here; a changed one gets the next number. The road of a change: the reader
/// of the old layout stays beside the new one and is chosen by this byte, values are written in the
/// new one as they change, and a build drops the old reader only two releases after. A layout above
/// this is refused by name, and nothing of it is deleted: an older agent must not guess.
const LAYOUT: u8 = 1;

/// Key of [`NodeRecord`].
pub(crate) const NODE_KEY: &str = "node";
/// Keys of [`CommandRecord`]s.
pub(crate) const COMMAND_PREFIX: &str = "command/";
/// Keys of report records.
pub(crate) const REPORT_PREFIX: &str = "report/";

/// What the node itself must remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// Life of the outbox.
    pub(crate) outbox: OutboxId,
    /// Processes begun on this state directory; the upper half of attempt numbers.
    pub(crate) starts: u32,
    /// Highest counter of a downward frame.
    pub(crate) counter: u64,
    /// Newest signing key.
    pub(crate) signing_serial: u32,
    /// Token for the next hello.
    pub(crate) token: Option<Token>,
    /// Time.
    pub(crate) clock: Clock,
}

/// A command, from the inbox to its tombstone; one entry, so that each change is one write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CommandRecord {
    /// Not begun.
    Pending {
        /// Place in the order of arrival.
        order: u64,
        /// The command.
        command: down::Command,
    },
    /// Begun: after a crash nobody knows how far it came.
    InProgress {
        /// Place in the order of arrival.
        order: u64,
        /// The command.
        command: down::Command,
        /// Head of stream *result* when it began: its result, if any, lies above.
        after: u64,
    },
    /// What [`Self::Rebooting`] was before it said where the output stopped. Read, never written:
    /// the step that asked for the reboot may have replaced the agent by this one.
    RebootingUnwritten {
        /// Place in the order of arrival.
        order: u64,
        /// The command.
        command: down::Command,
        /// Where it goes on.
        place: Place,
    },
    /// Its result is in the stream, or beyond.
    Done {
        /// The result.
        state: InvocationState,
        /// Until when it is remembered, milliseconds since 1970.
        expires_unix_ms: u64,
    },
    /// Its step asked for a reboot; goes on with that step in another boot.
    Rebooting {
        /// Place in the order of arrival.
        order: u64,
        /// The command.
        command: down::Command,
        /// Where it goes on.
        place: Place,
        /// What the step wrote before: standard output, standard error.
        written: [Written; 2],
    },
}

/// What one step wrote to one of its streams, over all boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Bytes kept: the next piece goes on there.
    pub(crate) kept: u32,
    /// Bytes written, kept or not.
    pub(crate) total: u64,
}

/// Where a command goes on after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The boot in which it asked.
    pub(crate) boot: u32,
    /// The step that asked.
    pub(crate) step: usize,
    /// Reboots asked for so far.
    pub(crate) reboots: u32,
    /// Results of the steps before.
    pub(crate) results: Vec<StepResult>,
    /// Whether one of those counts as failed, and as timed out.
    pub(crate) failed: (bool, bool),
    /// Bytes of output kept so far, and bytes of records made so far.
    pub(crate) kept: (u64, u64),
    /// What the step that asked wrote before; has a place of its own in the record.
    #[serde(skip)]
    pub(crate) written: [Written; 2],
}

pub(crate) fn command_key(command: &CommandId) -> String {
    format!("{COMMAND_PREFIX}{command}")
}

/// A command as the ledger has it, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerCommand {
    /// The command.
    pub command: CommandId,
    /// Its document; `None` once it has ended.
    pub document: Option<String>,
    /// `Pending`, `InProgress`, `Rebooting`, how it ended, or why it cannot be read.
    pub state: String,
    /// Until when it may begin, or is remembered: milliseconds since 1970.
    pub expires_unix_ms: Option<u64>,
}

/// Reads an entry of the ledger; `None` where it is not a command's.
#[must_use]
pub fn ledger_command(key: &str, value: &[u8]) -> Option<LedgerCommand> {
    let command = key.strip_prefix(COMMAND_PREFIX)?.parse().ok()?;
    let (held, state) = match decode(key, value) {
        Ok(CommandRecord::Pending { command, .. }) => (Ok(command), "Pending".to_owned()),
        Ok(CommandRecord::InProgress { command, .. }) => (Ok(command), "InProgress".to_owned()),
        Ok(
            CommandRecord::RebootingUnwritten { command, .. }
            | CommandRecord::Rebooting { command, .. },
        ) => (Ok(command), "Rebooting".to_owned()),
        Ok(CommandRecord::Done {
            state,
            expires_unix_ms,
        }) => (Err(Some(expires_unix_ms)), format!("{state:?}")),
        Err(error) => (Err(None), error.to_string()),
    };
    let (document, expires_unix_ms) = match held {
        Ok(held) => (
            Some(held.document_name.to_string()),
            Some(held.expires_unix_ms),
        ),
        Err(expires) => (None, expires),
    };
    Some(LedgerCommand {
        command,
        document,
        state,
        expires_unix_ms,
    })
}

/// Encodes a value. Cannot fail: every type here has a known length.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![LAYOUT]).unwrap_or_default()
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, RestoreError> {
    let malformed = |source| RestoreError::Malformed {
        key: key.into(),
        source,
    };
    match value.split_first() {
        Some((&LAYOUT, body)) => postcard::from_bytes(body).map_err(malformed),
        Some((&found, _)) => Err(RestoreError::Layout {
            key: key.into(),
            found,
            newest: LAYOUT,
        }),
        None => Err(malformed(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

/// Golden bytes: what layout 1 looks like in a ledger. A change here is a new layout, never an edit of
/// these bytes: an agent that replaces an older one finds them.
#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::bounded::{Bytes, List, Text};

    fn command() -> down::Command {
        down::Command {
            id: CommandId::from_random([7; 16]),
            document_name: Text::cut("AWS-RunShellScript"),
            document_version: Text::cut("1"),
            content: Text::cut("{}"),
            content_sha256: [3; 32],
            parameters: List::default(),
            expires_unix_ms: 1_800_000_000_000,
            operator: None,
        }
    }

    fn commands() -> Vec<CommandRecord> {
        let place = Place {
            boot: 2,
            step: 1,
            reboots: 1,
            results: Vec::new(),
            failed: (true, false),
            kept: (10, 20),
            written: [Written::default(); 2],
        };
        let written = [
            Written {
                kept: 5,
                total: 600,
            },
            Written::default(),
        ];
        let (order, command) = (9, command());
        vec![
            CommandRecord::Pending {
                order,
                command: command.clone(),
            },
            CommandRecord::InProgress {
                order,
                command: command.clone(),
                after: 300,
            },
            CommandRecord::RebootingUnwritten {
                order,
                command: command.clone(),
                place: place.clone(),
            },
            CommandRecord::Done {
                state: InvocationState::Success,
                expires_unix_ms: 1_800_000_000_000,
            },
            CommandRecord::Rebooting {
                order,
                command,
                place,
                written,
            },
        ]
    }

    fn node() -> NodeRecord {
        NodeRecord {
            outbox: OutboxId(7),
            starts: 4,
            counter: 500,
            signing_serial: 1,
            token: Some(Bytes::new([8; 4]).unwrap()),
            clock: Clock::new([9; 16], 1_700_000_000_000),
        }
    }

    #[test]
    fn layout_one_is_written_and_read_as_it_always_was() {
        let mut values: Vec<Vec<u8>> = commands().iter().map(encode).collect();
        values.push(encode(&node()));
        let found: String = values
            .iter()
            .map(|value| {
                let digits = value.iter().map(|byte| format!("{byte:02x}"));
                digits.collect::<String>() + "\n"
            })
            .collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden-ledger-1.txt");
        if std::env::var_os("HOLDFAST_BLESS").is_some() {
            std::fs::write(path, &found).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), found);
        for (value, record) in values.iter().zip(commands()) {
            assert_eq!(decode::<CommandRecord>("command/x", value).unwrap(), record);
        }
        let last = values.last().unwrap();
        assert_eq!(decode::<NodeRecord>(NODE_KEY, last).unwrap(), node());
        let newer = [&[LAYOUT + 1], &last[1..]].concat();
        let refused = decode::<NodeRecord>(NODE_KEY, &newer).unwrap_err();
        assert!(matches!(
            refused,
            RestoreError::Layout {
                found: 2,
                newest: 1,
                ..
            }
        ));
    }
}
