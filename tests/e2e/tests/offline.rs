//! Three days without a link, minute by minute, in a journal of 8 MiB on a simulated disk: nothing is dropped.
//! Never waits: the journal reads no clock, so that a minute is an append.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{Random, say};
use holdfast_journal::{
    Config, Entry, Journal, Policy, SimStorage, Storage as _, StreamConfig, StreamId,
};

const HOURS: u64 = 72;
const RESULT_BYTES: usize = 1024;
/// 700 packages whole, deflated.
const INVENTORY_BYTES: usize = 7_500;
const INVENTORY: u16 = 7;
const MIB: u64 = 1 << 20;

/// Every bound together: 8 MiB. Those of the shipped agent hold 40 MiB.
fn bounds() -> Config {
    let stream = |stream, cap_bytes, policy| StreamConfig {
        stream,
        cap_bytes,
        policy,
    };
    Config {
        streams: vec![
            stream(StreamId::RESULT, 6 * MIB, Policy::Refuse),
            stream(StreamId::AUDIT, MIB / 2, Policy::Refuse),
            stream(StreamId::STATE, MIB / 2, Policy::NewestPerKey),
            stream(StreamId::LOG, MIB / 2, Policy::OldestFirst),
        ],
        ledger_cap_bytes: MIB / 2,
        ..Config::default()
    }
}

fn open(storage: &SimStorage) -> Journal<SimStorage> {
    let mut salt = 0;
    let salts = Box::new(move || {
        salt += 1;
        salt
    });
    let (journal, recovery) = Journal::open(storage.clone(), &bounds(), salts).unwrap();
    assert_eq!(recovery.damaged_records, 0);
    journal
}

fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    (0..bytes)
        .map(|_| random.number().to_le_bytes()[0])
        .collect()
}

/// What is there of a stream: numbers of the records that are whole, and how many a gap stands for.
fn held(journal: &Journal<SimStorage>, stream: StreamId) -> (Vec<Vec<u8>>, u64) {
    let (mut records, mut missing, mut from) = (Vec::new(), 0, 1);
    loop {
        let page = journal.read(stream, from, 1 << 20).unwrap();
        let Some(last) = page.last() else {
            return (records, missing);
        };
        from = match last {
            Entry::Record { seq, .. } => *seq,
            Entry::Gap { last, .. } => *last,
        } + 1;
        for entry in page {
            match entry {
                Entry::Record { payload, .. } => records.push(payload),
                Entry::Gap { first, last, .. } => missing += last - first + 1,
            }
        }
    }
}

#[test]
fn three_days_offline_fit_into_a_journal_of_8_mib() {
    let mut storage = SimStorage::new();
    let mut journal = open(&storage);
    let mut refused = 0;
    for minute in 0..HOURS * 60 {
        let result = payload(minute, RESULT_BYTES);
        refused += u64::from(journal.append(StreamId::RESULT, &result).is_err());
        if minute % 30 == 0 {
            let inventory = payload(minute, INVENTORY_BYTES);
            journal
                .append_keyed(StreamId::STATE, INVENTORY, &inventory)
                .unwrap();
        }
        journal.sync().unwrap();
        // The power goes every six hours.
        if minute % 360 == 359 {
            storage = storage.restart(minute);
            journal = open(&storage);
        }
    }
    let (results, gone) = held(&journal, StreamId::RESULT);
    let whole = (0..)
        .zip(&results)
        .all(|(minute, found)| *found == payload(minute, RESULT_BYTES));
    assert!(whole, "a result is another");
    let dropped = HOURS * 60 - results.len() as u64;
    assert_eq!(gone + refused, dropped);
    let (inventories, _) = held(&journal, StreamId::STATE);
    let newest = payload(HOURS * 60 - 30, INVENTORY_BYTES);
    assert_eq!(inventories.last(), Some(&newest));
    let on_disk: u64 = storage.list().unwrap().iter().map(|file| file.bytes).sum();
    let used = |stream| {
        let status = journal.status();
        let found = status.streams.iter().find(|one| one.stream == stream);
        found.unwrap().used_bytes as f64 / MIB as f64
    };
    say(format!(
        "{HOURS} h offline: results take {:.2} MiB, reports {:.2} MiB; the files {:.2} MiB",
        used(StreamId::RESULT),
        used(StreamId::STATE),
        on_disk as f64 / MIB as f64
    ));
    let results = results.len() as f64;
    figures::record("results kept over 72 h", results, "", Bound::None);
    let none = Bound::Exactly(0.0);
    assert!(figures::record("results dropped", dropped as f64, "", none));
    let files = on_disk as f64 / MIB as f64;
    figures::record("the journal's files", files, "MiB", Bound::AtMost(8.0));
}
