//! Single flipped bits and truncations anywhere in a journal in use, in memory and in real files.
//! Nothing may pass unseen: what is lost is said, and what the ledger has of it is called doubtful.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Random, cases, config, payload_of, random, salts, seed};
use holdfast_journal::{DirStorage, Entry, Journal, Recovery, SimStorage, Storage, StreamId};

const STREAMS: [StreamId; 4] = [
    StreamId::RESULT,
    StreamId::AUDIT,
    StreamId::STATE,
    StreamId::LOG,
];

/// What was told as durable.
#[derive(Default)]
struct Told {
    records: BTreeMap<(StreamId, u64), Vec<u8>>,
    ledger: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A journal in the middle of its life; each record has a payload that imitates this journal's own.
fn used(seed: u64) -> (SimStorage, Told) {
    let storage = SimStorage::new();
    let (mut journal, _) = Journal::open(storage.clone(), &config(), salts(seed)).unwrap();
    let mut told = Told::default();
    for number in 0..240_u64 {
        let stream = STREAMS[usize::try_from(number % 7 % 4).unwrap()];
        let payload = match number % 5 {
            // Bytes of a live segment: headers, records and commits just as they stand.
            0 => imitation(&storage, number),
            _ => payload_of(number, usize::try_from(number * 37 % 700).unwrap()),
        };
        let key = u16::try_from(number).unwrap();
        let seq = journal.append_keyed(stream, key, &payload).unwrap();
        told.records.insert((stream, seq), payload);
        let name = format!("command/{}", number % 40).into_bytes();
        if number % 11 == 10 {
            journal.ledger().remove(&name).unwrap();
            told.ledger.remove(&name);
        } else {
            let value = payload_of(number, usize::try_from(number * 13 % 300).unwrap());
            journal.ledger().put(&name, &value).unwrap();
            told.ledger.insert(name, value);
        }
        if number % 3 == 0 {
            journal.sync().unwrap();
        }
        if number == 100 {
            let durable = journal.durable(StreamId::RESULT);
            journal.release(StreamId::RESULT, durable - 5).unwrap();
        }
    }
    journal.sync().unwrap();
    journal.checkpoint().unwrap();
    (storage, told)
}

fn imitation(storage: &SimStorage, number: u64) -> Vec<u8> {
    let mut files = storage.list().unwrap().into_iter();
    let Some(file) = files.find(|file| file.name.starts_with("segment-")) else {
        return Vec::new();
    };
    let from = usize::try_from(number % 4 * 512).unwrap();
    storage.contents(&file.name).unwrap()[from..from + 1500].to_vec()
}

/// What a reader finds: the sequences lost, after a check that all others are what was told.
fn lost<S: Storage>(journal: &Journal<S>, told: &Told) -> BTreeSet<(StreamId, u64)> {
    let mut lost = BTreeSet::new();
    let mut found = BTreeSet::new();
    for stream in STREAMS {
        for entry in journal.read(stream, 1, usize::MAX).unwrap() {
            match entry {
                Entry::Record { seq, payload, .. } => {
                    let at = (stream, seq);
                    assert_eq!(told.records[&at], payload, "{stream} {seq}");
                    found.insert(at);
                }
                Entry::Gap { first, last, .. } => {
                    lost.extend((first..=last).map(|seq| (stream, seq)))
                }
            }
        }
    }
    for &(stream, seq) in told.records.keys() {
        let end = seq > journal.durable(stream);
        if seq > journal.released(stream) && end {
            lost.insert((stream, seq));
        }
        assert!(
            seq <= journal.released(stream)
                || found.contains(&(stream, seq))
                || lost.contains(&(stream, seq)),
            "{stream} {seq} is gone without a word"
        );
    }
    lost
}

/// Every entry is what was told, or called doubtful; the names of those that are not.
fn changed<S: Storage>(
    journal: &mut Journal<S>,
    told: &Told,
    recovery: &Recovery,
) -> BTreeSet<Vec<u8>> {
    let ledger = journal.ledger();
    let found: BTreeMap<_, _> = ledger.iter(b"").map(Result::unwrap).collect();
    let names = found.keys().chain(told.ledger.keys());
    let changed: BTreeSet<_> = names
        .filter(|name| found.get(*name) != told.ledger.get(*name))
        .cloned()
        .collect();
    let doubtful: BTreeSet<_> = recovery.doubtful.iter().cloned().collect();
    for name in &changed {
        // What is gone with the end of the ledger has left no name.
        let has_name = found.contains_key(name) || !recovery.end_lost;
        let shown = String::from_utf8_lossy(name);
        assert!(
            doubtful.contains(name) || !has_name,
            "{shown} is not doubtful"
        );
    }
    changed
}

fn write_to(storage: &SimStorage, path: &std::path::Path) {
    for file in storage.list().unwrap() {
        let bytes = storage.contents(&file.name).unwrap();
        std::fs::write(path.join(&file.name), bytes).unwrap();
    }
}

/// Opens the same bytes in memory and, each fourth time, in real files too.
fn open_both(
    storage: &SimStorage,
    case: u64,
    mut check: impl FnMut(&Recovery, BTreeSet<(StreamId, u64)>, BTreeSet<Vec<u8>>),
    told: &Told,
) {
    if case.is_multiple_of(4) {
        let home = tempfile::tempdir().unwrap();
        write_to(storage, home.path());
        let files = DirStorage::open(home.path()).unwrap();
        let (mut journal, recovery) = Journal::open(files, &config(), salts(case)).unwrap();
        let changed = changed(&mut journal, told, &recovery);
        check(&recovery, lost(&journal, told), changed);
        goes_on(&mut journal);
    }
    let (mut journal, recovery) = Journal::open(storage.clone(), &config(), salts(case)).unwrap();
    let changed = changed(&mut journal, told, &recovery);
    check(&recovery, lost(&journal, told), changed);
    goes_on(&mut journal);
}

fn goes_on<S: Storage>(journal: &mut Journal<S>) {
    for stream in STREAMS {
        journal.append_keyed(stream, 9, b"goes on").unwrap();
    }
    journal.ledger().put(b"next", b"goes on").unwrap();
    journal.sync().unwrap();
}

fn any_file(storage: &SimStorage, random: &mut Random) -> (String, u64) {
    let files = storage.list().unwrap();
    let file = &files[usize::try_from(random.below(files.len() as u64)).unwrap()];
    (file.name.clone(), file.bytes)
}

#[test]
fn a_flipped_bit_costs_one_record_at_most_and_the_ledger_says_whose() {
    let seed = seed();
    let mut random = random(seed);
    let (storage, told) = used(seed);
    let cases = cases(150);
    let (mut hits, mut entries) = (0, 0);
    for case in 0..cases {
        let (file, bytes) = any_file(&storage, &mut random);
        let copy = storage.copy();
        let bit = random.below(bytes * 8);
        copy.flip(&file, bit);
        let check = |recovery: &Recovery, lost: BTreeSet<_>, changed: BTreeSet<Vec<u8>>| {
            let what = format!("{file}, bit {bit}: {lost:?} and {changed:?} lost");
            assert!(lost.len() <= 1 && changed.len() <= 1, "{what}");
            assert!(lost.is_empty() || changed.is_empty(), "{what}");
            let in_ledger = |damage: &&holdfast_journal::Damage| damage.stream == StreamId::LEDGER;
            let ledger = recovery.damaged.iter().filter(in_ledger).count();
            assert_eq!(recovery.damaged.len() - ledger, lost.len(), "{what}");
            assert!(changed.len() <= ledger && ledger <= 1, "{what}");
            // Nothing else is doubted because of one bit.
            assert!(recovery.doubtful.len() <= 1, "{what}");
            assert!(!recovery.cursor_lost && !recovery.end_lost);
            assert!(recovery.damaged.iter().all(|damage| damage.place.is_some()));
            hits += lost.len() + ledger;
            entries += changed.len();
        };
        open_both(&copy, case, check, &told);
    }
    println!("{cases} flips: {hits} records hit, {entries} entries of the ledger lost, all named");
}

#[test]
fn a_truncated_file_is_named_and_nothing_before_the_cut_is_lost() {
    let seed = seed();
    let mut random = random(seed);
    let (storage, told) = used(seed);
    let cases = cases(150);
    let (mut gone, mut ends) = (0, 0);
    for case in 0..cases {
        let (file, bytes) = any_file(&storage, &mut random);
        let keep = usize::try_from(random.below(bytes)).unwrap();
        let copy = storage.copy();
        let mut contents = copy.contents(&file).unwrap();
        // A spare file never used has nothing to lose.
        let is_used = contents.iter().any(|byte| *byte != 0);
        contents.truncate(keep);
        copy.overwrite(&file, contents);
        let check = |recovery: &Recovery, lost: BTreeSet<_>, changed: BTreeSet<Vec<u8>>| {
            let named = recovery.truncated.iter().any(|cut| cut.file == file);
            let is_cursor = file.starts_with("cursor-");
            assert!(named || is_cursor || !is_used, "{file} cut at {keep}");
            let is_harmless = lost.is_empty() && changed.is_empty();
            assert!(is_harmless || named, "{file} cut at {keep}: {lost:?}");
            gone += lost.len() + changed.len();
            ends += usize::from(recovery.end_lost);
        };
        open_both(&copy, case, check, &told);
    }
    println!(
        "{cases} truncations, all named: {gone} records and entries lost, {ends} ends of a stream"
    );
}
