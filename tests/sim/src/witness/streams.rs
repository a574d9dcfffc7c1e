//! The streams of all nodes, record by record: what was told, what the bridge took, what is lost.
//! Never believes a count of either side: each is computed anew.

use crate::bridge::Heard;
use holdfast_protocol::up::{Class, GapReason, Record, Up};
use holdfast_protocol::{CommandId, NodeId, OutboxId};
use std::collections::BTreeMap;

type Stream = (NodeId, OutboxId, Class);
/// One life of a node's outbox: what each record means, and its frame.
type History = BTreeMap<u64, (Told, Vec<u8>)>;

/// What a told record means for the output of its command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Chunk {
        command: CommandId,
        step: u8,
        offset: u64,
        bytes: u64,
    },
    /// A command's result.
    End(CommandId),
    /// Records that a power cut took before anybody heard of them.
    Damaged,
    Other,
}

/// How far the bridge is in each stream, and which records it counts as lost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    positions: BTreeMap<Stream, u64>,
    /// First and last of records that were acknowledged and then forgotten by a restored bridge.
    lost: BTreeMap<Stream, Vec<(u64, u64)>>,
    gaps: u64,
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    told: BTreeMap<(NodeId, OutboxId), History>,
    account: Account,
}

impl Streams {
    /// A node tells a record: told again, it is the same. Only of stream *result* is a history kept.
    pub(crate) fn tells(&mut self, node: NodeId, class: Class, frame: &[u8]) -> Result<(), String> {
        if class != Class::Result {
            return Ok(());
        }
        let Ok(Up::Record {
            outbox,
            sequence,
            record,
        }) = Up::decode(frame)
        else {
            return Err(format!("{node} tells what cannot be read"));
        };
        let told = match *record {
            Record::Output(chunk) => Told::Chunk {
                command: chunk.command,
                step: chunk.step,
                offset: chunk.offset.into(),
                bytes: chunk.bytes.len() as u64,
            },
            Record::Gap(gap) if gap.reason == GapReason::Damaged => Told::Damaged,
            Record::Invocation(update) if update.state.is_terminal() => Told::End(update.command),
            Record::Gap(_)
            | Record::Invocation(_)
            | Record::Audit(_)
            | Record::Report(_)
            | Record::Log(_) => Told::Other,
        };
        let history = self.told.entry((node, outbox)).or_default();
        match history.insert(sequence, (told, frame.to_vec())) {
            Some((_, before)) if before != frame => Err(format!(
                "{node} tells record {sequence} again, and it is another"
            )),
            _ => Ok(()),
        }
    }

    /// A copy of what the bridge has, as its backup has it.
    pub(crate) fn account(&self) -> Account {
        self.account.clone()
    }

    /// The bridge has what its backup had.
    pub(crate) fn restore(&mut self, account: Account) {
        self.account = account;
    }

    /// The bridge takes records, or counts them as lost, which it may only where `may_lose`.
    pub(crate) fn hears(&mut self, heard: &Heard, may_lose: bool) -> Result<(), String> {
        let account = &mut self.account;
        match *heard {
            Heard::Greeted { .. } | Heard::Known { .. } => {}
            Heard::Opened {
                stream,
                before,
                last,
            } => {
                let from = account.positions.get(&stream).copied().unwrap_or(before);
                account.positions.insert(stream, last);
                if last > from {
                    account.gaps += last - from;
                    account
                        .lost
                        .entry(stream)
                        .or_default()
                        .push((from + 1, last));
                }
                if last > from && !may_lose {
                    let node = stream.0;
                    return Err(format!(
                        "{node}: records {} to {last} count as lost, and nothing was",
                        from + 1
                    ));
                }
            }
            Heard::Record {
                stream,
                gap_from,
                last,
            } => {
                let position = account.positions.entry(stream).or_default();
                if gap_from.unwrap_or(last) > *position + 1 || last <= *position {
                    let node = stream.0;
                    return Err(format!(
                        "{node}: the bridge takes record {last} after record {position}"
                    ));
                }
                if gap_from.is_some() {
                    account.gaps += last - *position;
                }
                *position = last;
            }
        }
        Ok(())
    }

    /// The count of lost records that the bridge must have.
    pub(crate) fn gaps(&self) -> u64 {
        self.account.gaps
    }

    /// What the bridge must have of each step's output on a node: all that was told and not lost.
    pub(crate) fn outputs(&self, node: NodeId) -> BTreeMap<(CommandId, u8), u64> {
        // Another life tells again what its disk has not forgotten: kept is each piece once.
        let mut pieces: BTreeMap<_, BTreeMap<u64, u64>> = BTreeMap::new();
        for ((_, outbox), history) in self.lives(node) {
            let stream = (node, *outbox, Class::Result);
            let lost = self
                .account
                .lost
                .get(&stream)
                .map_or(&[][..], Vec::as_slice);
            let position = self.account.positions.get(&stream).copied().unwrap_or(0);
            for (sequence, (told, _)) in history {
                let is_lost = lost.iter().any(|(a, b)| (a..=b).contains(&sequence));
                if let Told::Chunk {
                    command,
                    step,
                    offset,
                    bytes,
                } = told
                    && !is_lost
                    && *sequence <= position
                {
                    let step = pieces.entry((*command, *step)).or_default();
                    step.insert(*offset, *bytes);
                }
            }
        }
        let sums = pieces
            .into_iter()
            .map(|(step, pieces)| (step, pieces.values().sum()));
        sums.collect()
    }

    /// Each piece of output goes on where the one before it ended, but for what a power cut took.
    pub(crate) fn judge(&self, node: NodeId) -> Result<(), String> {
        for (_, history) in self.lives(node) {
            let mut ends: BTreeMap<(CommandId, u8), u64> = BTreeMap::new();
            let mut damaged = false;
            for (sequence, (told, _)) in history {
                match told {
                    Told::Chunk {
                        command,
                        step,
                        offset,
                        bytes,
                    } => {
                        // What was told before lies in another life of the outbox.
                        let end = ends.entry((*command, *step)).or_insert(*offset);
                        if offset != end && !damaged {
                            return Err(format!(
                                "{node}: record {sequence}, output of {command}, begins at {offset}, \
                                 not at {end}"
                            ));
                        }
                        *end = offset + bytes;
                    }
                    Told::Damaged => damaged = true,
                    Told::End(_) | Told::Other => {}
                }
            }
        }
        Ok(())
    }

    /// Whether a power cut may have taken output of a command whose result it left: both lay in writes
    /// that no sync had made durable.
    pub(crate) fn is_torn(&self, node: NodeId, command: CommandId) -> bool {
        self.lives(node).any(|(_, history)| {
            let mut told = history.values().map(|(told, _)| told);
            told.any(|told| *told == Told::Damaged) && told.any(|told| *told == Told::End(command))
        })
    }

    fn lives(&self, node: NodeId) -> impl Iterator<Item = (&(NodeId, OutboxId), &History)> {
        self.told.iter().filter(move |((of, _), _)| *of == node)
    }
}
