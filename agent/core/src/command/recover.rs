//! After a crash: which commands wait, go on after a reboot, or have ended without anyone knowing how.
//! Never runs a step again that may have run, except one that asked for a reboot.

use super::tombstone::Tombstone;
use super::{Commands, Ending, Held, Phase};
use crate::context::{Context, Purpose};
use crate::core::{RETRY_MS, RestoreError};
use crate::effect::{Effect, StoreOp, Write};
use crate::input::{Entry, LedgerDamage, Monotonic, StreamFigures};
use crate::store::{self, COMMAND_PREFIX, CommandRecord, Place};
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::up::{Class, InvocationState, Record};
use holdfast_protocol::{CommandId, down};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Records read at a time.
const PAGE_RECORDS: usize = 64;
/// Bytes read at a time.
const PAGE_BYTES: usize = 64 << 10;

/// How long a command is remembered whose own expiry is lost: the longest that the API allows.
const LOST_EXPIRY_MS: u64 = 30 * 24 * 3_600_000;

/// When a process begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) now: Monotonic,
    pub(crate) boot: u32,
    /// Real time is not below this, milliseconds since 1970.
    pub(crate) certain_unix_ms: u64,
}

impl Times {
    /// Until when a command is remembered whose own expiry is lost.
    fn lost_expiry(self) -> u64 {
        self.certain_unix_ms.saturating_add(LOST_EXPIRY_MS)
    }
}

/// The search through stream *result* for results that became durable just before a crash: the
/// stream is written before the ledger, so a result may be there while its command still shows as running.
#[derive(Debug)]
pub(super) struct Recovery {
    next: u64,
    up_to: u64,
    retry_at: Option<Monotonic>,
    /// The search has been through.
    searched: bool,
    /// Nothing of the last process runs any more: before that, nothing is told to have ended.
    remains_ended: bool,
}

impl Recovery {
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.retry_at
    }

    fn read(&self, ctx: &mut Context) {
        ctx.push(Effect::Store(StoreOp::Read {
            class: Class::Result,
            from: self.next,
            up_to: self.up_to,
            max_records: PAGE_RECORDS,
            max_bytes: PAGE_BYTES,
        }));
    }
}

impl Commands {
    /// Reads the ledger's commands. One whose entry is damaged, or cannot be read, is held as if it
    /// had begun: it never begins again, and ends as what the stream says, or as interrupted.
    pub(crate) fn restore(
        entries: &[(String, Vec<u8>)],
        damage: &LedgerDamage,
        times: Times,
        results: StreamFigures,
    ) -> Result<Self, RestoreError> {
        let mut commands = Self {
            held: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            asked: BTreeSet::new(),
            cancelled: VecDeque::new(),
            next_order: 0,
            results,
            recovery: None,
            stopping: false,
            reboot_asked: false,
        };
        for (key, value) in entries {
            let Some(id) = command_of(key) else {
                continue;
            };
            match store::decode(key, value) {
                Ok(record) => commands.take_over(id, record, times),
                Err(RestoreError::Malformed { .. }) => {
                    commands.hold_lost(id, InvocationState::Interrupted, times.lost_expiry())
                }
                Err(newer @ RestoreError::Layout { .. }) => return Err(newer),
            }
        }
        for id in damage.doubtful.iter().filter_map(|key| command_of(key)) {
            commands.doubt(id, times);
        }
        for id in &damage.lost_results {
            // One that is held, not ended, gets its result as after any crash.
            if let Some(ended) = commands.tombstones.remove(id) {
                commands.hold_lost(*id, ended.state, ended.expires_unix_ms);
            }
        }
        let recovering = commands.held.values().filter_map(|held| match held.phase {
            Phase::Recovering { after, .. } => Some(after),
            // One that had not begun can have ended too: cancelled, expired or refused.
            Phase::Pending { .. } | Phase::Rebooting { .. } => Some(0),
            Phase::Arriving { .. }
            | Phase::Beginning(_)
            | Phase::Running(_)
            | Phase::Finishing { .. } => None,
        });
        commands.recovery = recovering.min().map(|after| Recovery {
            next: after.max(results.released) + 1,
            up_to: results.head,
            retry_at: None,
            searched: false,
            remains_ended: false,
        });
        Ok(commands)
    }

    fn take_over(&mut self, id: CommandId, record: CommandRecord, times: Times) {
        let Times { now, boot, .. } = times;
        let (order, command, phase) = match record {
            CommandRecord::Pending { order, command } => {
                let phase = Phase::Pending {
                    resume: None,
                    not_before: now,
                };
                (order, command, phase)
            }
            CommandRecord::InProgress {
                order,
                command,
                after,
            } => {
                let damaged = None;
                (order, command, Phase::Recovering { after, damaged })
            }
            CommandRecord::RebootingUnwritten {
                order,
                command,
                place,
            } => (order, command, resuming(place, now, boot)),
            CommandRecord::Rebooting {
                order,
                command,
                place,
                written,
            } => {
                let place = Place { written, ..place };
                (order, command, resuming(place, now, boot))
            }
            CommandRecord::Done {
                state,
                expires_unix_ms,
            } => {
                let tombstone = Tombstone {
                    state,
                    expires_unix_ms,
                    result_up_to: self.results.head,
                    restored: true,
                };
                self.tombstones.insert(id, tombstone);
                return;
            }
        };
        self.hold(id, order, command, phase);
    }

    /// A newer entry of it is lost: what is known of it may be of before it began.
    fn doubt(&mut self, id: CommandId, times: Times) {
        if self.tombstones.contains_key(&id) {
            return;
        }
        match self.held.get_mut(&id) {
            Some(held) => {
                held.phase = Phase::Recovering {
                    after: 0,
                    damaged: Some(InvocationState::Interrupted),
                };
            }
            None => self.hold_lost(id, InvocationState::Interrupted, times.lost_expiry()),
        }
    }

    /// Holds a command of which nothing but the id is left.
    fn hold_lost(&mut self, id: CommandId, state: InvocationState, expires_unix_ms: u64) {
        let command = down::Command {
            id,
            document_name: Text::cut("(damaged)"),
            document_version: Text::default(),
            content: Text::default(),
            content_sha256: [0; 32],
            parameters: List::default(),
            expires_unix_ms,
            operator: None,
        };
        let phase = Phase::Recovering {
            after: 0,
            damaged: Some(state),
        };
        self.hold(id, self.next_order, command, phase);
    }

    /// Tells the bridge of damage to the journal, and which commands it costs.
    pub(crate) fn tell_damage(&self, ctx: &mut Context, now: Monotonic, records: u64) {
        if records > 0 {
            let detail = format!("{records} records of the journal are damaged on disk");
            ctx.audit(now, "journal-damaged", &detail);
        }
        for (id, held) in &self.held {
            if matches!(
                held.phase,
                Phase::Recovering {
                    damaged: Some(_),
                    ..
                }
            ) {
                let detail =
                    format!("{id}: its entry or result is damaged on disk; it is not begun again");
                ctx.audit(now, "command-damaged", &detail);
            }
        }
    }

    fn hold(&mut self, id: CommandId, order: u64, command: down::Command, phase: Phase) {
        self.next_order = self.next_order.max(order + 1);
        let held = Held {
            order,
            bytes: super::admit::size(&command),
            command: Box::new(command),
            phase,
            cancelled: false,
        };
        self.held.insert(id, held);
    }

    /// The process has begun: reserve room again, and look for what the last one left.
    pub(crate) fn start(&mut self, ctx: &mut Context, now: Monotonic) {
        for id in self.held.keys() {
            let reserve = Write::Reserve {
                command: *id,
                bytes: ctx.config.limits.result_bytes_reserved,
            };
            ctx.persist(Purpose::Note, vec![reserve]);
        }
        match &self.recovery {
            Some(recovery) if recovery.next <= recovery.up_to => recovery.read(ctx),
            Some(_) => self.searched(ctx, now),
            None => {}
        }
    }

    /// The search has been through.
    fn searched(&mut self, ctx: &mut Context, now: Monotonic) {
        if let Some(recovery) = &mut self.recovery {
            recovery.searched = true;
        }
        self.settle_recovery(ctx, now);
    }

    /// What the last process left running has ended.
    pub(crate) fn remains_ended(&mut self, ctx: &mut Context, now: Monotonic) {
        if let Some(recovery) = &mut self.recovery {
            recovery.remains_ended = true;
        }
        self.settle_recovery(ctx, now);
    }

    /// Records of the search have come.
    pub(crate) fn recovered(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        from: u64,
        entries: &[Entry],
    ) {
        let Some(mut recovery) = self.recovery.take_if(|recovery| recovery.next == from) else {
            return;
        };
        for entry in entries {
            if let Some((id, state)) = ended(entry) {
                self.settle_found(ctx, id, state);
            }
            recovery.next = entry.last() + 1;
        }
        let is_last = entries.is_empty() || recovery.next > recovery.up_to;
        if !is_last {
            recovery.read(ctx);
        }
        self.recovery = Some(recovery);
        if is_last {
            self.searched(ctx, now);
        }
    }

    pub(crate) fn recovery_failed(&mut self, now: Monotonic) {
        if let Some(recovery) = &mut self.recovery {
            recovery.retry_at = Some(now.after(RETRY_MS));
        }
    }

    /// Reads again after a failure.
    pub(super) fn retry_recovery(&mut self, ctx: &mut Context, now: Monotonic) {
        if let Some(recovery) = &mut self.recovery
            && recovery.retry_at.take_if(|at| *at <= now).is_some()
        {
            recovery.read(ctx);
        }
    }

    /// Its result is in the stream: only the ledger has to learn it.
    fn settle_found(&mut self, ctx: &mut Context, id: CommandId, state: InvocationState) {
        let open = |held: &&Held| {
            matches!(
                held.phase,
                Phase::Recovering { .. } | Phase::Pending { .. } | Phase::Rebooting { .. }
            )
        };
        if self.held.get(&id).filter(open).is_some() {
            let ending = Ending {
                state,
                stored: None,
            };
            self.write_ending(ctx, id, ending);
        }
    }

    /// What has no result in the stream ended with the process.
    fn settle_recovery(&mut self, ctx: &mut Context, now: Monotonic) {
        let is_over = |recovery: &mut Recovery| recovery.searched && recovery.remains_ended;
        if self.recovery.take_if(is_over).is_none() {
            return;
        }
        let lost: Vec<(CommandId, Option<InvocationState>)> = self
            .held
            .iter()
            .filter_map(|(id, held)| match held.phase {
                Phase::Recovering { damaged, .. } => Some((*id, damaged)),
                Phase::Arriving { .. }
                | Phase::Pending { .. }
                | Phase::Beginning(_)
                | Phase::Running(_)
                | Phase::Rebooting { .. }
                | Phase::Finishing { .. } => None,
            })
            .collect();
        for (id, damaged) in lost {
            let detail = match damaged {
                None => "the agent or the machine stopped while it ran",
                Some(InvocationState::Interrupted) => {
                    "its entry in the agent's journal is damaged: whether it ran is not known"
                }
                Some(_) => "it ended so, but its result was damaged in the agent's journal",
            };
            let state = damaged.unwrap_or(InvocationState::Interrupted);
            self.finish(ctx, now, id, state, Vec::new(), detail);
        }
        let waiting = |held: &Held| {
            matches!(
                held.phase,
                Phase::Pending { .. } | Phase::Rebooting { durable: true, .. }
            )
        };
        let cancelled: Vec<CommandId> = self
            .held
            .iter()
            .filter(|(_, held)| held.cancelled && waiting(held))
            .map(|(id, _)| *id)
            .collect();
        for id in cancelled {
            self.finish_cancelled(ctx, now, id);
        }
    }
}

/// What an entry of stream *result* says has ended, and how.
pub(super) fn ended(entry: &Entry) -> Option<(CommandId, InvocationState)> {
    let Entry::Record { stored, .. } = entry else {
        return None;
    };
    match Record::from_stored(stored) {
        Ok(Record::Invocation(update)) if update.state.is_terminal() => {
            Some((update.command, update.state))
        }
        _ => None,
    }
}

/// The command that a ledger's key is about.
fn command_of(key: &str) -> Option<CommandId> {
    key.strip_prefix(COMMAND_PREFIX)?.parse().ok()
}

/// In the boot that asked the reboot is still to come; in another the command goes on.
fn resuming(place: Place, now: Monotonic, boot: u32) -> Phase {
    if place.boot == boot {
        Phase::Rebooting {
            place: Box::new(place),
            durable: true,
        }
    } else {
        Phase::Pending {
            resume: Some(Box::new(place)),
            not_before: now,
        }
    }
}
