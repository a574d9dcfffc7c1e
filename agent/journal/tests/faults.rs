//! Single faults of the device, one by one: failed syncs, no space, a real file system.
//! It never repeats what the random histories of `model.rs` cover better.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use common::{config, payload_of, salts};
use holdfast_journal::{
    DirStorage, Entry, Fault, GapReason, Journal, OpenError, Refusal, SimStorage, Storage, StreamId,
};

fn open(storage: &SimStorage) -> Journal<SimStorage> {
    let (journal, _) = Journal::open(storage.clone(), &config(), salts(1)).unwrap();
    journal
}

fn payloads<S: Storage>(journal: &Journal<S>, stream: StreamId) -> Vec<Vec<u8>> {
    let entries = journal.read(stream, 1, usize::MAX).unwrap();
    let payload = |entry| match entry {
        Entry::Record { payload, .. } => payload,
        Entry::Gap { .. } => panic!("{entry:?}"),
    };
    entries.into_iter().map(payload).collect()
}

#[test]
fn after_a_failed_sync_the_records_go_to_a_new_segment_and_survive_a_power_cut() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    journal.append(StreamId::RESULT, b"before").unwrap();
    journal.sync().unwrap();
    journal.append(StreamId::RESULT, b"during").unwrap();
    journal.append(StreamId::RESULT, b"during too").unwrap();
    storage.arm(Fault::SyncFails(0));
    let error = journal.sync().unwrap_err();
    assert_eq!(
        (error.stream, error.first, error.last),
        (StreamId::RESULT, 2, 3)
    );
    assert_eq!(journal.durable(StreamId::RESULT), 1);
    assert_eq!(payloads(&journal, StreamId::RESULT), [b"before"]);
    journal.sync().unwrap();
    assert_eq!(journal.status().streams[0].segments, 2);
    assert_eq!(journal.status().failed_syncs, 1);
    for seed in 0..20 {
        let journal = open(&storage.restart(seed));
        let found = payloads(&journal, StreamId::RESULT);
        assert_eq!(found, [&b"before"[..], b"during", b"during too"]);
    }
}

#[test]
fn what_the_ledger_says_is_never_durable_before_what_it_speaks_of() {
    for fails in 0..4 {
        let storage = SimStorage::new();
        let mut journal = open(&storage);
        journal.append(StreamId::RESULT, b"result").unwrap();
        journal.ledger().put(b"command", b"finished").unwrap();
        storage.arm(Fault::PowerCut(fails));
        let synced = journal.sync().is_ok();
        for seed in 0..30 {
            let mut journal = open(&storage.restart(seed));
            let told = journal.ledger().get(b"command").unwrap().is_some();
            let there = journal.durable(StreamId::RESULT) == 1;
            assert!(there || !told, "fault {fails}, seed {seed}");
            assert!(!synced || told);
        }
    }
}

#[test]
fn a_device_that_turns_read_only_in_the_middle_of_a_sync_leaves_no_entry_without_its_result() {
    let mut between = 0;
    for fails in 0..40 {
        let storage = SimStorage::new();
        let mut journal = open(&storage);
        journal.append(StreamId::RESULT, b"result").unwrap();
        journal.ledger().put(b"command", b"finished").unwrap();
        storage.arm(Fault::ReadOnlyFrom(fails));
        let synced = journal.sync().is_ok();
        if !synced && journal.durable(StreamId::RESULT) == 1 {
            between += 1;
        }
        drop(journal);
        let mut killed = open(&storage);
        let told = killed.ledger().get(b"command").unwrap().is_some();
        let there = killed.durable(StreamId::RESULT) == 1;
        assert!(there || !told, "change {fails}");
        assert!(!synced || told);
    }
    assert!(between > 0, "no change lies between the two");
}

#[test]
fn what_cannot_be_read_now_is_read_once_the_device_answers() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    journal.append(StreamId::RESULT, b"result").unwrap();
    journal.ledger().put(b"command", b"finished").unwrap();
    journal.sync().unwrap();
    storage.arm(Fault::ReadsFail);
    assert!(journal.read(StreamId::RESULT, 1, usize::MAX).is_err());
    assert!(journal.ledger().get(b"command").is_err());
    assert!(Journal::open(storage.clone(), &config(), salts(1)).is_err());
    storage.disarm();
    assert_eq!(payloads(&journal, StreamId::RESULT), [b"result"]);
    let value = journal.ledger().get(b"command").unwrap();
    assert_eq!(value.as_deref(), Some(&b"finished"[..]));
}

#[test]
fn a_full_device_still_takes_results_acknowledgements_and_ledger_changes() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    journal.append(StreamId::RESULT, b"one").unwrap();
    journal.ledger().put(b"command", b"running").unwrap();
    journal.sync().unwrap();
    storage.arm(Fault::Capacity(0));
    // The reserve takes the next segment of results, its own space takes the rest.
    let mut last = 0;
    for number in 0..20 {
        last = journal
            .append(StreamId::RESULT, &payload_of(number, 1000))
            .unwrap();
        journal.ledger().put(b"command", b"cancelled").unwrap();
        // Logs and state may not take the reserve, and hold up nobody.
        journal
            .append(StreamId::LOG, &payload_of(number, 9000))
            .unwrap();
        drop(journal.append(StreamId::STATE, &payload_of(number, 30_000)));
        drop(journal.sync());
        assert_eq!(journal.durable(StreamId::RESULT), last);
    }
    let logs = journal.read(StreamId::LOG, 1, usize::MAX).unwrap();
    assert!(matches!(
        logs[..],
        [Entry::Gap {
            first: 1,
            last: 20,
            reason: GapReason::Evicted
        }]
    ));
    journal.release(StreamId::RESULT, last).unwrap();
    journal.checkpoint().unwrap();
    let mut journal = open(&storage.restart(1));
    assert_eq!(journal.released(StreamId::RESULT), last);
    assert_eq!(
        journal.ledger().get(b"command").unwrap().unwrap(),
        b"cancelled"
    );
}

#[test]
fn a_device_without_space_refuses_by_name_and_goes_on_when_space_comes() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    storage.arm(Fault::Capacity(0));
    let refused = journal.reserve(StreamId::RESULT, 200_000).unwrap_err();
    assert!(matches!(refused, Refusal::DeviceFull { .. }), "{refused}");
    for number in 0..100 {
        journal
            .append(StreamId::RESULT, &payload_of(number, 1000))
            .unwrap();
    }
    let error = journal.sync().unwrap_err();
    assert!(error.source.is_storage_full(), "{error}");
    storage.disarm();
    journal.sync().unwrap();
    let expected: Vec<_> = (0..100).map(|number| payload_of(number, 1000)).collect();
    assert_eq!(payloads(&journal, StreamId::RESULT), expected);
}

/// The device refused the allocation of a segment, and then the removal of the file: seen with EIO and
/// EROFS injected into the agent's calls, which then wrote nothing any more until its next start.
#[test]
fn what_a_failed_creation_left_under_the_next_name_does_not_stop_the_journal() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    let files = storage.list().unwrap();
    let names = files.into_iter().map(|file| file.name);
    let last =
        names.filter_map(|name| u32::from_str_radix(name.strip_prefix("segment-")?, 16).ok());
    let next = last.max().map_or(0, |last| last + 1);
    storage
        .create(&format!("segment-{next:08x}"), 4096)
        .unwrap();
    journal.append(StreamId::RESULT, b"one").unwrap();
    journal.sync().unwrap();
    journal.append(StreamId::AUDIT, b"two").unwrap();
    journal.sync().unwrap();
    drop(journal);
    let journal = open(&storage);
    assert_eq!(payloads(&journal, StreamId::RESULT), [b"one"]);
    assert_eq!(payloads(&journal, StreamId::AUDIT), [b"two"]);
}

#[test]
fn a_new_journal_on_a_full_device_opens_and_says_what_is_missing() {
    let storage = SimStorage::new();
    storage.arm(Fault::Capacity(0));
    let (_, recovery) = Journal::open(storage, &config(), salts(1)).unwrap();
    assert!(recovery.reserve_missing.unwrap().is_storage_full());
}

/// Longer than a sector, so that what is written behind it does not carry it to the device.
const LEFT: [u8; 2000] = [b'x'; 2000];

/// A record that a killed process left in the page cache, marked clean there by a sync that failed.
fn killed_after_a_failed_sync() -> SimStorage {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    journal.append(StreamId::RESULT, b"durable").unwrap();
    journal.ledger().put(b"command", b"running").unwrap();
    journal.sync().unwrap();
    journal.append(StreamId::RESULT, &LEFT).unwrap();
    storage.arm(Fault::SyncFails(0));
    journal.sync().unwrap_err();
    storage
}

#[test]
fn a_journal_whose_device_takes_no_writes_opens_and_makes_durable_what_was_left_before_what_comes()
{
    let calls = 12;
    let mut failed = 0;
    for fails in 0..calls {
        let storage = killed_after_a_failed_sync();
        storage.arm(Fault::SyncFails(fails));
        let (mut journal, recovery) = Journal::open(storage.clone(), &config(), salts(1)).unwrap();
        failed += u64::from(recovery.takes_no_writes.is_some());
        assert_eq!(
            payloads(&journal, StreamId::RESULT),
            [&b"durable"[..], &LEFT]
        );
        assert_eq!(
            journal.ledger().get(b"command").unwrap().unwrap(),
            b"running"
        );
        storage.disarm();
        journal.append(StreamId::RESULT, b"new").unwrap();
        journal.sync().unwrap();
        for seed in 0..20 {
            let journal = open(&storage.restart(seed));
            let found = payloads(&journal, StreamId::RESULT);
            assert_eq!(
                found,
                [&b"durable"[..], &LEFT, b"new"],
                "sync {fails}, seed {seed}"
            );
        }
    }
    assert!((1..calls).contains(&failed), "{failed} of {calls} failed");
}

#[test]
fn a_read_only_device_says_whether_everything_on_it_is_durable() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    journal.append(StreamId::RESULT, b"durable").unwrap();
    journal.sync().unwrap();
    journal.append(StreamId::RESULT, &LEFT).unwrap();
    // The write is done when its sync meets the error.
    storage.arm(Fault::ReadOnlyFrom(1));
    journal.sync().unwrap_err();
    drop(journal);
    let (mut journal, recovery) = Journal::open(storage.clone(), &config(), salts(1)).unwrap();
    assert!(recovery.takes_no_writes.is_some() && !journal.is_secured());
    assert_eq!(
        payloads(&journal, StreamId::RESULT),
        [&b"durable"[..], &LEFT]
    );
    storage.disarm();
    journal.append(StreamId::RESULT, b"new").unwrap();
    journal.sync().unwrap();
    assert!(journal.is_secured());
    drop(journal);
    storage.arm(Fault::ReadOnly);
    let (journal, recovery) = Journal::open(storage, &config(), salts(1)).unwrap();
    assert!(recovery.takes_no_writes.is_some() && journal.is_secured());
}

#[test]
fn two_power_cuts_in_a_row_do_not_take_the_cursor() {
    let calls = 0..8;
    for (first, second) in calls
        .clone()
        .flat_map(|first| calls.clone().map(move |second| (first, second)))
    {
        for seed in 0..8 {
            let storage = SimStorage::new();
            let mut journal = open(&storage);
            for number in 0..3u8 {
                journal.append(StreamId::RESULT, &[number]).unwrap();
            }
            journal.sync().unwrap();
            journal.release(StreamId::RESULT, 1).unwrap();
            journal.checkpoint().unwrap();
            journal.release(StreamId::RESULT, 2).unwrap();
            storage.arm(Fault::PowerCut(first));
            let _ = journal.checkpoint();
            let storage = storage.restart(seed);
            storage.arm(Fault::PowerCut(second));
            let _ = Journal::open(storage.clone(), &config(), salts(1));
            let storage = storage.restart(seed + 100);
            let (journal, recovery) = Journal::open(storage, &config(), salts(1)).unwrap();
            assert!(!recovery.cursor_lost, "cut {first}, {second}, seed {seed}");
            assert!(journal.released(StreamId::RESULT) >= 1);
        }
    }
}

#[test]
fn a_device_mounted_read_only_shows_only_what_it_has() {
    let storage = killed_after_a_failed_sync();
    storage.arm(Fault::ReadOnly);
    let (mut journal, recovery) = Journal::open(storage.clone(), &config(), salts(1)).unwrap();
    assert!(recovery.takes_no_writes.is_some() && journal.is_secured());
    let found = payloads(&journal, StreamId::RESULT);
    assert_eq!(found, [b"durable"], "the other one never reached it");
    storage.disarm();
    journal.append(StreamId::RESULT, b"new").unwrap();
    journal.sync().unwrap();
    for seed in 0..20 {
        let found = payloads(&open(&storage.restart(seed)), StreamId::RESULT);
        assert_eq!(found, [&b"durable"[..], b"new"], "seed {seed}");
    }
}

#[test]
fn nothing_is_written_behind_what_the_device_still_does_not_take() {
    let storage = killed_after_a_failed_sync();
    storage.arm(Fault::SyncFails(0));
    let (mut journal, recovery) = Journal::open(storage.clone(), &config(), salts(1)).unwrap();
    assert!(recovery.takes_no_writes.is_some());
    journal.append(StreamId::RESULT, b"new").unwrap();
    storage.arm(Fault::SyncFails(0));
    let error = journal.sync().unwrap_err();
    assert_eq!((error.first, error.last), (3, 3));
    assert_eq!(journal.durable(StreamId::RESULT), 2);
    for seed in 0..20 {
        let found = payloads(&open(&storage.restart(seed)), StreamId::RESULT);
        assert!(!found.contains(&b"new".to_vec()), "{found:?}");
    }
    journal.sync().unwrap();
    assert_eq!(
        payloads(&journal, StreamId::RESULT),
        [&b"durable"[..], &LEFT, b"new"]
    );
}

#[test]
fn a_hundred_thousand_records_are_all_there_after_a_restart() {
    let mut config = config();
    config.segment_bytes = 1 << 20;
    config.streams[0].cap_bytes = 64 << 20;
    let storage = SimStorage::new();
    let (mut journal, _) = Journal::open(storage.clone(), &config, salts(1)).unwrap();
    for number in 0u64..100_000 {
        journal
            .append(StreamId::RESULT, &number.to_le_bytes())
            .unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    let (journal, recovery) = Journal::open(storage, &config, salts(2)).unwrap();
    assert_eq!(recovery.records, 100_000);
    let mut next = 1;
    while next <= 100_000 {
        for entry in journal.read(StreamId::RESULT, next, 64 * 1024).unwrap() {
            let Entry::Record { seq, payload, .. } = entry else {
                panic!()
            };
            assert_eq!((seq, payload), (next, (next - 1).to_le_bytes().to_vec()));
            next += 1;
        }
    }
}

#[test]
fn a_real_directory_keeps_everything_over_restarts_and_admits_one_journal() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("journal");
    for round in 0..3u64 {
        let storage = DirStorage::open(&path).unwrap();
        assert!(matches!(
            DirStorage::open(&path),
            Err(OpenError::Locked { .. })
        ));
        let (mut journal, recovery) = Journal::open(storage, &config(), salts(round)).unwrap();
        assert_eq!(recovery.damaged_records, 0);
        let held: Vec<_> = (0..round * 50)
            .map(|number| payload_of(number, 700))
            .collect();
        assert_eq!(payloads(&journal, StreamId::RESULT), held);
        for number in round * 50..(round + 1) * 50 {
            journal
                .append(StreamId::RESULT, &payload_of(number, 700))
                .unwrap();
        }
        journal
            .ledger()
            .put(b"round", &round.to_le_bytes())
            .unwrap();
        journal.sync().unwrap();
        assert_eq!(
            journal.ledger().get(b"round").unwrap().unwrap(),
            round.to_le_bytes()
        );
    }
}
