//! The four streams upward: what was sent, what is acknowledged, what may be sent next.
//! Never holds a record: they are read when there is room for them, and forgotten when sent.

use crate::context::Context;
use crate::core::RETRY_MS;
use crate::effect::{Attempt, Effect, Level, Qos, StoreOp};
use crate::input::{Entry, Monotonic, StreamFigures};
use crate::session::Opened;
use crate::status::QueueStatus;
use holdfast_protocol::limits::REVISION;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{self, Class, Gap, GapReason, Record, StreamHead};
use std::collections::VecDeque;

/// The order of sending: what a command reported is at the bridge before its own result.
const ORDER: [Class; 4] = [Class::State, Class::Result, Class::Audit, Class::Log];

/// An acknowledgement above what was sent; nothing of it was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stream {} is acknowledged up to {acked}, but was sent up to {sent}", class.name())]
pub(crate) struct AboveSent {
    pub(crate) class: Class,
    pub(crate) acked: u64,
    pub(crate) sent: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    figures: StreamFigures,
    /// Highest acknowledgement that was released.
    acked: u64,
    /// Highest sequence sent on this connection, or acknowledged.
    sent: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    class: Class,
    from: u64,
    up_to: u64,
    /// Whether what comes is still wanted on this connection.
    attempt: Attempt,
}

/// The streams.
#[derive(Debug)]
pub(crate) struct Streams {
    windows: [Window; 4],
    attempt: Option<Attempt>,
    /// Newest that the bridge of this session reads.
    revision: u16,
    reading: Option<Reading>,
    retry_at: Option<Monotonic>,
    /// Sizes of the publishes that the transport has not acknowledged.
    in_flight: VecDeque<usize>,
    /// When an acknowledgement last moved, or the first record went out.
    progress_at: Monotonic,
    /// Stream *result* is still searched for what the last process ended with: nothing of it is
    /// sent, and nothing is forgotten, lest a result be missed and made up again.
    results_searched: bool,
}

impl Streams {
    /// `results_searched`: until [`Self::results_found`].
    pub(crate) fn new(figures: [StreamFigures; 4], results_searched: bool) -> Self {
        let windows = figures.map(|figures| Window {
            figures,
            acked: figures.released,
            sent: figures.released,
        });
        Self {
            windows,
            attempt: None,
            revision: REVISION,
            reading: None,
            retry_at: None,
            in_flight: VecDeque::new(),
            progress_at: Monotonic::default(),
            results_searched,
        }
    }

    fn window(&mut self, class: Class) -> &mut Window {
        let [result, audit, state, log] = &mut self.windows;
        match class {
            Class::Result => result,
            Class::Audit => audit,
            Class::State => state,
            Class::Log => log,
        }
    }

    pub(crate) fn figures(&self, class: Class) -> StreamFigures {
        self.windows
            .get(class.index())
            .map_or_else(StreamFigures::default, |window| window.figures)
    }

    pub(crate) fn acked(&self, class: Class) -> u64 {
        self.windows
            .get(class.index())
            .map_or(0, |window| window.acked)
    }

    pub(crate) fn heads(&self) -> [StreamHead; 4] {
        self.windows.map(|window| StreamHead {
            head: window.figures.head,
            acked: window.acked,
        })
    }

    /// A group commit has ended.
    pub(crate) fn persisted(&mut self, figures: [StreamFigures; 4]) {
        for (window, figures) in self.windows.iter_mut().zip(figures) {
            let head = window.figures.head.max(figures.head);
            window.figures = StreamFigures { head, ..figures };
        }
    }

    /// What of a hello's reply is above what exists: then the disk is older than the bridge's memory.
    pub(crate) fn above_head(&self, acks: [u64; 4]) -> Option<Class> {
        let found = self.windows.iter().zip(acks).zip(Class::ALL);
        found
            .filter(|((window, ack), _)| *ack > window.figures.head)
            .map(|(_, class)| class)
            .next()
    }

    /// A session begins: go back to the last acknowledgement.
    pub(crate) fn open(&mut self, ctx: &mut Context, now: Monotonic, opened: &Opened) {
        self.attempt = Some(opened.attempt);
        self.revision = opened.revision;
        self.in_flight.clear();
        self.retry_at = None;
        self.progress_at = now;
        for (class, ack) in Class::ALL.into_iter().zip(opened.acks) {
            self.release(ctx, class, ack);
            let window = self.window(class);
            window.sent = window.acked;
        }
    }

    /// The session has ended.
    pub(crate) fn close(&mut self) {
        self.attempt = None;
        self.in_flight.clear();
        for window in &mut self.windows {
            window.sent = window.acked;
        }
    }

    /// The bridge has committed everything up to here.
    pub(crate) fn acknowledge(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        acks: [u64; 4],
    ) -> Result<(), AboveSent> {
        for ((window, acked), class) in self.windows.iter().zip(acks).zip(Class::ALL) {
            if acked > window.sent {
                let sent = window.sent;
                return Err(AboveSent { class, acked, sent });
            }
        }
        for (class, ack) in Class::ALL.into_iter().zip(acks) {
            if self.release(ctx, class, ack) {
                self.progress_at = now;
            }
        }
        Ok(())
    }

    fn release(&mut self, ctx: &mut Context, class: Class, up_to: u64) -> bool {
        let window = self.window(class);
        if up_to <= window.acked {
            return false;
        }
        window.acked = up_to;
        if !(self.results_searched && class == Class::Result) {
            ctx.push(Effect::Store(StoreOp::Release { class, up_to }));
        }
        true
    }

    /// The search through stream *result* is over: what was acknowledged meanwhile may go.
    pub(crate) fn results_found(&mut self, ctx: &mut Context) {
        if !std::mem::take(&mut self.results_searched) {
            return;
        }
        let window = *self.window(Class::Result);
        if window.acked > window.figures.released {
            let (class, up_to) = (Class::Result, window.acked);
            ctx.push(Effect::Store(StoreOp::Release { class, up_to }));
        }
    }

    /// The transport has acknowledged so many publishes.
    pub(crate) fn pub_acked(&mut self, attempt: Attempt, count: u32) {
        if self.attempt == Some(attempt) {
            let count = self.in_flight.len().min(count as usize);
            self.in_flight.drain(..count);
        }
    }

    /// Asks for the next records where there is room for them.
    pub(crate) fn pump(&mut self, ctx: &mut Context, now: Monotonic) {
        let Some(attempt) = self.attempt else {
            return;
        };
        if self.reading.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.retry_at = None;
        let behind = |class: &Class| {
            let window = self.windows.get(class.index());
            window.is_some_and(|window| window.sent < window.figures.head)
        };
        let Some(class) = ORDER.into_iter().find(behind) else {
            return;
        };
        if self.results_searched && class == Class::Result {
            return;
        }
        let limits = ctx.config.limits;
        // A gap and the record after it may have taken one place too many.
        let records = (limits.in_flight_max as usize).saturating_sub(self.in_flight.len());
        let bytes = limits
            .in_flight_bytes_max
            .saturating_sub(self.in_flight.iter().sum());
        // Half a window at a time: a read for every freed place would scan a segment for one record.
        let half =
            records >= limits.in_flight_max as usize / 2 && bytes >= limits.in_flight_bytes_max / 2;
        let window = *self.window(class);
        let unacked = window.sent - window.acked;
        if !half || unacked >= limits.unacked_records_max {
            return;
        }
        let reading = Reading {
            class,
            from: window.sent + 1,
            up_to: window.figures.head,
            attempt,
        };
        self.reading = Some(reading);
        ctx.push(Effect::Store(StoreOp::Read {
            class,
            from: reading.from,
            up_to: reading.up_to,
            max_records: records,
            max_bytes: bytes,
        }));
    }

    /// Records have come: send them, if they are still wanted.
    pub(crate) fn records(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        class: Class,
        from: u64,
        entries: &[Entry],
    ) {
        let Some(reading) = self
            .reading
            .take_if(|reading| reading.class == class && reading.from == from)
        else {
            return;
        };
        if self.attempt != Some(reading.attempt) || self.window(class).sent + 1 != from {
            return;
        }
        if entries.is_empty() {
            return self.read_failed(ctx, now, class, "the journal has no such records");
        }
        if self.out(class) == 0 {
            self.progress_at = now;
        }
        for entry in entries {
            if !self.send(ctx, reading, entry) {
                break;
            }
        }
    }

    /// Sends one entry; `false` when it lies beyond what was asked for.
    fn send(&mut self, ctx: &mut Context, reading: Reading, entry: &Entry) -> bool {
        let class = reading.class;
        let expected = self.window(class).sent + 1;
        let last = entry.last().min(reading.up_to);
        if last < expected || self.in_flight.len() >= ctx.config.limits.in_flight_max as usize {
            return false;
        }
        match entry {
            Entry::Record { sequence, stored } if *sequence == last => {
                if *sequence > expected {
                    // Nothing may be missing without a word.
                    self.send_gap(ctx, reading, expected, *sequence - 1, GapReason::Damaged);
                }
                let outbox = ctx.record.outbox;
                match up::stored_to_frame(stored, outbox, *sequence, self.revision) {
                    Ok(frame) => self.publish(ctx, reading, last, frame),
                    Err(why) => {
                        ctx.log(
                            Level::Error,
                            format!("record {sequence} of stream {}: {why}", class.name()),
                        );
                        self.send_gap(ctx, reading, last, last, GapReason::Damaged);
                    }
                }
                true
            }
            Entry::Record { .. } => false,
            Entry::Gap { reason, .. } => {
                self.send_gap(ctx, reading, expected, last, *reason);
                true
            }
        }
    }

    fn send_gap(
        &mut self,
        ctx: &mut Context,
        reading: Reading,
        first: u64,
        last: u64,
        reason: GapReason,
    ) {
        // In this stream the journal gives up only what a newer report replaces.
        let reason = match (reading.class, reason) {
            (Class::State, GapReason::Evicted) => GapReason::Superseded,
            (_, reason) => reason,
        };
        let stored = Record::Gap(Gap { first, reason }).to_stored();
        let (outbox, revision) = (ctx.record.outbox, self.revision);
        match stored.and_then(|stored| up::stored_to_frame(&stored, outbox, last, revision)) {
            Ok(frame) => self.publish(ctx, reading, last, frame),
            Err(why) => ctx.log(Level::Error, format!("a gap cannot be written: {why}")),
        }
    }

    fn publish(&mut self, ctx: &mut Context, reading: Reading, last: u64, frame: Vec<u8>) {
        self.window(reading.class).sent = last;
        self.in_flight.push_back(frame.len());
        ctx.push(Effect::Send {
            attempt: reading.attempt,
            topic: Topic::Stream(ctx.config.node, reading.class),
            frame,
            qos: Qos::AtLeastOnce,
        });
    }

    /// The device would not read; wait before the next try.
    pub(crate) fn read_failed(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        class: Class,
        why: &str,
    ) {
        self.reading.take_if(|reading| reading.class == class);
        self.retry_at = Some(now.after(RETRY_MS));
        ctx.log(
            Level::Warn,
            format!("stream {} cannot be read: {why}", class.name()),
        );
    }

    /// Records of a class that were sent and are not acknowledged.
    fn out(&mut self, class: Class) -> u64 {
        let window = self.window(class);
        window.sent - window.acked
    }

    fn is_out(&self) -> bool {
        self.windows.iter().any(|window| window.sent > window.acked)
    }

    /// Whether acknowledgements stand still while records are out.
    pub(crate) fn stuck(&self, ctx: &Context, now: Monotonic) -> bool {
        self.attempt.is_some()
            && self.is_out()
            && now.since(self.progress_at) >= ctx.config.intervals.stuck_ms
    }

    pub(crate) fn deadline(&self, ctx: &Context) -> Option<Monotonic> {
        self.attempt?;
        let stuck = self
            .is_out()
            .then(|| self.progress_at.after(ctx.config.intervals.stuck_ms));
        let retry = self.retry_at.filter(|_| self.reading.is_none());
        stuck.into_iter().chain(retry).min()
    }

    pub(crate) fn status(&self) -> [QueueStatus; 4] {
        Class::ALL.map(|class| {
            let figures = self.figures(class);
            QueueStatus {
                class: class.name(),
                records: figures.records,
                bytes: figures.used_bytes,
                reserved_bytes: figures.reserved_bytes,
                cap_bytes: figures.cap_bytes,
                head: figures.head,
                acked: self.acked(class),
                lost: figures.lost,
            }
        })
    }
}
