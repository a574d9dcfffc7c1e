//! Random histories with faults at every operation, checked against a model of what was promised.
//! It never asks for more than the promises: what was not synced may survive whole or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;

use common::{cases, config, payload_of, salts, seed};
use holdfast_journal::{Entry, Fault, GapReason, Journal, Recovery, Refusal, SimStorage, StreamId};
use proptest::{
    prelude::*,
    test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner},
};

#[derive(Debug, Clone)]
enum Op {
    Append { stream: u8, key: u16, len: usize },
    Sync,
    Release { stream: u8, share: u64 },
    Put { key: u8, len: usize },
    Remove { key: u8 },
    SyncFails { after: u64 },
    NoSpace { left: u64 },
    Space,
    PowerCut { after: u64 },
    Crash { seed: u64 },
    Kill,
    Stop,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![8 => 0usize..600, 2 => 600usize..5000, 1 => 5000usize..40_000];
    prop_oneof![
        30 => (0u8..4, 0u16..4, len.clone())
            .prop_map(|(stream, key, len)| Op::Append { stream, key, len }),
        12 => Just(Op::Sync),
        8 => (0u8..4, 0u64..=100).prop_map(|(stream, share)| Op::Release { stream, share }),
        8 => (0u8..6, len).prop_map(|(key, len)| Op::Put { key, len }),
        2 => (0u8..6).prop_map(|key| Op::Remove { key }),
        2 => (0u64..6).prop_map(|after| Op::SyncFails { after }),
        1 => (0u64..40_000).prop_map(|left| Op::NoSpace { left }),
        2 => Just(Op::Space),
        2 => (0u64..12).prop_map(|after| Op::PowerCut { after }),
        3 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
        2 => Just(Op::Kill),
        1 => Just(Op::Stop),
    ]
}

/// What a stream was given and what it promised.
#[derive(Debug, Default)]
struct StreamModel {
    given: BTreeMap<u64, (u16, Vec<u8>)>,
    last: u64,
    durable: u64,
    released: u64,
    /// State only: number of the newest synced record of each key.
    newest: BTreeMap<u16, u64>,
}

/// What a key may hold: the last durable value, and all since.
type Candidates = Vec<Option<Vec<u8>>>;

struct World {
    storage: SimStorage,
    journal: Option<Journal<SimStorage>>,
    streams: BTreeMap<StreamId, StreamModel>,
    ledger: BTreeMap<u8, Candidates>,
    state_log: Vec<(u16, u64)>,
    number: u64,
    opened: u64,
}

impl World {
    fn new() -> Self {
        let streams = (0..4).map(|id| (StreamId::new(id), StreamModel::default()));
        let mut world = Self {
            storage: SimStorage::new(),
            journal: None,
            streams: streams.collect(),
            ledger: (0..6).map(|key| (key, vec![None])).collect(),
            state_log: Vec::new(),
            number: 0,
            opened: 0,
        };
        world.open(1);
        world
    }

    fn journal(&mut self) -> &mut Journal<SimStorage> {
        self.journal.as_mut().unwrap()
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append { stream, key, len } => self.append(StreamId::new(stream), key, len),
            Op::Sync => self.sync(),
            Op::Release { stream, share } => {
                let stream = StreamId::new(stream);
                let journal = self.journal();
                let (from, to) = (journal.released(stream), journal.durable(stream));
                let up_to = from + (to - from) * share / 100;
                // An error only delays the reclaiming.
                drop(journal.release(stream, up_to));
                assert_eq!(journal.released(stream), up_to);
                self.streams.get_mut(&stream).unwrap().released = up_to;
            }
            Op::Put { key, len } => {
                self.number += 1;
                let value = payload_of(self.number, len);
                if self.journal().ledger().put(&[key], &value).is_ok() {
                    self.ledger.get_mut(&key).unwrap().push(Some(value));
                }
            }
            Op::Remove { key } => {
                if self.journal().ledger().remove(&[key]).is_ok() {
                    self.ledger.get_mut(&key).unwrap().push(None);
                }
            }
            Op::SyncFails { after } => self.storage.arm(Fault::SyncFails(after)),
            Op::NoSpace { left } => {
                let info = holdfast_journal::Storage::list(&self.storage).unwrap_or_default();
                let held: u64 = info.iter().map(|file| file.bytes).sum();
                self.storage.arm(Fault::Capacity(held + left));
            }
            Op::Space => self.storage.arm(Fault::Capacity(u64::MAX)),
            Op::PowerCut { after } => self.storage.arm(Fault::PowerCut(after)),
            Op::Crash { seed } => {
                self.journal = None;
                self.storage = self.storage.restart(seed);
                self.open(seed);
            }
            Op::Kill => {
                self.journal = None;
                self.open(self.number);
            }
            Op::Stop => {
                let stopped = self.journal().checkpoint().is_ok();
                let released: Vec<_> = self
                    .streams
                    .iter()
                    .map(|(id, s)| (*id, s.released))
                    .collect();
                self.journal = None;
                self.open(self.number);
                for (id, released) in released.into_iter().filter(|_| stopped) {
                    assert_eq!(self.journal().released(id), released);
                }
            }
        }
    }

    fn append(&mut self, stream: StreamId, key: u16, len: usize) {
        self.number += 1;
        let number = self.number;
        let mut payload = number.to_le_bytes().to_vec();
        payload.extend(payload_of(number, len));
        match self.journal().append_keyed(stream, key, &payload) {
            Ok(seq) => {
                let model = self.streams.get_mut(&stream).unwrap();
                assert!(seq > model.durable);
                if stream != StreamId::STATE {
                    assert!(
                        seq == model.last + 1,
                        "{stream}: {seq} after {}",
                        model.last
                    );
                }
                model.last = seq;
                model.given.insert(seq, (key, payload));
                if stream == StreamId::STATE {
                    self.state_log.push((key, number));
                }
            }
            Err(Refusal::Full {
                cap_bytes,
                used_bytes,
                need_bytes,
                ..
            }) => {
                assert!(used_bytes + need_bytes > cap_bytes);
            }
            Err(Refusal::Unsynced(_)) => {}
            Err(other) => panic!("{other}"),
        }
        // Making room in the buffer may have synced.
        self.note_durable();
    }

    fn note_durable(&mut self) {
        for (id, model) in &mut self.streams {
            let durable = self.journal.as_ref().unwrap().durable(*id);
            assert!(durable >= model.durable);
            model.durable = durable;
        }
    }

    fn sync(&mut self) {
        let Ok(done) = self.journal().sync() else {
            self.note_durable();
            return;
        };
        for values in self.ledger.values_mut() {
            values.drain(..values.len() - 1);
        }
        let newest: BTreeMap<_, _> = self.state_log.iter().copied().collect();
        let state = self.streams.get_mut(&StreamId::STATE).unwrap();
        state.newest = newest;
        let last = self.streams.values().map(|model| model.last);
        for ((id, _), last) in self.streams.iter().zip(last) {
            assert!(self.journal.as_ref().unwrap().durable(*id) >= last, "{id}");
        }
        self.note_durable();
        if done.housekeeping.is_none() {
            for status in self.journal().status().streams {
                // A ledger segment and a commit may stand above while entries are alive.
                let slack = 2 * 16 * 1024
                    + 45_000
                    + status.cap_bytes * u64::from(status.stream == StreamId::LEDGER);
                assert!(status.used_bytes <= status.cap_bytes + slack, "{status:?}");
            }
        }
        self.check();
    }

    /// Opens the journal whatever faults are armed, and checks what it found.
    fn open(&mut self, seed: u64) {
        for attempt in 0u64.. {
            assert!(attempt < 40, "the journal does not open any more");
            self.opened += 1;
            match Journal::open(self.storage.clone(), &config(), salts(seed ^ self.opened)) {
                // What it reads is not all durable yet: as if it had not opened. `faults.rs` goes on.
                Ok((_, recovery)) if recovery.takes_no_writes.is_some() => {
                    self.storage = self.storage.restart(seed ^ attempt);
                }
                Ok((journal, recovery)) => {
                    self.journal = Some(journal);
                    self.recovered(&recovery);
                    return;
                }
                Err(_) => self.storage = self.storage.restart(seed ^ attempt),
            }
        }
    }

    fn recovered(&mut self, recovery: &Recovery) {
        assert!(!recovery.cursor_lost);
        for damage in &recovery.damaged {
            let Some(model) = self.streams.get(&damage.stream) else {
                continue;
            };
            for seq in damage.first..=damage.last {
                assert!(
                    seq > model.durable || !model.given.contains_key(&seq),
                    "{damage:?}"
                );
            }
        }
        let journal = self.journal.as_ref().unwrap();
        for (id, model) in &mut self.streams {
            let durable = journal.durable(*id);
            assert!(
                durable >= model.durable,
                "{id}: {durable} < {}",
                model.durable
            );
            assert!(journal.released(*id) <= model.released);
            model.released = journal.released(*id);
            model.given.retain(|seq, _| *seq <= durable);
            model.last = durable;
        }
        self.check();
        // From now on, exactly what was found is promised.
        let journal = self.journal.as_mut().unwrap();
        for (id, model) in &mut self.streams {
            let found = journal.read(*id, 1, usize::MAX).unwrap();
            let gaps = found.iter().filter_map(|entry| match entry {
                Entry::Gap { first, last, .. } => Some(*first..=*last),
                Entry::Record { .. } => None,
            });
            gaps.flatten().for_each(|seq| {
                model.given.remove(&seq);
            });
            model.durable = journal.durable(*id);
            if *id == StreamId::STATE {
                model.newest = newest_of(&found);
                self.state_log = model.newest.clone().into_iter().collect();
            }
        }
        let ledger = journal.ledger();
        for (key, values) in &mut self.ledger {
            *values = vec![ledger.get(&[*key]).unwrap()];
        }
    }

    fn check(&mut self) {
        let Ok(_) = holdfast_journal::Storage::list(&self.storage) else {
            return;
        };
        let journal = self.journal.as_mut().unwrap();
        for (id, model) in &self.streams {
            let entries = read_in_pages(journal, *id);
            let mut next = journal.released(*id) + 1;
            for entry in &entries {
                match entry {
                    Entry::Record { seq, key, payload } => {
                        assert_eq!(*seq, next);
                        if *id != StreamId::STATE {
                            assert_eq!(
                                model.given.get(seq),
                                Some(&(*key, payload.clone())),
                                "{id} {seq}"
                            );
                        } else {
                            let number = number_of(payload);
                            assert_eq!(payload[8..], payload_of(number, payload.len() - 8));
                        }
                    }
                    Entry::Gap {
                        first,
                        last,
                        reason,
                    } => {
                        assert_eq!(*first, next);
                        let evicts = *id == StreamId::LOG || *id == StreamId::STATE;
                        assert!(evicts || *reason == GapReason::Damaged);
                        if *reason == GapReason::Damaged && *id != StreamId::STATE {
                            let promised =
                                |seq: &u64| *seq <= model.durable && model.given.contains_key(seq);
                            assert!(
                                !(*first..=*last).any(|seq| promised(&seq)),
                                "{id} {entry:?}"
                            );
                        }
                    }
                }
                next = entry.last_seq() + 1;
            }
            assert_eq!(next, journal.durable(*id) + 1, "{id}");
            if *id == StreamId::STATE && model.released == 0 {
                let found = newest_of(&entries);
                for (key, number) in &model.newest {
                    assert!(found.get(key) >= Some(number), "state {key} lost");
                }
            }
        }
        let ledger = journal.ledger();
        for (key, values) in &self.ledger {
            let found = ledger.get(&[*key]).unwrap();
            assert!(values.contains(&found), "ledger {key}");
        }
    }
}

fn number_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

/// The number in the last record of each key.
fn newest_of(entries: &[Entry]) -> BTreeMap<u16, u64> {
    let mut newest = BTreeMap::new();
    for entry in entries {
        if let Entry::Record { key, payload, .. } = entry {
            let before = newest.insert(*key, number_of(payload));
            assert!(before <= newest.get(key).copied(), "an old state came back");
        }
    }
    newest
}

fn read_in_pages(journal: &Journal<SimStorage>, id: StreamId) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let from = entries.last().map_or(1, |entry| entry.last_seq() + 1);
        let page = journal.read(id, from, 3000).unwrap();
        if page.is_empty() {
            return entries;
        }
        entries.extend(page);
    }
}

#[test]
fn no_history_of_faults_breaks_a_promise() {
    let seed = seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let runs = Runs {
        cases: u32::try_from(cases(150)).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..Runs::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(runs, rng);
    runner
        .run(&prop::collection::vec(op(), 1..150), |ops| {
            let mut world = World::new();
            for op in &ops {
                world.apply(op);
            }
            world.apply(&Op::Crash { seed });
            Ok(())
        })
        .unwrap();
}
