//! Golden files: what a journal of format 1 looks like on disk. A change here is a new version of the
//! format, never an edit of these bytes: an agent that replaces an older one finds them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use common::config;
use holdfast_journal::{Entry, FORMAT_VERSION, Journal, SimStorage, Storage, StreamId};
use std::fmt::Write as _;

/// Bytes in which a file is told: those that are all zero are left out.
const PIECE: usize = 32;

fn written() -> SimStorage {
    let storage = SimStorage::new();
    let mut salt = 0x0123_4567_89ab_cdef_u64;
    let salts = Box::new(move || {
        salt = salt.rotate_left(8) ^ 0x5a;
        salt
    });
    let (mut journal, _) = Journal::open(storage.clone(), &config(), salts).unwrap();
    for payload in [&b"one"[..], b"two", b"three"] {
        journal.append(StreamId::RESULT, payload).unwrap();
    }
    journal
        .append_keyed(StreamId::STATE, 7, b"a report")
        .unwrap();
    journal.append(StreamId::LOG, b"a line").unwrap();
    journal.ledger().put(b"node", b"a record").unwrap();
    journal.ledger().put(b"gone", b"soon").unwrap();
    journal.sync().unwrap();
    journal.ledger().remove(b"gone").unwrap();
    journal.sync().unwrap();
    journal.release(StreamId::RESULT, 1).unwrap();
    journal.checkpoint().unwrap();
    storage
}

/// A line for each file and each piece of it that is not zero.
fn told(storage: &SimStorage) -> String {
    let mut text = String::new();
    let mut files = storage.list().unwrap();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    for file in files {
        writeln!(text, "{} {}", file.name, file.bytes).unwrap();
        let contents = storage.contents(&file.name).unwrap();
        for (at, piece) in contents.chunks(PIECE).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "  {} {hex}", at * PIECE).unwrap();
            }
        }
    }
    text
}

fn untold(text: &str) -> SimStorage {
    let storage = SimStorage::new();
    let mut open: Option<(String, Vec<u8>)> = None;
    for line in text.lines() {
        let (first, second) = line.trim().split_once(' ').unwrap();
        if let Some(piece) = line.strip_prefix("  ") {
            assert!(piece.starts_with(first));
            let (_, bytes) = open.as_mut().unwrap();
            let at: usize = first.parse().unwrap();
            for (nth, digits) in second.as_bytes().chunks(2).enumerate() {
                let digits = std::str::from_utf8(digits).unwrap();
                bytes[at + nth] = u8::from_str_radix(digits, 16).unwrap();
            }
            continue;
        }
        if let Some((name, bytes)) = open.replace((first.into(), vec![0; second.parse().unwrap()]))
        {
            storage.overwrite(&name, bytes);
        }
    }
    let (name, bytes) = open.unwrap();
    storage.overwrite(&name, bytes);
    storage
}

#[test]
fn format_one_is_written_as_it_always_was() {
    assert_eq!(FORMAT_VERSION, 1);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden-1.txt");
    let found = told(&written());
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), found);
}

#[test]
fn format_one_is_read_as_it_always_was() {
    let storage = untold(include_str!("golden-1.txt"));
    let salts = Box::new(|| 9);
    let (mut journal, recovery) = Journal::open(storage, &config(), salts).unwrap();
    assert_eq!((recovery.damaged_records, recovery.cursor_lost), (0, false));
    let record = |seq, key, payload: &[u8]| Entry::Record {
        seq,
        key,
        payload: payload.to_vec(),
    };
    let read = |stream, from| journal.read(stream, from, 1000).unwrap();
    let results = [record(2, 0, b"two"), record(3, 0, b"three")];
    assert_eq!(read(StreamId::RESULT, 2), results);
    assert_eq!(read(StreamId::STATE, 1), [record(1, 7, b"a report")]);
    assert_eq!(read(StreamId::LOG, 1), [record(1, 0, b"a line")]);
    let ledger = journal.ledger();
    assert_eq!(ledger.get(b"node").unwrap().unwrap(), b"a record");
    assert!(!ledger.contains(b"gone"));
    // It goes on where it stopped.
    assert_eq!(journal.append(StreamId::RESULT, b"four").unwrap(), 4);
    journal.sync().unwrap();
}
