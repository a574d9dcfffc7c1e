//! What the journal gives to its device, held against the simulated disk's own count.
//! It never sees what a file system adds: that is measured by `cargo xtask bench journal`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use common::salts;
use holdfast_journal::{Config, Journal, SimStorage, StreamId};

/// Segments of 1 MiB, as on a device: the steps of zeros are shorter.
fn open(storage: &SimStorage) -> Journal<SimStorage> {
    let opened = Journal::open(storage.clone(), &Config::default(), salts(1));
    opened.unwrap().0
}

fn append(journal: &mut Journal<SimStorage>, records: u64) -> u64 {
    let mut last = 0;
    for _ in 0..records {
        last = journal.append(StreamId::RESULT, &[7; 1000]).unwrap();
        journal.sync().unwrap();
    }
    last
}

#[test]
fn a_few_records_cost_one_step_of_zeros_and_not_a_segment_of_them() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    append(&mut journal, 1);
    let first = storage.written_bytes();
    assert!((128 << 10..160 << 10).contains(&first), "{first}");
    append(&mut journal, 100);
    let rest = storage.written_bytes() - first;
    // Header, padding and commit: 56 bytes of each record.
    assert_eq!(rest, 100 * 1056);
}

#[test]
fn zeros_go_on_in_steps_also_after_a_restart() {
    let storage = SimStorage::new();
    append(&mut open(&storage), 100);
    let mut journal = open(&storage);
    let before = storage.written_bytes();
    append(&mut journal, 10);
    assert_eq!(storage.written_bytes() - before, 10 * 1056);
    append(&mut journal, 40);
    let over = storage.written_bytes() - before;
    assert!((128 << 10..200 << 10).contains(&over), "{over}");
}

#[test]
fn a_recycled_segment_is_not_zeroed_again() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    // Each round finishes one segment; from the third on all are recycled.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let before = storage.written_bytes();
        let last = append(&mut journal, 1000);
        journal.release(StreamId::RESULT, last).unwrap();
        rounds.push(storage.written_bytes() - before);
    }
    assert!(rounds[0] > 2_000_000, "{rounds:?}");
    assert!(rounds[4] < 1_100_000, "{rounds:?}");
}

#[test]
fn the_wear_figure_is_what_the_disk_counts_and_goes_on_over_clean_restarts() {
    let storage = SimStorage::new();
    for life in 1..4u64 {
        let mut journal = open(&storage);
        append(&mut journal, 50);
        journal.checkpoint().unwrap();
        let status = journal.status();
        assert_eq!(status.written_total_bytes, storage.written_bytes());
        assert_eq!(status.written_bytes < status.written_total_bytes, life > 1);
        let quiet = storage.written_bytes();
        journal.checkpoint().unwrap();
        assert_eq!(storage.written_bytes(), quiet, "nothing changed");
    }
}

#[test]
fn a_power_cut_loses_of_the_wear_figure_what_the_youngest_segment_took() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    append(&mut journal, 2500);
    let told = journal.status().written_total_bytes;
    drop(journal);
    let journal = open(&storage.restart(7));
    let status = journal.status();
    let before = status.written_total_bytes - status.written_bytes;
    assert!(before <= told, "{before} of {told}");
    assert!(told - before <= 1 << 20, "{before} of {told}");
}
