//! A machine's disk: the journal's real code over its simulated storage, with the shell's order of work.
//! Never answers for a write before the journal has synced it.

use holdfast_agent_core::{
    Entry, Input, Monotonic, PersistRefusal, Restored, StreamFigures, Ticket, Write, is_restored,
};
use holdfast_journal::{
    Config, GapReason, Journal, Policy, Refusal, Reservation, SimStorage, StreamConfig, StreamId,
};
use holdfast_protocol::CommandId;
use holdfast_protocol::up::{self, Class};
use std::collections::{BTreeMap, VecDeque};

/// Bound of each stream; small, so that full disks happen.
pub(crate) const STREAM_BYTES_MAX: u64 = 192 << 10;

/// One piece of work for the journal.
#[derive(Debug)]
pub(crate) enum Work {
    Persist {
        ticket: Ticket,
        writes: Vec<Write>,
    },
    Release {
        class: Class,
        up_to: u64,
    },
    Read {
        class: Class,
        from: u64,
        up_to: u64,
        max_records: usize,
        max_bytes: usize,
    },
    Load {
        key: String,
    },
}

/// An open journal.
pub(crate) struct Disk {
    journal: Journal<SimStorage>,
    reservations: BTreeMap<CommandId, Reservation>,
    open: Vec<(Ticket, Vec<u64>)>,
    waiting: VecDeque<(Ticket, Vec<Write>)>,
    pub(crate) cursor_lost: bool,
}

enum Stop {
    Refused(PersistRefusal),
    Device(String),
}

fn config() -> Config {
    let stream = |stream, policy| StreamConfig {
        stream,
        cap_bytes: STREAM_BYTES_MAX,
        policy,
    };
    Config {
        segment_bytes: 16 << 10,
        streams: vec![
            stream(StreamId::RESULT, Policy::Refuse),
            stream(StreamId::AUDIT, Policy::Refuse),
            stream(StreamId::STATE, Policy::NewestPerKey),
            stream(StreamId::LOG, Policy::OldestFirst),
        ],
        ledger_cap_bytes: 256 << 10,
    }
}

impl Disk {
    /// Opens what a disk holds; the error is the device's.
    pub(crate) fn open(storage: &SimStorage, seed: u64) -> Result<Self, String> {
        let mut salts = crate::random::Random::new(seed);
        let salts = Box::new(move || salts.next());
        let (journal, recovery) =
            Journal::open(storage.clone(), &config(), salts).map_err(|why| chain(&why))?;
        Ok(Self {
            journal,
            reservations: BTreeMap::new(),
            open: Vec::new(),
            waiting: VecDeque::new(),
            cursor_lost: recovery.cursor_lost,
        })
    }

    /// What a core begins with.
    pub(crate) fn restored(
        &mut self,
        boot_id: [u8; 16],
        random: [u8; 32],
        now: Monotonic,
    ) -> Result<Restored, String> {
        let ledger: Result<Vec<_>, _> = self
            .journal
            .ledger()
            .iter(b"")
            .map(|entry| {
                entry.map(|(key, value)| (String::from_utf8_lossy(&key).into_owned(), value))
            })
            .collect();
        let mut ledger = ledger.map_err(|why| chain(&why))?;
        ledger.retain(|(key, _)| is_restored(key));
        Ok(Restored {
            ledger,
            streams: self.figures(),
            boot_id,
            random,
            sequences_lost: self.cursor_lost,
            now,
        })
    }

    /// Newest durable sequence of a stream.
    pub(crate) fn durable(&self, class: Class) -> u64 {
        self.journal.durable(stream_of(class))
    }

    /// Whether the ledger has an entry of a command.
    pub(crate) fn knows(&mut self, command: &CommandId) -> bool {
        self.journal
            .ledger()
            .contains(format!("command/{command}").as_bytes())
    }

    /// Performs the work in order, all writes under one sync.
    pub(crate) fn perform(&mut self, work: Vec<Work>) -> Vec<Input> {
        let mut answers = Vec::new();
        let mut released = false;
        for work in work {
            match work {
                Work::Persist { ticket, writes } => self.waiting.push_back((ticket, writes)),
                Work::Release { class, up_to } => {
                    // A device that fails only delays the reclaiming of space.
                    let _ = self.journal.release(stream_of(class), up_to);
                    released = true;
                }
                Work::Read {
                    class,
                    from,
                    up_to,
                    max_records,
                    max_bytes,
                } => answers.push(self.read(class, from, up_to, max_records, max_bytes)),
                Work::Load { key } => {
                    let value = self
                        .journal
                        .ledger()
                        .get(key.as_bytes())
                        .unwrap_or_default();
                    answers.push(Input::Loaded { key, value });
                }
            }
        }
        self.persist(&mut answers);
        if released {
            let streams = self.figures();
            answers.push(Input::Released { streams });
        }
        answers
    }

    /// Whether writes wait for a device that fails.
    pub(crate) fn is_delayed(&self) -> bool {
        !self.open.is_empty() || !self.waiting.is_empty()
    }

    fn persist(&mut self, answers: &mut Vec<Input>) {
        let mut fault = None;
        while let Some((ticket, writes)) = self.waiting.pop_front() {
            match self.buffer(&writes) {
                Ok(appended) => self.open.push((ticket, appended)),
                Err(Stop::Refused(why)) => answers.push(Input::PersistFailed { ticket, why }),
                Err(Stop::Device(why)) => {
                    self.waiting.push_front((ticket, writes));
                    fault = Some(why);
                    break;
                }
            }
        }
        if !self.open.is_empty() {
            match self.journal.sync() {
                Ok(_) => {
                    let streams = self.figures();
                    let open = std::mem::take(&mut self.open);
                    answers.extend(open.into_iter().map(|(ticket, appended)| Input::Persisted {
                        ticket,
                        appended,
                        streams,
                    }));
                }
                Err(why) => fault = Some(chain(&why)),
            }
        }
        if let Some(why) = fault {
            let open = self.open.iter().map(|(ticket, _)| *ticket);
            let tickets = open.chain(self.waiting.iter().map(|(ticket, _)| *ticket));
            answers.extend(tickets.map(|ticket| Input::PersistDelayed {
                ticket,
                why: why.clone(),
            }));
        }
    }

    fn buffer(&mut self, writes: &[Write]) -> Result<Vec<u64>, Stop> {
        let mut appended = Vec::new();
        for write in writes {
            match write {
                Write::Reserve { command, bytes } => self.reserve(*command, *bytes)?,
                Write::Append {
                    class,
                    key,
                    stored,
                    reserved,
                } => {
                    let reservation = reserved.and_then(|id| self.reservations.get_mut(&id));
                    let sequence = match reservation {
                        Some(room) => self.journal.append_reserved(room, *key, stored),
                        None => self.journal.append_keyed(stream_of(*class), *key, stored),
                    };
                    appended.push(sequence.map_err(|why| stop_of(&why))?);
                }
                Write::Put { key, value } => {
                    let put = self.journal.ledger().put(key.as_bytes(), value);
                    put.map_err(|why| stop_of(&why))?;
                }
                Write::Remove { key } => {
                    let removed = self.journal.ledger().remove(key.as_bytes());
                    removed.map_err(|why| stop_of(&why))?;
                }
                Write::Unreserve { command } => {
                    if let Some(room) = self.reservations.remove(command) {
                        self.journal.unreserve(room);
                    }
                }
            }
        }
        Ok(appended)
    }

    fn reserve(&mut self, command: CommandId, bytes: u64) -> Result<(), Stop> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let room = self
            .journal
            .reserve(StreamId::RESULT, bytes)
            .map_err(|why| stop_of(&why))?;
        if let Some(old) = self.reservations.insert(command, room) {
            self.journal.unreserve(old);
        }
        Ok(())
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
                    .map(entry_of)
                    .filter(|entry| entry.last() <= up_to || matches!(entry, Entry::Gap { .. }))
                    .take(max_records)
                    .collect(),
            },
            Err(why) => Input::ReadFailed {
                class,
                why: chain(&why),
            },
        }
    }

    /// The streams as they are.
    pub(crate) fn figures(&self) -> [StreamFigures; 4] {
        let status = self.journal.status();
        Class::ALL.map(|class| {
            let id = stream_of(class);
            let found = status.streams.iter().find(|found| found.stream == id);
            found.map_or_else(StreamFigures::default, |found| StreamFigures {
                head: found.durable,
                released: found.released,
                used_bytes: found.used_bytes,
                reserved_bytes: found.reserved_bytes,
                cap_bytes: found.cap_bytes,
                records: found.records,
                lost: found.damaged_records,
            })
        })
    }
}

fn stream_of(class: Class) -> StreamId {
    match class {
        Class::Result => StreamId::RESULT,
        Class::Audit => StreamId::AUDIT,
        Class::State => StreamId::STATE,
        Class::Log => StreamId::LOG,
    }
}

fn stop_of(refusal: &Refusal) -> Stop {
    let why = chain(refusal);
    match refusal {
        Refusal::Full {
            stream, cap_bytes, ..
        } => {
            let cap_bytes = *cap_bytes;
            let class = Class::ALL
                .into_iter()
                .find(|class| stream_of(*class) == *stream);
            Stop::Refused(match class {
                Some(class) => PersistRefusal::Stream { class, cap_bytes },
                None => PersistRefusal::Ledger { cap_bytes },
            })
        }
        Refusal::DeviceFull { .. }
        | Refusal::TooLarge { .. }
        | Refusal::BadKey { .. }
        | Refusal::UnknownStream { .. } => Stop::Refused(PersistRefusal::Disk { why }),
        Refusal::Unsynced(_) | Refusal::Storage(_) => Stop::Device(why),
    }
}

fn entry_of(entry: holdfast_journal::Entry) -> Entry {
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
            reason: match reason {
                GapReason::Damaged => up::GapReason::Damaged,
                GapReason::Evicted => up::GapReason::Evicted,
            },
        },
    }
}

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
