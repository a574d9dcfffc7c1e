//! What follows from durable writes, refused ones, and a device that fails or answers again.
//! Never decides what is written: the part that wrote it does, by its purpose.

use crate::context::Purpose;
use crate::core::{Core, Life, RETRY_MS};
use crate::effect::{Effect, Level, StoreOp, Ticket};
use crate::input::{Entry, Monotonic, PersistRefusal, StreamFigures};
use crate::link::Pause;
use holdfast_protocol::up::Class;

/// How long the status shows that a command was refused for want of room.
const FULL_SHOWN_MS: u64 = 60_000;

impl Core {
    /// Records of a stream have come: for the search after a crash, or to be sent.
    pub(crate) fn records(&mut self, now: Monotonic, class: Class, from: u64, entries: &[Entry]) {
        let ctx = &mut self.ctx;
        if class == Class::Result && self.commands.is_recovering() {
            self.commands.recovered(ctx, now, from, entries);
            return;
        }
        if class == Class::Result {
            self.commands.sending(entries);
        }
        self.streams.records(ctx, now, class, from, entries);
    }

    pub(crate) fn read_failed(&mut self, now: Monotonic, class: Class, why: &str) {
        if class == Class::Result {
            self.commands.recovery_failed(now);
        }
        self.streams.read_failed(&mut self.ctx, now, class, why);
    }

    /// What the device had no room for a moment ago.
    pub(crate) fn full(&self, now: Monotonic) -> Option<String> {
        let (at, why) = self.ctx.full.as_ref()?;
        (now.since(*at) < FULL_SHOWN_MS).then(|| why.clone())
    }

    /// Records were appended, or acknowledged ones released.
    pub(crate) fn streams_changed(&mut self, figures: [StreamFigures; 4]) {
        self.streams.persisted(figures);
        self.results_changed();
    }

    /// Where stream *result* ends, and up to where the bridge has it: the journal learns of an
    /// acknowledgement later, since a slow disk comes between.
    pub(crate) fn results_changed(&mut self) {
        let figures = self.streams.figures(Class::Result);
        let released = figures.released.max(self.streams.acked(Class::Result));
        self.commands.set_results(StreamFigures {
            released,
            ..figures
        });
    }

    pub(crate) fn persisted(
        &mut self,
        now: Monotonic,
        ticket: Ticket,
        appended: &[u64],
        figures: [StreamFigures; 4],
    ) {
        self.streams_changed(figures);
        self.disk_answers(now);
        let Some(purpose) = self.ctx.close(ticket) else {
            return;
        };
        let ctx = &mut self.ctx;
        match purpose {
            Purpose::Start => {
                // Asked to stop meanwhile, it stays so.
                if self.life == Life::Starting {
                    self.life = Life::Running;
                }
                // Only now the journal may look whole again.
                if std::mem::take(&mut self.sequences_lost) {
                    ctx.push(Effect::Store(StoreOp::Checkpoint));
                }
                self.commands.start(ctx, now);
            }
            Purpose::Token => self.open(now),
            Purpose::Outbox => self.hang_up(Pause::Short, "the outbox begins a new life"),
            Purpose::Admit(id) => {
                ctx.full = None;
                self.commands.admitted(ctx, now, id);
            }
            Purpose::Begin(id) => self.commands.begun(ctx, now, id),
            Purpose::Place(id) => self.commands.placed(ctx, now, id, true),
            Purpose::Finish(id) => self.commands.finished(id),
            Purpose::TellAgain(id) => self.commands.told_again(id, true),
            Purpose::Report(key) => {
                let sequence = appended.last().copied();
                self.reports.persisted(ctx, now, key, sequence);
                self.commands.conclude_all(ctx, now, &self.reports);
            }
            Purpose::Event { .. } => ctx.record_refused(now),
            Purpose::Note => {}
        }
    }

    pub(crate) fn persist_failed(&mut self, now: Monotonic, ticket: Ticket, why: &PersistRefusal) {
        let Some(purpose) = self.ctx.close(ticket) else {
            return;
        };
        // Refused is answered: with nothing left that waits for the disk, no answer would end its failure.
        if !self.ctx.is_writing() {
            self.disk_answers(now);
        }
        let ctx = &mut self.ctx;
        ctx.log(Level::Warn, format!("not written: {why}"));
        match purpose {
            // Without it the node could not tell its lives apart: try again until there is room.
            Purpose::Start => {
                if matches!(self.life, Life::Starting | Life::Running) {
                    self.start_at = Some(now.after(RETRY_MS));
                }
            }
            Purpose::Token | Purpose::Outbox => {
                self.unwritten = true;
                self.hang_up(Pause::Backoff, "the session cannot be made durable");
            }
            Purpose::Admit(id) => {
                if let PersistRefusal::Disk { why } = why {
                    ctx.full = Some((now, why.clone()));
                }
                if let Some((answer, delivery)) = self.commands.admission_refused(id, why) {
                    self.answer(answer, Some(delivery));
                }
            }
            Purpose::Begin(id) => self.commands.begin_refused(ctx, now, id),
            Purpose::Place(id) => self.commands.placed(ctx, now, id, false),
            Purpose::Finish(id) => self.commands.finish_refused(now, id),
            Purpose::TellAgain(id) => self.commands.told_again(id, false),
            Purpose::Report(key) => {
                self.reports.persisted(ctx, now, key, None);
                self.commands.conclude_all(ctx, now, &self.reports);
            }
            // Not tried again by itself: the stream may be full for long.
            Purpose::Event { class, count, .. } => ctx.event_refused(class, count),
            Purpose::Note => {}
        }
    }

    pub(crate) fn disk_answers(&mut self, now: Monotonic) {
        if let Some(why) = self.ctx.disk.take() {
            self.ctx.log(Level::Info, "the disk answers again");
            self.ctx.note(now, "disk-failed", &why);
        }
    }

    /// The device fails; the shell tries again. Nothing that needs a write goes on, but the link does:
    /// the bridge is told that commands are refused, and why they are. Only where what was found at the
    /// start is not durable nothing connects: a token that was shown, a record or a command that was
    /// answered for may be gone after a power cut.
    pub(crate) fn disk_fails(&mut self, now: Monotonic, mut why: String) {
        if self.life == Life::Starting && !self.secured {
            why.push_str("; nothing connects before it takes writes again");
        }
        if self.ctx.disk.is_none() {
            self.ctx.log(Level::Error, format!("the disk fails: {why}"));
        }
        self.ctx.disk = Some(why);
        if self.life == Life::Starting && self.secured {
            // How often it was started is not on disk: the time since boot tells two starts apart.
            self.link.skip_ahead(now);
            self.life = Life::Running;
        }
        // A token that is not on disk may be received, but not shown: nothing connects until it is.
        self.open(now);
    }
}
