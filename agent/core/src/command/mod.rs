//! The life of a command on the node: inbox, admission, steps, result, tombstone.
//! Never begins one whose entry is not durable, never tells what is not, never begins one twice.

mod admit;
mod execution;
mod recover;
mod run;
mod tombstone;

use crate::context::{Context, Purpose};
use crate::core::RETRY_MS;
use crate::effect::{Delivery, Write};
use crate::input::{Monotonic, StreamFigures};
use crate::status::CommandStatus;
use crate::store::{self, CommandRecord, Place, command_key};
use execution::Execution;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::limits::INVOCATION_OUTPUT_BYTES_MAX;
use holdfast_protocol::up::{Class, InvocationState, InvocationUpdate, Record, StepResult};
use holdfast_protocol::{CommandId, down};
use recover::Recovery;
pub(crate) use recover::Times;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tombstone::Tombstone;

pub(crate) use admit::Arrival;

/// Bytes of records that one command's result can take at most, framing included: output, the
/// records around it, and [`TERMINAL_BYTES_MAX`].
pub(crate) const RESULT_BYTES_MAX: u64 = INVOCATION_OUTPUT_BYTES_MAX as u64 + (96 << 10);
/// Bytes kept free for the terminal update: its steps and their details at their longest.
const TERMINAL_BYTES_MAX: u64 = 72 << 10;
/// Framing of one record in the journal, generously.
const RECORD_FRAME_BYTES: u64 = 64;
/// Cancels remembered for commands that have not come.
const CANCELS_MAX: usize = 64;

/// How far one command is.
#[derive(Debug)]
enum Phase {
    /// Its entry is being written.
    Arriving { delivery: Delivery },
    /// It waits for its turn, after a reboot with the place where it goes on.
    Pending {
        resume: Option<Box<Place>>,
        not_before: Monotonic,
    },
    /// That it begins is being written.
    Beginning(Box<Execution>),
    /// A step runs.
    Running(Box<Execution>),
    /// Its place is being written, or is; the machine reboots when nothing else runs.
    Rebooting { place: Box<Place>, durable: bool },
    /// It ran when the last process ended; the stream is searched for its result.
    Recovering {
        after: u64,
        /// Its entry or its result is damaged on disk: how it ends unless the stream says otherwise.
        damaged: Option<InvocationState>,
    },
    /// Its result is being written.
    Finishing {
        ending: Ending,
        retry_at: Option<Monotonic>,
    },
}

impl Phase {
    /// From beginning to running; any other stays what it is.
    fn run(&mut self) {
        let phase = std::mem::replace(
            self,
            Self::Recovering {
                after: 0,
                damaged: None,
            },
        );
        *self = match phase {
            Self::Beginning(execution) => Self::Running(execution),
            other @ (Self::Arriving { .. }
            | Self::Pending { .. }
            | Self::Running(_)
            | Self::Rebooting { .. }
            | Self::Recovering { .. }
            | Self::Finishing { .. }) => other,
        };
    }
}

/// A result on its way to the journal.
#[derive(Debug, Clone)]
struct Ending {
    state: InvocationState,
    /// The record; `None` when it is in the stream already.
    stored: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Held {
    order: u64,
    bytes: u64,
    command: Box<down::Command>,
    phase: Phase,
    cancelled: bool,
}

impl Held {
    /// The publish that is acknowledged once what came of it is durable.
    fn unacknowledged(&mut self) -> Option<&mut Delivery> {
        match &mut self.phase {
            Phase::Arriving { delivery } => Some(delivery),
            Phase::Pending { .. }
            | Phase::Beginning(_)
            | Phase::Running(_)
            | Phase::Rebooting { .. }
            | Phase::Recovering { .. }
            | Phase::Finishing { .. } => None,
        }
    }
}

/// All commands of the node.
#[derive(Debug)]
pub(crate) struct Commands {
    held: BTreeMap<CommandId, Held>,
    tombstones: BTreeMap<CommandId, Tombstone>,
    /// Those of them to tell again once it is clear that the bridge had had their results.
    asked: BTreeSet<CommandId>,
    /// Commands whose cancel came before them, oldest first.
    cancelled: VecDeque<CommandId>,
    next_order: u64,
    /// Stream *result*.
    results: StreamFigures,
    recovery: Option<Recovery>,
    stopping: bool,
    reboot_asked: bool,
}

impl Commands {
    /// State of a command as it may be told, where it is known.
    fn state(&self, id: &CommandId) -> Option<InvocationState> {
        let held = self.held.get(id).map(|held| match held.phase {
            Phase::Arriving { .. } | Phase::Pending { resume: None, .. } | Phase::Beginning(_) => {
                InvocationState::Pending
            }
            Phase::Pending { .. }
            | Phase::Running(_)
            | Phase::Rebooting { .. }
            | Phase::Recovering { .. }
            | Phase::Finishing { .. } => InvocationState::InProgress,
        });
        held.or_else(|| self.tombstones.get(id).map(|tombstone| tombstone.state))
    }

    fn inbox_bytes(&self) -> u64 {
        self.held.values().map(|held| held.bytes).sum()
    }

    fn running(&self) -> usize {
        let runs = |held: &&Held| matches!(held.phase, Phase::Beginning(_) | Phase::Running(_));
        self.held.values().filter(runs).count()
    }

    /// Whether stream *result* is being searched for results of the last process.
    pub(crate) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// Whether every result is durable, once the agent stops.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.held.values().any(|held| {
            matches!(
                held.phase,
                Phase::Beginning(_) | Phase::Running(_) | Phase::Finishing { .. }
            )
        })
    }

    /// Does what is due: expiry, timeouts, retries, the next to begin.
    pub(crate) fn settle(&mut self, ctx: &mut Context, now: Monotonic) {
        self.retry_recovery(ctx, now);
        self.time_out(ctx, now);
        self.retry(ctx, now);
        // What the last process left may have its result in the stream already: nothing of it
        // begins or ends before the search has been through.
        if !self.is_recovering() {
            self.expire(ctx, now);
            self.begin_next(ctx, now);
            self.reboot(ctx);
        }
    }

    pub(crate) fn deadline(&self, ctx: &Context, now: Monotonic) -> Option<Monotonic> {
        let recovery = self.recovery.as_ref().and_then(Recovery::deadline);
        let held = self.held.values().filter_map(|held| match &held.phase {
            Phase::Pending { .. } if self.is_recovering() => None,
            Phase::Pending { not_before, resume } => {
                let expires = match resume {
                    None => ctx.record.clock.when(now, held.command.expires_unix_ms),
                    Some(_) => None,
                };
                let waits = (*not_before > now).then_some(*not_before);
                expires.into_iter().chain(waits).min()
            }
            Phase::Running(execution) => execution.deadline(),
            Phase::Finishing { retry_at, .. } => *retry_at,
            Phase::Arriving { .. }
            | Phase::Beginning(_)
            | Phase::Rebooting { .. }
            | Phase::Recovering { .. } => None,
        });
        held.chain(recovery).min()
    }

    /// Ends what did not begin before its time, where time is known.
    fn expire(&mut self, ctx: &mut Context, now: Monotonic) {
        let certain = ctx.record.clock.certain(now);
        let expired = |held: &Held| {
            matches!(held.phase, Phase::Pending { resume: None, .. })
                && held.command.expires_unix_ms <= certain
        };
        let ids: Vec<CommandId> = self
            .held
            .iter()
            .filter(|(_, held)| expired(held))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.finish_expired(ctx, now, id);
        }
    }

    /// Ends a command of which no step has begun in its time.
    fn finish_expired(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId) {
        let state = InvocationState::Refused(holdfast_protocol::up::RefusalReason::Expired);
        let detail = "its delivery time had passed";
        self.finish(ctx, now, id, state, Vec::new(), detail);
    }

    /// Writes a result: the update, and the tombstone in place of the entry.
    fn finish(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        id: CommandId,
        state: InvocationState,
        steps: Vec<StepResult>,
        detail: &str,
    ) {
        let update = InvocationUpdate {
            command: id,
            state,
            stamp: ctx.record.clock.stamp(now),
            steps: List::new(steps).unwrap_or_default(),
            detail: Text::cut(detail),
        };
        let stored = match Record::Invocation(update.clone()).to_stored() {
            Ok(stored) => Some(stored),
            // Only steps could be too much for the wire; the state is not given up for them.
            Err(_) => {
                let steps = List::default();
                Record::Invocation(InvocationUpdate { steps, ..update })
                    .to_stored()
                    .ok()
            }
        };
        let ending = Ending { state, stored };
        self.write_ending(ctx, id, ending);
    }

    fn write_ending(&mut self, ctx: &mut Context, id: CommandId, ending: Ending) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let record = CommandRecord::Done {
            state: ending.state,
            expires_unix_ms: held.command.expires_unix_ms,
        };
        let append = ending.stored.clone().map(|stored| Write::Append {
            class: Class::Result,
            key: 0,
            stored,
            reserved: Some(id),
        });
        let mut writes: Vec<Write> = append.into_iter().collect();
        writes.push(Write::Put {
            key: command_key(&id),
            value: store::encode(&record),
        });
        writes.push(Write::Unreserve { command: id });
        held.phase = Phase::Finishing {
            ending,
            retry_at: None,
        };
        ctx.persist(Purpose::Finish(id), writes);
    }

    /// A result is durable.
    pub(crate) fn finished(&mut self, id: CommandId) {
        let Some(held) = self.held.remove(&id) else {
            return;
        };
        if let Phase::Finishing { ending, .. } = held.phase {
            let tombstone = Tombstone {
                state: ending.state,
                expires_unix_ms: held.command.expires_unix_ms,
                result_up_to: self.results.head,
                restored: false,
            };
            self.tombstones.insert(id, tombstone);
        }
    }

    /// A write that cannot be given up was refused: keep it, and try again.
    pub(crate) fn finish_refused(&mut self, now: Monotonic, id: CommandId) {
        if let Some(Held {
            phase: Phase::Finishing { retry_at, .. },
            ..
        }) = self.held.get_mut(&id)
        {
            *retry_at = Some(now.after(RETRY_MS));
        }
    }

    fn retry(&mut self, ctx: &mut Context, now: Monotonic) {
        let due: Vec<(CommandId, Ending)> = self
            .held
            .iter()
            .filter_map(|(id, held)| match &held.phase {
                Phase::Finishing {
                    ending,
                    retry_at: Some(at),
                } if *at <= now => Some((*id, ending.clone())),
                Phase::Finishing { .. }
                | Phase::Arriving { .. }
                | Phase::Pending { .. }
                | Phase::Beginning(_)
                | Phase::Running(_)
                | Phase::Rebooting { .. }
                | Phase::Recovering { .. } => None,
            })
            .collect();
        for (id, ending) in due {
            self.write_ending(ctx, id, ending);
        }
    }

    pub(crate) fn status(&self) -> Vec<CommandStatus> {
        let mut all: Vec<_> = self.held.iter().collect();
        all.sort_by_key(|(_, held)| held.order);
        all.into_iter()
            .map(|(id, held)| CommandStatus {
                command: *id,
                document: held.command.document_name.to_string(),
                state: self.state(id).unwrap_or(InvocationState::Pending),
                step: match &held.phase {
                    Phase::Running(execution) => u8::try_from(execution.step()).ok(),
                    Phase::Arriving { .. }
                    | Phase::Pending { .. }
                    | Phase::Beginning(_)
                    | Phase::Rebooting { .. }
                    | Phase::Recovering { .. }
                    | Phase::Finishing { .. } => None,
                },
            })
            .collect()
    }
}
