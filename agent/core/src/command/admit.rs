//! Arrival and cancel: which commands are taken in, and what is answered to the others.
//! Never answers for a command whose entry is not durable.

use super::{CANCELS_MAX, Commands, Held, Phase, RECORD_FRAME_BYTES};
use crate::context::{Context, Purpose};
use crate::effect::{Delivery, Effect, KillReason, Write};
use crate::input::{Monotonic, PersistRefusal, StreamFigures};
use crate::store::{self, CommandRecord, command_key};
use holdfast_protocol::up::{Answer, Bound, InvocationState};
use holdfast_protocol::{CommandId, down};

/// A command as it came.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The publish that carried it.
    pub(crate) delivery: Delivery,
    /// Whether its counter is above every one seen.
    pub(crate) fresh: bool,
    /// The command.
    pub(crate) command: Box<down::Command>,
    /// Stream *result*.
    pub(crate) results: StreamFigures,
}

impl Commands {
    /// Takes a command in, or says what to answer: the transport is then to be acknowledged after
    /// the answer, so that whoever sees the one has seen the other.
    pub(crate) fn arrive(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        arrival: Arrival,
    ) -> Option<Answer> {
        let id = arrival.command.id;
        if let Some(delivery) = self.held.get_mut(&id).and_then(Held::unacknowledged) {
            // Sent again before it was durable: the newest publish is the one to acknowledge.
            *delivery = arrival.delivery;
            return None;
        }
        let counter = ctx.record.counter;
        if arrival.fresh {
            self.tell_again(ctx, now, id);
        }
        let answer = match self.state(&id) {
            Some(state) => Some(Answer::Known { command: id, state }),
            None if !arrival.fresh => Some(Answer::Stale {
                command: Some(id),
                counter,
            }),
            None => self
                .full(ctx, now, &arrival)
                .map(|bound| Answer::Busy { command: id, bound }),
        };
        if answer.is_none() {
            self.admit(ctx, arrival);
        }
        answer
    }

    /// The bound that one more command would break.
    fn full(&mut self, ctx: &mut Context, now: Monotonic, arrival: &Arrival) -> Option<Bound> {
        let limits = ctx.config.limits;
        if ctx.disk.is_some() {
            return Some(Bound::Disk);
        }
        if self.held.len() >= limits.commands_max {
            let max = u32::try_from(limits.commands_max).unwrap_or(u32::MAX);
            return Some(Bound::Commands(max));
        }
        if self.tombstones.len() + self.held.len() >= limits.tombstones_max {
            self.sweep(ctx, now);
        }
        if self.tombstones.len() + self.held.len() >= limits.tombstones_max {
            let max = u32::try_from(limits.tombstones_max).unwrap_or(u32::MAX);
            return Some(Bound::Commands(max));
        }
        let bytes = size(&arrival.command);
        if self.inbox_bytes() + bytes > limits.inbox_bytes_max {
            return Some(Bound::InboxBytes(limits.inbox_bytes_max));
        }
        let reserved = self.held.len() as u64 * limits.result_bytes_reserved;
        let results = arrival.results;
        let free = results.cap_bytes.saturating_sub(results.used_bytes);
        if reserved + limits.result_bytes_reserved > free {
            return Some(Bound::ResultBytes(results.cap_bytes));
        }
        None
    }

    fn admit(&mut self, ctx: &mut Context, arrival: Arrival) {
        let id = arrival.command.id;
        let order = self.next_order;
        self.next_order += 1;
        let record = CommandRecord::Pending {
            order,
            command: (*arrival.command).clone(),
        };
        let held = Held {
            order,
            bytes: size(&arrival.command),
            command: arrival.command,
            phase: Phase::Arriving {
                delivery: arrival.delivery,
            },
            // Its entry comes first all the same: a result without one would be given again when
            // the command is sent again after a crash.
            cancelled: self.cancelled.contains(&id),
        };
        self.held.insert(id, held);
        let reserve = Write::Reserve {
            command: id,
            bytes: ctx.config.limits.result_bytes_reserved,
        };
        let put = Write::Put {
            key: command_key(&id),
            value: store::encode(&record),
        };
        let writes = vec![reserve, put, ctx.node_write()];
        ctx.persist(Purpose::Admit(id), writes);
    }

    /// A command is durable: only now the transport may forget it.
    pub(crate) fn admitted(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        if let Phase::Arriving { delivery } = held.phase {
            ctx.push(Effect::AckTransport { delivery });
            held.phase = Phase::Pending {
                resume: None,
                not_before: now,
            };
        }
        if held.cancelled {
            self.cancelled.retain(|known| *known != id);
            self.finish_cancelled(ctx, now, id);
        }
    }

    /// The journal has no room for a command that was about to be taken in.
    pub(crate) fn admission_refused(
        &mut self,
        id: CommandId,
        why: &PersistRefusal,
    ) -> Option<(Answer, Delivery)> {
        let arriving = |held: &mut Held| matches!(held.phase, Phase::Arriving { .. });
        let (_, held) = self
            .held
            .extract_if(id..=id, |_, held| arriving(held))
            .next()?;
        let Phase::Arriving { delivery } = held.phase else {
            return None;
        };
        let bound = match why {
            PersistRefusal::Stream { cap_bytes, .. } => Bound::ResultBytes(*cap_bytes),
            PersistRefusal::Ledger { cap_bytes } => Bound::InboxBytes(*cap_bytes),
            PersistRefusal::Disk { .. } => Bound::Disk,
        };
        Some((Answer::Busy { command: id, bound }, delivery))
    }

    /// Stops a command, begun or not.
    pub(crate) fn cancel(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        id: CommandId,
    ) -> Option<Answer> {
        let Some(held) = self.held.get_mut(&id) else {
            self.tell_again(ctx, now, id);
            return Some(match self.state(&id) {
                Some(state) => Answer::Known { command: id, state },
                None => self.remember_cancel(id),
            });
        };
        held.cancelled = true;
        match &mut held.phase {
            // It may have ended already: the end of the search says.
            Phase::Pending { .. } | Phase::Rebooting { .. } if self.recovery.is_some() => {}
            Phase::Running(execution) => {
                if let Some(step) = execution.kill(KillReason::Cancelled) {
                    ctx.push(Effect::Kill {
                        command: id,
                        step,
                        why: KillReason::Cancelled,
                    });
                }
            }
            Phase::Pending { .. } => self.finish_cancelled(ctx, now, id),
            Phase::Rebooting { durable: true, .. } => self.finish_cancelled(ctx, now, id),
            // The answer to the write that is under way goes on from here.
            Phase::Arriving { .. } | Phase::Beginning(_) | Phase::Rebooting { .. } => {}
            Phase::Recovering { .. } | Phase::Finishing { .. } => {
                let state = self.state(&id)?;
                return Some(Answer::Known { command: id, state });
            }
        }
        None
    }

    fn remember_cancel(&mut self, id: CommandId) -> Answer {
        if !self.cancelled.contains(&id) {
            if self.cancelled.len() >= CANCELS_MAX {
                self.cancelled.pop_front();
            }
            self.cancelled.push_back(id);
        }
        Answer::Unknown { command: id }
    }

    /// Ends a command that no step runs for.
    pub(super) fn finish_cancelled(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId) {
        let steps = match self.held.get_mut(&id).map(|held| &mut held.phase) {
            Some(
                Phase::Rebooting { place, .. }
                | Phase::Pending {
                    resume: Some(place),
                    ..
                },
            ) => std::mem::take(&mut place.results),
            Some(Phase::Beginning(execution) | Phase::Running(execution)) => {
                execution.take_results()
            }
            Some(
                Phase::Arriving { .. }
                | Phase::Pending { .. }
                | Phase::Recovering { .. }
                | Phase::Finishing { .. },
            )
            | None => Vec::new(),
        };
        let detail = "cancelled on request";
        self.finish(ctx, now, id, InvocationState::Cancelled, steps, detail);
    }
}

/// What a command takes of the inbox, in bytes.
pub(super) fn size(command: &down::Command) -> u64 {
    let parameters: usize = command
        .parameters
        .iter()
        .map(|(name, values)| name.len() + values.iter().map(|value| value.len()).sum::<usize>())
        .sum();
    (command.content.len() + parameters + 512) as u64 + RECORD_FRAME_BYTES
}
