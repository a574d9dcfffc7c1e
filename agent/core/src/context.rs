//! What all parts of the core share: configuration, the durable record, open tickets, the queue of effects.
//! Never decides anything beyond how often an event may be recorded.

use crate::config::Config;
use crate::effect::{Attempt, Effect, Level, Qos, StoreOp, Ticket, Write};
use crate::input::Monotonic;
use crate::store::{self, NODE_KEY, NodeRecord};
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::Text;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Class, Event, Record, Up};
use std::collections::{BTreeMap, VecDeque};

/// Log events recorded in a minute; more are counted.
const EVENTS_PER_MINUTE: u32 = 10;
/// Bytes of events that wait for the disk; more are counted, and the count is recorded in their place.
const EVENT_BYTES_MAX: usize = 64 << 10;

/// What a ticket was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The process has begun: nothing connects before.
    Start,
    /// The token of a hello's reply: nothing is sent before.
    Token,
    /// Another life of the outbox.
    Outbox,
    /// A command has arrived.
    Admit(CommandId),
    /// A command is about to begin.
    Begin(CommandId),
    /// A command waits for a reboot.
    Place(CommandId),
    /// A command's result.
    Finish(CommandId),
    /// The result of a command that the bridge has lost.
    TellAgain(CommandId),
    /// A report of this key.
    Report(u16),
    /// An event of this stream, of so many bytes, which stands for so many.
    Event {
        class: Class,
        bytes: usize,
        count: u64,
    },
    /// Nothing follows.
    Note,
}

impl Purpose {
    fn event_bytes(self) -> usize {
        match self {
            Self::Event { bytes, .. } => bytes,
            Self::Start
            | Self::Token
            | Self::Outbox
            | Self::Admit(_)
            | Self::Begin(_)
            | Self::Place(_)
            | Self::Finish(_)
            | Self::TellAgain(_)
            | Self::Report(_)
            | Self::Note => 0,
        }
    }
}

/// Randomness for jitter and nonces: `SplitMix64` over a seed of the operating system's.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut random = Self(0);
        random.stir(seed);
        random
    }

    /// Takes in more.
    pub(crate) fn stir(&mut self, seed: [u8; 32]) {
        for bytes in seed.as_chunks::<8>().0 {
            self.0 = self.next() ^ u64::from_le_bytes(*bytes);
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between half of `ms` and `ms`.
    pub(crate) fn jitter(&mut self, ms: u64) -> u64 {
        ms - self.next() % (ms / 2 + 1)
    }

    /// Sixteen bytes that were not given out before.
    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_le_bytes()
    }
}

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) record: NodeRecord,
    pub(crate) random: Random,
    /// What the disk last failed with, while it fails.
    pub(crate) disk: Option<String>,
    /// When the device last had no room for a command, and what the journal said.
    pub(crate) full: Option<(Monotonic, String)>,
    pub(crate) effects: VecDeque<Effect>,
    next_ticket: u64,
    open: BTreeMap<Ticket, Purpose>,
    events: EventQuota,
}

#[derive(Debug, Default)]
struct EventQuota {
    since: Monotonic,
    used: u32,
    dropped: u64,
    /// Not recorded since the last one that was, by stream.
    unwritten: [u64; 4],
}

impl Context {
    pub(crate) fn new(config: Config, record: NodeRecord, random: Random) -> Self {
        Self {
            config,
            record,
            random,
            disk: None,
            full: None,
            effects: VecDeque::new(),
            next_ticket: 1,
            open: BTreeMap::new(),
            events: EventQuota::default(),
        }
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Asks for a durable write; what follows from it waits for its ticket.
    pub(crate) fn persist(&mut self, purpose: Purpose, writes: Vec<Write>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.open.insert(ticket, purpose);
        self.push(Effect::Store(StoreOp::Persist { ticket, writes }));
    }

    /// Closes a ticket; `None` for one that is not open.
    pub(crate) fn close(&mut self, ticket: Ticket) -> Option<Purpose> {
        self.open.remove(&ticket)
    }

    /// Whether a write is not durable yet.
    pub(crate) fn is_writing(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a write for this purpose is not durable yet.
    pub(crate) fn writes(&self, purpose: Purpose) -> bool {
        self.open.values().any(|open| *open == purpose)
    }

    /// The write of the node's own record.
    pub(crate) fn node_write(&self) -> Write {
        Write::Put {
            key: NODE_KEY.into(),
            value: store::encode(&self.record),
        }
    }

    pub(crate) fn log(&mut self, level: Level, message: impl Into<String>) {
        let message = message.into();
        self.push(Effect::Log { level, message });
    }

    /// Publishes without the transport's acknowledgement.
    pub(crate) fn send(&mut self, attempt: Attempt, topic: Topic, up: &Up) {
        match up.encode() {
            Ok(frame) => self.push(Effect::Send {
                attempt,
                topic,
                frame,
                qos: Qos::AtMostOnce,
            }),
            Err(why) => self.log(Level::Error, format!("{topic} is not sent: {why}")),
        }
    }

    /// What was done to the node itself, for its stream *audit*.
    pub(crate) fn audit(&mut self, now: Monotonic, name: &str, detail: &str) {
        self.log(Level::Info, format!("{name}: {detail}"));
        self.event(now, Class::Audit, name, detail);
    }

    /// Something notable, for the stream *log*; at most some of them in a minute.
    pub(crate) fn note(&mut self, now: Monotonic, name: &str, detail: &str) {
        if now.since(self.events.since) >= 60_000 {
            self.events.since = now;
            self.events.used = 0;
        }
        if self.events.used >= EVENTS_PER_MINUTE {
            self.events.dropped += 1;
            return;
        }
        self.events.used += 1;
        self.log(Level::Warn, format!("{name}: {detail}"));
        let dropped = std::mem::take(&mut self.events.dropped);
        if dropped > 0 {
            let detail = format!("{detail} ({dropped} events before it were not recorded)");
            return self.event(now, Class::Log, name, &detail);
        }
        self.event(now, Class::Log, name, detail);
    }

    /// Records an event. While too much waits for the disk it is counted, and the count comes first
    /// as soon as there is room: nothing is missing without a word.
    fn event(&mut self, now: Monotonic, class: Class, name: &str, detail: &str) {
        let waiting: usize = self.open.values().map(|open| open.event_bytes()).sum();
        if waiting > EVENT_BYTES_MAX {
            return self.event_refused(class, 1);
        }
        self.record_refused(now);
        self.write_event(now, class, name, detail, 1);
    }

    /// So many events were not recorded.
    pub(crate) fn event_refused(&mut self, class: Class, count: u64) {
        if let Some(unwritten) = self.events.unwritten.get_mut(class.index()) {
            *unwritten = unwritten.saturating_add(count);
        }
    }

    /// Records how many events were not, where the disk and the stream take them again.
    pub(crate) fn record_refused(&mut self, now: Monotonic) {
        if self.disk.is_some() {
            return;
        }
        for class in Class::ALL {
            let unwritten = self.events.unwritten.get_mut(class.index());
            let count = unwritten.map_or(0, std::mem::take);
            if count > 0 {
                let detail = format!("{count} events were not recorded: the disk took no more");
                self.write_event(now, class, "events-lost", &detail, count);
            }
        }
    }

    fn write_event(&mut self, now: Monotonic, class: Class, name: &str, detail: &str, count: u64) {
        let event = Event {
            stamp: self.record.clock.stamp(now),
            name: heapless::String::try_from(name).unwrap_or_default(),
            detail: Text::cut(detail),
        };
        let record = match class {
            Class::Audit => Record::Audit(event),
            Class::Result | Class::State | Class::Log => Record::Log(event),
        };
        let Ok(stored) = record.to_stored() else {
            return self.log(Level::Error, format!("event {name} cannot be written"));
        };
        let purpose = Purpose::Event {
            class,
            bytes: stored.len(),
            count,
        };
        let append = Write::Append {
            class,
            key: 0,
            stored,
            reserved: None,
        };
        self.persist(purpose, vec![append]);
    }
}
