//! Beginning, stepping and ending commands, several at once up to a bound, the others in order of arrival.
//! Never starts a step before that it begins is durable.

use super::execution::{Execution, Next};
use super::{Commands, Phase};
use crate::context::{Context, Purpose};
use crate::core::RETRY_MS;
use crate::effect::{Effect, KillReason, Level, Write};
use crate::error::chain;
use crate::input::{Monotonic, StepEnd, StreamFigures};
use crate::report::Reports;
use crate::store::{self, CommandRecord, Place, command_key};
use holdfast_documents::{BindError, Document, DocumentHash, Plan, PlanError, Platform};
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::up::{
    Class, InvocationState, InvocationUpdate, OutputStream, Record, RefusalReason,
};
use holdfast_protocol::{CommandId, down};

impl Commands {
    /// Begins commands in the order in which they came, while there is room.
    pub(super) fn begin_next(&mut self, ctx: &mut Context, now: Monotonic) {
        while self.running() < ctx.config.limits.running_max && !self.stopping {
            // What has expired or may not begin yet is not in the way of the others.
            let rebooting = self.is_rebooting();
            let waits = |phase: &Phase| matches!(phase, Phase::Pending { not_before, .. } if *not_before <= now);
            let known = ctx.record.clock.trusted(now).is_some();
            let ready = self
                .held
                .iter()
                .filter(|(_, held)| !rebooting && waits(&held.phase))
                .filter(|(_, held)| {
                    known
                        || matches!(
                            held.phase,
                            Phase::Pending {
                                resume: Some(_),
                                ..
                            }
                        )
                })
                .min_by_key(|(_, held)| held.order)
                .map(|(id, _)| *id);
            let Some(id) = ready else {
                return;
            };
            self.begin(ctx, now, id);
        }
    }

    fn begin(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let place = match &mut held.phase {
            Phase::Pending { resume, .. } => resume.take().map(|place| *place),
            Phase::Arriving { .. }
            | Phase::Beginning(_)
            | Phase::Running(_)
            | Phase::Rebooting { .. }
            | Phase::Recovering { .. }
            | Phase::Finishing { .. } => return,
        };
        let plan = match plan(&held.command, ctx.config.document_platform) {
            Ok(plan) => plan,
            Err((reason, detail)) => {
                let state = InvocationState::Refused(reason);
                let steps = place.map(|place| place.results).unwrap_or_default();
                return self.finish(ctx, now, id, state, steps, &detail);
            }
        };
        let resumed = place.is_some();
        held.phase = Phase::Beginning(Box::new(Execution::new(plan, place)));
        let record = CommandRecord::InProgress {
            order: held.order,
            command: (*held.command).clone(),
            after: self.results.head,
        };
        let mut writes = Vec::new();
        if !resumed {
            writes.extend(in_progress(ctx, now, id));
        }
        writes.push(Write::Put {
            key: command_key(&id),
            value: store::encode(&record),
        });
        ctx.persist(Purpose::Begin(id), writes);
    }

    /// That a command begins is durable: begin.
    pub(crate) fn begun(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let Phase::Beginning(execution) = &mut held.phase else {
            return;
        };
        // A disk that could not be written to may have taken longer than the command had.
        let is_first = execution.unbegun(ctx.record.clock.boot()).is_none();
        if is_first && held.command.expires_unix_ms <= ctx.record.clock.certain(now) {
            return self.finish_expired(ctx, now, id);
        }
        if self.stopping {
            execution.kill(KillReason::Stopping);
        } else if held.cancelled {
            execution.kill(KillReason::Cancelled);
        }
        self.go_on(ctx, now, id);
    }

    /// It cannot be written that a command begins: it goes back to wait.
    pub(crate) fn begin_refused(&mut self, ctx: &Context, now: Monotonic, id: CommandId) {
        if let Some(held) = self.held.get_mut(&id)
            && let Phase::Beginning(execution) = &mut held.phase
        {
            let place = execution.unbegun(ctx.record.clock.boot());
            held.phase = Phase::Pending {
                resume: place.map(Box::new),
                not_before: now.after(RETRY_MS),
            };
        }
    }

    /// Takes a command to its next step or its end.
    fn go_on(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId) {
        let stamp = ctx.record.clock.stamp(now);
        let boot = ctx.record.clock.boot();
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let (Phase::Beginning(execution) | Phase::Running(execution)) = &mut held.phase else {
            return;
        };
        match execution.next(id, now, stamp, boot) {
            Next::Run(run) => {
                held.phase.run();
                ctx.push(Effect::Run(run));
            }
            Next::Reboot(place) => self.write_place(ctx, id, place),
            Next::End(state, detail) => {
                let steps = execution.take_results();
                self.finish(ctx, now, id, state, steps, detail);
            }
        }
    }

    fn write_place(&mut self, ctx: &mut Context, id: CommandId, place: Box<Place>) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let record = CommandRecord::Rebooting {
            order: held.order,
            command: (*held.command).clone(),
            place: (*place).clone(),
            written: place.written,
        };
        held.phase = Phase::Rebooting {
            place,
            durable: false,
        };
        let put = Write::Put {
            key: command_key(&id),
            value: store::encode(&record),
        };
        ctx.persist(Purpose::Place(id), vec![put]);
    }

    /// The place of a command is durable, or could not be written: then its step has failed.
    pub(crate) fn placed(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId, ok: bool) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let Phase::Rebooting { place, durable } = &mut held.phase else {
            return;
        };
        *durable = ok;
        if held.cancelled {
            self.finish_cancelled(ctx, now, id);
        } else if !ok {
            let steps = std::mem::take(&mut place.results);
            let detail = "it asked for a reboot, but its place could not be written";
            self.finish(ctx, now, id, InvocationState::Failed, steps, detail);
        }
    }

    fn is_rebooting(&self) -> bool {
        self.held
            .values()
            .any(|held| matches!(held.phase, Phase::Rebooting { .. }))
    }

    /// Reboots when a place is durable and nothing else runs.
    pub(super) fn reboot(&mut self, ctx: &mut Context) {
        if self.reboot_asked || self.stopping || !self.is_quiet() {
            return;
        }
        let mut waiting = self.held.iter();
        let ready = waiting
            .find(|(_, held)| matches!(held.phase, Phase::Rebooting { durable: true, .. }))
            .map(|(id, _)| *id);
        if let Some(command) = ready {
            self.reboot_asked = true;
            ctx.push(Effect::Reboot { command });
        }
    }

    /// The machine does not reboot: what waits for that has failed, and the others may begin.
    pub(crate) fn reboot_failed(&mut self, ctx: &mut Context, now: Monotonic, why: &str) {
        self.reboot_asked = false;
        let waiting: Vec<_> = self
            .held
            .iter_mut()
            .filter_map(|(id, held)| match &mut held.phase {
                Phase::Rebooting {
                    place,
                    durable: true,
                } => Some((*id, std::mem::take(&mut place.results))),
                Phase::Rebooting { .. }
                | Phase::Arriving { .. }
                | Phase::Pending { .. }
                | Phase::Beginning(_)
                | Phase::Running(_)
                | Phase::Recovering { .. }
                | Phase::Finishing { .. } => None,
            })
            .collect();
        let detail = format!("it asked for a reboot, but {why}");
        for (id, steps) in waiting {
            self.finish(ctx, now, id, InvocationState::Failed, steps, &detail);
        }
    }

    /// A piece of output: a record of its own, in order before the result.
    pub(crate) fn output(
        &mut self,
        ctx: &mut Context,
        id: CommandId,
        step: u8,
        stream: OutputStream,
        bytes: &[u8],
    ) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let Phase::Running(execution) = &mut held.phase else {
            return;
        };
        let Some(chunk) = execution.output(id, step, stream, bytes) else {
            return;
        };
        match Record::Output(chunk).to_stored() {
            Ok(stored) => {
                let append = Write::Append {
                    class: Class::Result,
                    key: 0,
                    stored,
                    reserved: Some(id),
                };
                ctx.persist(Purpose::Note, vec![append]);
            }
            Err(why) => ctx.log(Level::Error, format!("output of {id} is lost: {why}")),
        }
    }

    /// A step has ended; what it reported comes first.
    pub(crate) fn step_ended(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        id: CommandId,
        step: u8,
        end: StepEnd,
        reports: &Reports,
    ) {
        if let Some(held) = self.held.get_mut(&id)
            && let Phase::Running(execution) = &mut held.phase
            && execution.ended(step, end)
        {
            self.conclude(ctx, now, id, reports);
        }
    }

    /// Goes on with every command whose step has ended and whose reports are durable.
    pub(crate) fn conclude_all(&mut self, ctx: &mut Context, now: Monotonic, reports: &Reports) {
        let running: Vec<CommandId> = self
            .held
            .iter()
            .filter(|(_, held)| matches!(held.phase, Phase::Running(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in running {
            self.conclude(ctx, now, id, reports);
        }
    }

    fn conclude(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId, reports: &Reports) {
        if reports.busy_with(id) {
            return;
        }
        let stamp = ctx.record.clock.stamp(now);
        if let Some(held) = self.held.get_mut(&id)
            && let Phase::Running(execution) = &mut held.phase
            && execution.judge(stamp)
        {
            self.go_on(ctx, now, id);
        }
    }

    /// Kills steps past their timeout.
    pub(super) fn time_out(&mut self, ctx: &mut Context, now: Monotonic) {
        self.kill_where(ctx, KillReason::TimedOut, |execution| {
            execution.deadline().is_some_and(|at| at <= now)
        });
    }

    /// The agent ends: nothing begins, what runs is stopped and says so.
    pub(crate) fn stop(&mut self, ctx: &mut Context) {
        self.stopping = true;
        self.kill_where(ctx, KillReason::Stopping, |_| true);
    }

    fn kill_where(
        &mut self,
        ctx: &mut Context,
        why: KillReason,
        applies: impl Fn(&Execution) -> bool,
    ) {
        for (id, held) in &mut self.held {
            if let Phase::Running(execution) = &mut held.phase
                && applies(execution)
                && let Some(step) = execution.kill(why)
            {
                let command = *id;
                ctx.push(Effect::Kill { command, step, why });
            }
        }
    }

    /// Where stream *result* ends: the results of commands that begin from now on lie above. And up to
    /// where the bridge has it.
    pub(crate) fn set_results(&mut self, figures: StreamFigures) {
        self.results = figures;
    }
}

/// The record that says that a command has begun.
fn in_progress(ctx: &mut Context, now: Monotonic, id: CommandId) -> Option<Write> {
    let update = InvocationUpdate {
        command: id,
        state: InvocationState::InProgress,
        stamp: ctx.record.clock.stamp(now),
        steps: List::default(),
        detail: Text::default(),
    };
    let stored = Record::Invocation(update).to_stored().ok()?;
    Some(Write::Append {
        class: Class::Result,
        key: 0,
        stored,
        reserved: Some(id),
    })
}

/// From the command as it came to its steps, or why it is not begun.
fn plan(command: &down::Command, platform: Platform) -> Result<Plan, (RefusalReason, String)> {
    let invalid = |why: &dyn std::error::Error| (RefusalReason::InvalidDocument, chain(why));
    if DocumentHash::of(command.content.as_bytes()).as_bytes() != &command.content_sha256 {
        let why = "the document is not what its hash says".to_owned();
        return Err((RefusalReason::InvalidDocument, why));
    }
    let document = Document::parse(command.content.as_bytes()).map_err(|why| invalid(&why))?;
    let supplied = command
        .parameters
        .iter()
        .map(|(name, values)| {
            let values = values.iter().map(|value| value.to_string()).collect();
            (name.to_string(), values)
        })
        .collect();
    let bound = document
        .bind(&supplied)
        .map_err(|why: BindError| (RefusalReason::InvalidParameters, chain(&why)))?;
    document.plan(&bound, platform).map_err(|why| {
        let reason = if matches!(why, PlanError::InvalidPlatform { .. }) {
            RefusalReason::InvalidPlatform
        } else {
            RefusalReason::InvalidParameters
        };
        (reason, chain(&why))
    })
}
