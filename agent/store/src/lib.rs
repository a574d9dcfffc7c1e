//! Performs the core's durable writes and reads on the journal, over any storage; every call blocks.
//! Never answers for a write before it is durable, and never writes a later ticket before an earlier one.

use holdfast_agent_core::{
    Entry, Input, LedgerDamage, Monotonic, Restored, StoreOp, StreamFigures, Ticket, chain,
    is_restored,
};
use holdfast_journal::{
    Config, GapReason, Journal, OpenError, ReadError, Recovery, Reservation, SaltSource, Storage,
    StreamId,
};
use holdfast_protocol::CommandId;
use holdfast_protocol::up::{self, Class, Record};
use std::collections::{HashMap, VecDeque};

mod buffer;
#[cfg(test)]
mod tests;

use buffer::{Appended, Stop, Waiting};

/// The journal and what is under way in it.
pub struct Store<S: Storage> {
    journal: Journal<S>,
    sequences_lost: bool,
    damage: LedgerDamage,
    reservations: HashMap<CommandId, Reservation>,
    /// Buffered, not yet durable.
    open: Vec<(Ticket, Appended)>,
    /// Not even buffered as a whole, because the device fails.
    waiting: VecDeque<Waiting>,
}

/// What the journal has given to its device. What a file system adds is not in it.
#[derive(Debug, Clone, Copy)]
pub struct Wear {
    /// Bytes since this process began.
    pub written_bytes: u64,
    /// Bytes since the node was registered; after a power cut up to a segment less.
    pub written_total_bytes: u64,
}

impl<S: Storage> Store<S> {
    /// Opens the journal that a storage holds, or makes a new one. `salts` tell a segment's records
    /// from what an older use of its blocks left there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        storage: S,
        bounds: &Config,
        salts: SaltSource,
    ) -> Result<(Self, Recovery), OpenError> {
        let (journal, recovery) = Journal::open(storage, bounds, salts)?;
        let lost_results = lost_results(&journal, &recovery)?;
        let store = Self {
            journal,
            sequences_lost: recovery.cursor_lost || recovery.end_lost,
            damage: LedgerDamage {
                doubtful: names(&recovery.doubtful),
                lost_results,
                records: recovery.damaged_records,
            },
            reservations: HashMap::new(),
            open: Vec::new(),
            waiting: VecDeque::new(),
        };
        Ok((store, recovery))
    }

    /// What the core begins with.
    ///
    /// # Errors
    /// [`ReadError`] when the device fails; damage is not an error, but makes keys doubtful.
    pub fn restored(
        &mut self,
        boot_id: [u8; 16],
        random: [u8; 32],
        now: Monotonic,
    ) -> Result<Restored, ReadError> {
        let mut ledger = Vec::new();
        let keys: Vec<Vec<u8>> = self
            .journal
            .ledger()
            .keys(b"")
            .map(<[u8]>::to_vec)
            .collect();
        let mut damage = self.damage.clone();
        for key in keys {
            let name = String::from_utf8_lossy(&key).into_owned();
            if !is_restored(&name) {
                continue;
            }
            match self.journal.ledger().get(&key) {
                Ok(value) => ledger.extend(value.map(|value| (name, value))),
                // It was whole a moment ago, when the journal was opened.
                Err(ReadError::Damaged { .. }) => damage.doubtful.push(name),
                Err(error) => return Err(error),
            }
        }
        Ok(Restored {
            ledger,
            streams: self.figures(),
            secured: self.journal.is_secured(),
            boot_id,
            random,
            sequences_lost: self.sequences_lost,
            damage,
            now,
        })
    }

    /// Newest durable sequence of a stream.
    #[must_use]
    pub fn durable(&self, class: Class) -> u64 {
        self.journal.durable(stream_of(class))
    }

    /// Whether the ledger has an entry.
    pub fn knows(&mut self, key: &str) -> bool {
        self.journal.ledger().contains(key.as_bytes())
    }

    /// What the journal has written.
    #[must_use]
    pub fn wear(&self) -> Wear {
        let status = self.journal.status();
        Wear {
            written_bytes: status.written_bytes,
            written_total_bytes: status.written_total_bytes,
        }
    }

    /// Whether writes wait for the device.
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        !self.open.is_empty() || !self.waiting.is_empty()
    }

    /// Performs the work in order, all writes with one sync; returns what it came to.
    pub fn perform(&mut self, ops: Vec<StoreOp>) -> Vec<Input> {
        let mut answers = Vec::new();
        let mut checkpoint = false;
        let mut released = false;
        for op in ops {
            match op {
                StoreOp::Persist { ticket, writes } => {
                    self.waiting.push_back(Waiting::new(ticket, writes));
                }
                StoreOp::Release { class, up_to } => {
                    self.release(class, up_to);
                    released = true;
                }
                StoreOp::Read {
                    class,
                    from,
                    up_to,
                    max_records,
                    max_bytes,
                } => answers.push(self.read(class, from, up_to, max_records, max_bytes)),
                StoreOp::Load { key } => answers.push(self.load(key)),
                StoreOp::Checkpoint => checkpoint = true,
            }
        }
        self.persist(&mut answers);
        if released {
            let streams = self.figures();
            answers.push(Input::Released { streams });
        }
        if checkpoint && let Err(error) = self.journal.checkpoint() {
            tracing::warn!(error = chain(&error), "acknowledgements are not durable");
        }
        answers
    }

    fn persist(&mut self, answers: &mut Vec<Input>) {
        let mut device = None;
        while let Some(mut waiting) = self.waiting.pop_front() {
            let ticket = waiting.ticket;
            match self.buffer(&mut waiting) {
                Ok(()) => self.open.push((ticket, waiting.appended)),
                Err(Stop::Refused(why)) => answers.push(Input::PersistFailed { ticket, why }),
                Err(Stop::Device(why)) => {
                    self.waiting.push_front(waiting);
                    device = Some(why);
                    break;
                }
            }
        }
        if !self.open.is_empty() {
            match self.journal.sync() {
                Ok(done) => {
                    if let Some(error) = done.housekeeping {
                        tracing::debug!(error = chain(&error), "the journal tidies up later");
                    }
                    let durable = std::mem::take(&mut self.open);
                    let streams = self.figures();
                    let sequences = |appended: Appended| appended.into_iter().map(|(_, s)| s);
                    answers.extend(durable.into_iter().map(|(ticket, appended)| {
                        Input::Persisted {
                            ticket,
                            appended: sequences(appended).collect(),
                            streams,
                        }
                    }));
                }
                Err(error) => device = Some(chain(&error)),
            }
        }
        if let Some(why) = device {
            let open = self.open.iter().map(|(ticket, _)| *ticket);
            let waiting = self.waiting.iter().map(|waiting| waiting.ticket);
            answers.extend(open.chain(waiting).map(|ticket| Input::PersistDelayed {
                ticket,
                why: why.clone(),
            }));
        }
    }

    fn release(&mut self, class: Class, up_to: u64) {
        if let Err(error) = self.journal.release(stream_of(class), up_to) {
            tracing::debug!(
                class = class.name(),
                error = chain(&error),
                "space comes back later"
            );
        }
    }

    fn read(
        &self,
        class: Class,
        from: u64,
        up_to: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Input {
        match self.journal.read(stream_of(class), from, max_bytes) {
            Ok(entries) => Input::Records {
                class,
                from,
                entries: entries
                    .into_iter()
                    .map(|entry| entry_of(class, entry))
                    .take_while(|entry| first_of(entry) <= up_to)
                    .take(max_records)
                    .collect(),
            },
            Err(error) => Input::ReadFailed {
                class,
                why: chain(&error),
            },
        }
    }

    fn load(&mut self, key: String) -> Input {
        let value = self.journal.ledger().get(key.as_bytes());
        let value = value.unwrap_or_else(|error| {
            tracing::warn!(key, error = chain(&error), "a ledger entry cannot be read");
            None
        });
        Input::Loaded { key, value }
    }

    /// The streams as they are. Each ends before the first record of a ticket that is not durable as
    /// a whole: told, such a record would outlive the ledger's word of it.
    #[must_use]
    pub fn figures(&self) -> [StreamFigures; 4] {
        let status = self.journal.status();
        let open = self.open.iter().flat_map(|(_, appended)| appended);
        let waiting = self.waiting.iter().flat_map(|waiting| &waiting.appended);
        let unfinished: Vec<_> = open.chain(waiting).collect();
        Class::ALL.map(|class| {
            let of_class = unfinished.iter().filter(|(of, _)| *of == class);
            let first = of_class.map(|(_, sequence)| *sequence).min();
            let id = stream_of(class);
            let found = status.streams.iter().find(|found| found.stream == id);
            found.map_or_else(StreamFigures::default, |found| StreamFigures {
                head: first.map_or(found.durable, |first| found.durable.min(first - 1)),
                released: found.released,
                used_bytes: found.used_bytes,
                reserved_bytes: found.reserved_bytes,
                cap_bytes: found.cap_bytes,
                records: found.records,
                lost: found.damaged_records + found.evicted.saturating_sub(found.released),
            })
        })
    }
}

fn names(keys: &[Vec<u8>]) -> Vec<String> {
    let keys = keys.iter();
    keys.map(|key| String::from_utf8_lossy(key).into_owned())
        .collect()
}

/// Commands whose terminal update is damaged, as far as one flipped bit lets it be told.
fn lost_results<S: Storage>(
    journal: &Journal<S>,
    recovery: &Recovery,
) -> Result<Vec<CommandId>, OpenError> {
    let mut lost = Vec::new();
    for damage in &recovery.damaged {
        if damage.stream == StreamId::RESULT
            && let Some(stored) = journal.salvage(damage)?
            && let Ok(Record::Invocation(update)) = Record::from_stored(&stored)
            && update.state.is_terminal()
        {
            lost.push(update.command);
        }
    }
    Ok(lost)
}

pub(crate) fn stream_of(class: Class) -> StreamId {
    match class {
        Class::Result => StreamId::RESULT,
        Class::Audit => StreamId::AUDIT,
        Class::State => StreamId::STATE,
        Class::Log => StreamId::LOG,
    }
}

pub(crate) fn class_of(stream: StreamId) -> Option<Class> {
    Class::ALL
        .into_iter()
        .find(|class| stream_of(*class) == stream)
}

fn entry_of(class: Class, entry: holdfast_journal::Entry) -> Entry {
    match entry {
        holdfast_journal::Entry::Record { seq, payload, .. } => Entry::Record {
            sequence: seq,
            stored: payload,
        },
        holdfast_journal::Entry::Gap {
            first,
            last,
            reason,
        } => Entry::Gap {
            first,
            last,
            reason: match (reason, class) {
                (GapReason::Damaged, _) => up::GapReason::Damaged,
                // Of this stream only what a newer report replaced is given up.
                (GapReason::Evicted, Class::State) => up::GapReason::Superseded,
                (GapReason::Evicted, _) => up::GapReason::Evicted,
            },
        },
    }
}

fn first_of(entry: &Entry) -> u64 {
    match *entry {
        Entry::Record { sequence, .. } => sequence,
        Entry::Gap { first, .. } => first,
    }
}
