//! Damaged, truncated, recycled and foreign bytes: what is lost is one record and is said.
//! It never accepts a payload that was not appended, wherever the bits fall.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;

use common::{cases, config, payload_of, random, salts, seed};
use holdfast_journal::{
    Damage, Entry, FORMAT_VERSION, GapReason, Journal, OpenError, Recovery, SimStorage, Storage,
    StreamId,
};

fn reopen(storage: &SimStorage, seed: u64) -> (Journal<SimStorage>, Recovery) {
    Journal::open(storage.clone(), &config(), salts(seed)).unwrap()
}

/// The names and lengths of the segment files.
fn segments(storage: &SimStorage) -> Vec<(String, u64)> {
    let files = storage.list().unwrap().into_iter();
    files
        .filter(|file| file.name.starts_with("segment-"))
        .map(|file| (file.name, file.bytes))
        .collect()
}

/// A journal in the middle of its life: recycled segments, acknowledged and waiting records.
fn used_storage(seed: u64) -> (SimStorage, BTreeMap<u64, Vec<u8>>) {
    let storage = SimStorage::new();
    let (mut journal, _) = reopen(&storage, seed);
    let mut given = BTreeMap::new();
    for number in 0..200 {
        let len = usize::try_from(number * 37 % 900).unwrap();
        let seq = journal
            .append(StreamId::RESULT, &payload_of(number, len))
            .unwrap();
        given.insert(seq, payload_of(number, len));
        if number % 3 == 0 {
            journal.sync().unwrap();
        }
        if number == 90 {
            journal.release(StreamId::RESULT, 80).unwrap();
        }
    }
    journal.sync().unwrap();
    journal.checkpoint().unwrap();
    (storage, given)
}

/// Checks order, content and density; returns the sequences that are damaged.
fn damaged(journal: &Journal<SimStorage>, given: &BTreeMap<u64, Vec<u8>>) -> Vec<u64> {
    let stream = StreamId::RESULT;
    let mut next = journal.released(stream) + 1;
    let mut lost = Vec::new();
    for entry in journal.read(stream, 1, usize::MAX).unwrap() {
        match &entry {
            Entry::Record { seq, payload, .. } => {
                assert_eq!((*seq, payload), (next, &given[seq]));
            }
            Entry::Gap {
                first,
                last,
                reason,
            } => {
                assert_eq!((*first, *reason), (next, GapReason::Damaged));
                lost.extend(*first..=*last);
            }
        }
        next = entry.last_seq() + 1;
    }
    assert_eq!(next, journal.durable(stream) + 1);
    lost
}

#[test]
fn a_flipped_bit_anywhere_loses_at_most_one_record_and_is_reported() {
    let seed = seed();
    let mut random = random(seed);
    let (storage, given) = used_storage(seed);
    let files = storage.list().unwrap();
    let mut hit = 0;
    for case in 0..cases(200) {
        let file = &files[usize::try_from(random.below(files.len() as u64)).unwrap()];
        let bit = random.below(file.bytes * 8);
        let copy = storage.copy();
        copy.flip(&file.name, bit);
        let (mut journal, recovery) = reopen(&copy, case);
        let lost = damaged(&journal, &given);
        assert!(lost.len() <= 1, "{}, bit {bit}: {lost:?} lost", file.name);
        assert_eq!(recovery.damaged_records, lost.len() as u64);
        assert_eq!(recovery.damaged.len(), lost.len());
        assert!(!recovery.cursor_lost);
        assert_eq!(journal.durable(StreamId::RESULT), 200);
        assert_eq!(journal.released(StreamId::RESULT), 80);
        hit += lost.len();
        // Life goes on, under a new sequence, and the loss stays in its place.
        assert_eq!(journal.append(StreamId::RESULT, b"next").unwrap(), 201);
        journal.sync().unwrap();
        drop(journal);
        let (journal, _) = reopen(&copy, case);
        let mut given = given.clone();
        given.insert(201, b"next".to_vec());
        assert_eq!(damaged(&journal, &given), lost);
    }
    println!("{hit} of {} flipped bits hit a record", cases(200));
}

#[test]
fn a_lost_first_or_last_sector_of_a_segment_loses_no_record() {
    let (storage, given) = used_storage(2);
    for (name, bytes) in segments(&storage) {
        for start in [0, usize::try_from(bytes).unwrap() - 512] {
            let copy = storage.copy();
            let mut contents = copy.contents(&name).unwrap();
            contents[start..start + 512].fill(0);
            copy.overwrite(&name, contents);
            let (journal, recovery) = reopen(&copy, 3);
            assert_eq!(recovery.damaged_records, 0, "{name} at {start}");
            assert_eq!(damaged(&journal, &given), []);
            assert_eq!(journal.durable(StreamId::RESULT), 200);
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_is_a_loss_and_not_an_earlier_end() {
    let storage = SimStorage::new();
    let (mut journal, _) = reopen(&storage, 1);
    journal.append(StreamId::RESULT, b"first").unwrap();
    journal.append(StreamId::RESULT, b"last one").unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (name, _) = segments(&storage)
        .into_iter()
        .find(|(name, _)| contains(&storage.contents(name).unwrap(), b"last one"))
        .unwrap();
    // Sector of the header, record of 28 + 8 bytes, then 28 + 8 of the last one.
    let last = 512 + 36;
    for bit in last * 8..(last + 36) * 8 {
        let copy = storage.copy();
        copy.flip(&name, bit);
        let (mut journal, recovery) = reopen(&copy, 2);
        let damage = recovery.damaged[0];
        assert_eq!(
            (damage.first, damage.last, damage.maybe_unsynced),
            (2, 2, true)
        );
        // Its sequence was told to somebody, maybe: it is never given out again.
        assert_eq!(journal.append(StreamId::RESULT, b"next").unwrap(), 3);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Frames as an attacker can make them who knows the format, a salt of another segment, and all
/// records of this journal so far: whole segments of it.
#[test]
fn a_payload_that_imitates_records_never_becomes_one() {
    let seed = seed();
    let mut random = random(seed);
    let (old, _) = used_storage(seed);
    let forged: Vec<Vec<u8>> = segments(&old)
        .iter()
        .map(|(name, _)| old.contents(name).unwrap())
        .collect();
    let storage = SimStorage::new();
    let (mut journal, _) = reopen(&storage, seed ^ 99);
    let mut given = BTreeMap::new();
    for (number, payload) in forged.iter().chain(&forged).enumerate() {
        // The sequences within are just the ones expected here.
        let seq = journal.append(StreamId::RESULT, payload).unwrap();
        given.insert(seq, payload.clone());
        if number % 2 == 0 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
    drop(journal);
    let files = segments(&storage);
    for case in 0..cases(60) {
        let (name, bytes) = &files[usize::try_from(random.below(files.len() as u64)).unwrap()];
        let copy = storage.copy();
        // Damage the outer headers, so that the scan has to look inside the payloads.
        let bit = if case % 2 == 0 {
            (512 + random.below(28)) * 8
        } else {
            random.below(bytes * 8)
        };
        copy.flip(name, bit);
        let (journal, _) = reopen(&copy, case);
        assert!(damaged(&journal, &given).len() <= 1);
    }
}

/// The strongest forgery: records of another segment at just their own offsets, under just the
/// sequences that come next. Only the salt tells them from real ones.
#[test]
fn an_imitation_at_its_own_place_under_the_next_sequence_is_known_by_its_salt() {
    let donor = SimStorage::new();
    let (mut journal, _) = reopen(&donor, 1);
    for payload in [&b""[..], b"forged", b"forged too"] {
        journal.append(StreamId::RESULT, payload).unwrap();
    }
    journal.sync().unwrap();
    let (name, _) = segments(&donor)
        .into_iter()
        .find(|(name, _)| contains(&donor.contents(name).unwrap(), b"forged too"))
        .unwrap();
    // The first record is its 28-byte header at 512; the forged ones start where it ends.
    let forged = donor.contents(&name).unwrap()[540..4096].to_vec();

    let storage = SimStorage::new();
    let (mut journal, _) = reopen(&storage, 2);
    journal.append(StreamId::RESULT, &forged).unwrap();
    journal.append(StreamId::RESULT, b"real").unwrap();
    journal.sync().unwrap();
    let (name, _) = segments(&storage)
        .into_iter()
        .find(|(name, _)| contains(&storage.contents(name).unwrap(), b"real"))
        .unwrap();
    drop(journal);
    storage.flip(&name, 513 * 8);
    let (journal, recovery) = reopen(&storage, 3);
    assert_eq!(recovery.damaged_records, 1);
    let given = BTreeMap::from([(2, b"real".to_vec())]);
    assert_eq!(damaged(&journal, &given), [1]);
}

#[test]
fn what_a_recycled_segment_held_before_never_comes_back() {
    let storage = SimStorage::new();
    let (mut journal, _) = reopen(&storage, 5);
    // Equal lengths: the new records end exactly where old ones begin.
    let mut last = 0;
    for _ in 0..400 {
        last = journal.append(StreamId::RESULT, &[0xAB; 1000]).unwrap();
        journal.sync().unwrap();
        journal.release(StreamId::RESULT, last).unwrap();
    }
    assert!(segments(&storage).len() < 6, "segments are recycled");
    journal.append(StreamId::RESULT, &[0xCD; 1000]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (journal, recovery) = reopen(&storage, 6);
    assert_eq!(recovery.damaged_records, 0);
    assert_eq!(journal.durable(StreamId::RESULT), last + 1);
    let entries = journal.read(StreamId::RESULT, last + 1, 5000).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(journal.read(StreamId::LOG, 1, 5000).unwrap(), []);
}

#[test]
fn a_truncated_file_keeps_every_record_before_the_cut() {
    let seed = seed();
    let mut random = random(seed);
    let (storage, given) = used_storage(seed);
    for case in 0..cases(100) {
        let files = segments(&storage);
        let (name, bytes) = &files[usize::try_from(random.below(files.len() as u64)).unwrap()];
        let copy = storage.copy();
        let keep = usize::try_from(random.below(*bytes)).unwrap();
        let mut contents = copy.contents(name).unwrap();
        contents.truncate(keep);
        copy.overwrite(name, contents);
        let (mut journal, _) = reopen(&copy, case);
        // `damaged` checks that what is left is right, in order and without silent holes.
        damaged(&journal, &given);
        journal.append(StreamId::AUDIT, b"goes on").unwrap();
        journal.append(StreamId::RESULT, b"goes on").unwrap();
        journal.sync().unwrap();
    }
}

#[test]
fn garbage_in_every_file_opens_empty_and_says_that_the_cursor_is_lost() {
    let (storage, _) = used_storage(3);
    for file in storage.list().unwrap() {
        let len = usize::try_from(file.bytes).unwrap();
        storage.overwrite(&file.name, payload_of(file.bytes, len));
    }
    let (mut journal, recovery) = reopen(&storage, 4);
    assert!(recovery.cursor_lost);
    journal.append(StreamId::RESULT, b"works").unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.read(StreamId::RESULT, 1, 100).unwrap().len(), 1);
}

#[test]
fn a_missing_segment_in_the_middle_is_a_counted_gap() {
    let (storage, given) = used_storage(8);
    let (journal, _) = reopen(&storage, 8);
    let page = journal.read(StreamId::RESULT, 120, 1).unwrap();
    drop(journal);
    let Entry::Record { payload, .. } = &page[0] else {
        panic!()
    };
    let (name, _) = segments(&storage)
        .into_iter()
        .find(|(name, _)| contains(&storage.contents(name).unwrap(), payload))
        .unwrap();
    storage.remove(&name).unwrap();
    let (journal, recovery) = reopen(&storage, 9);
    let lost = damaged(&journal, &given);
    assert!(lost.contains(&120) && lost.len() > 5);
    assert_eq!(recovery.damaged_records, lost.len() as u64);
    assert!(!recovery.damaged[0].maybe_unsynced);
}

#[test]
fn files_of_a_newer_version_are_named_and_left_untouched() {
    for prefix in ["segment-", "cursor-"] {
        let (storage, _) = used_storage(1);
        let file = storage
            .list()
            .unwrap()
            .into_iter()
            .find(|file| file.name.starts_with(prefix))
            .unwrap();
        let mut bytes = storage.contents(&file.name).unwrap();
        bytes[8..10].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        let crc_at = if prefix == "cursor-" { 4092 } else { 60 };
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        storage.overwrite(&file.name, bytes);
        let before = storage.changes();
        let Err(error) = Journal::open(storage.clone(), &config(), salts(1)) else {
            panic!("opened");
        };
        assert!(
            matches!(&error, OpenError::NewerVersion { file: named, found, supported }
            if *named == file.name && *found == FORMAT_VERSION + 1 && *supported == FORMAT_VERSION)
        );
        assert_eq!(storage.changes(), before);
    }
}

/// The ledger's segment in which some bytes stand, and where they end.
fn end_of(storage: &SimStorage, part: &[u8]) -> (String, usize) {
    let names = segments(storage).into_iter().map(|(name, _)| name);
    let mut found = names.filter_map(|name| {
        let bytes = storage.contents(&name).unwrap();
        let at = bytes
            .windows(part.len())
            .position(|window| window == part)?;
        Some((name, at + part.len()))
    });
    found.next().unwrap()
}

#[test]
fn what_a_power_cut_tore_casts_no_doubt_also_once_more_was_written() {
    // The next record goes behind the torn one, or into a segment of its own.
    for next_bytes in [10, 15_400] {
        let storage = SimStorage::new();
        let (mut journal, _) = reopen(&storage, 1);
        for (name, value) in [(&b"first"[..], [5; 20]), (b"second", [6; 20])] {
            journal.ledger().put(name, &value).unwrap();
            journal.sync().unwrap();
        }
        journal.ledger().put(b"torn", &[7; 900]).unwrap();
        journal.sync().unwrap();
        drop(journal);
        let (name, end) = end_of(&storage, &[7; 900]);
        let mut bytes = storage.contents(&name).unwrap();
        bytes[end - 400..].fill(0);
        storage.overwrite(&name, bytes);
        for life in 2..6 {
            let (mut journal, recovery) = reopen(&storage, life);
            let found = |damage: &Damage| (damage.first, damage.last, damage.maybe_unsynced);
            let found: Vec<_> = recovery.damaged.iter().map(found).collect();
            assert_eq!(found, [(3, 3, true)], "life {life}, {next_bytes} bytes");
            assert!(recovery.doubtful.is_empty(), "life {life}");
            let key = format!("next {life}");
            let value = vec![8; next_bytes];
            journal.ledger().put(key.as_bytes(), &value).unwrap();
            journal.sync().unwrap();
        }
        // What was durable before the cut is still proven to have been.
        let (name, end) = end_of(&storage, &[6; 20]);
        let mut bytes = storage.contents(&name).unwrap();
        bytes[end - 10..end].fill(0);
        storage.overwrite(&name, bytes);
        let (_, recovery) = reopen(&storage, 9);
        assert!(!recovery.damaged[0].maybe_unsynced);
        assert_eq!(recovery.doubtful, [b"first"]);
    }
}
