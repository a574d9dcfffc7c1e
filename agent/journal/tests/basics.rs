//! The journal through its public surface, on a disk that works.
//! It never looks at bytes on disk: that is the business of `damage.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use common::{config, payload_of, salts};
use holdfast_journal::{
    Change, Entry, GapReason, Journal, MAX_RECORD, Refusal, ReleaseError, SimStorage, StreamId,
};

fn open(storage: &SimStorage) -> Journal<SimStorage> {
    let (journal, recovery) = Journal::open(storage.clone(), &config(), salts(1)).unwrap();
    assert_eq!(recovery.damaged_records, 0);
    journal
}

fn record(seq: u64, payload: &[u8]) -> Entry {
    Entry::Record {
        seq,
        key: 0,
        payload: payload.to_vec(),
    }
}

#[test]
fn records_are_read_in_order_only_once_durable_and_until_acknowledged() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    assert_eq!(journal.append(StreamId::RESULT, b"one").unwrap(), 1);
    assert_eq!(journal.append(StreamId::RESULT, b"two").unwrap(), 2);
    assert_eq!(journal.read(StreamId::RESULT, 1, 1000).unwrap(), []);
    journal.sync().unwrap();
    let both = [record(1, b"one"), record(2, b"two")];
    assert_eq!(journal.read(StreamId::RESULT, 1, 1000).unwrap(), both);
    journal.release(StreamId::RESULT, 1).unwrap();
    assert_eq!(journal.read(StreamId::RESULT, 1, 1000).unwrap(), both[1..]);
    drop(journal);
    // The acknowledgement was lazy: after a restart the record is read again, and is the same.
    let journal = open(&storage);
    assert_eq!(journal.read(StreamId::RESULT, 1, 1000).unwrap(), both);
}

#[test]
fn a_page_holds_what_was_asked_for_but_at_least_one_record() {
    let mut journal = open(&SimStorage::new());
    for size in [2000, 10, 10] {
        journal
            .append(StreamId::RESULT, &payload_of(size as u64, size))
            .unwrap();
    }
    journal.sync().unwrap();
    let page = |from, bytes| journal.read(StreamId::RESULT, from, bytes).unwrap().len();
    assert_eq!(page(1, 1), 1);
    assert_eq!(page(1, 2050), 1);
    assert_eq!(page(1, 2100), 2);
    assert_eq!(page(2, 1000), 2);
    assert_eq!(page(4, 1000), 0);
}

#[test]
fn the_largest_record_passes_and_a_larger_one_is_refused_with_the_bound() {
    let mut journal = open(&SimStorage::new());
    let largest = payload_of(7, MAX_RECORD);
    journal.append(StreamId::RESULT, &largest).unwrap();
    journal.sync().unwrap();
    let found = journal.read(StreamId::RESULT, 1, 1).unwrap();
    assert_eq!(found, [record(1, &largest)]);
    let refused = journal.append(StreamId::RESULT, &[0; MAX_RECORD + 1]);
    assert!(matches!(
        refused,
        Err(Refusal::TooLarge {
            max: MAX_RECORD,
            ..
        })
    ));
}

#[test]
fn results_are_refused_at_the_cap_and_taken_again_after_acknowledgement() {
    let mut journal = open(&SimStorage::new());
    let mut taken = 0;
    let refusal = loop {
        match journal.append(StreamId::RESULT, &[1; 1000]) {
            Ok(seq) => taken = seq,
            Err(refusal) => break refusal,
        }
    };
    let Refusal::Full {
        cap_bytes,
        used_bytes,
        need_bytes,
        ..
    } = refusal
    else {
        panic!("{refusal}");
    };
    assert_eq!(cap_bytes, common::RESULT_CAP);
    assert!(used_bytes <= cap_bytes && used_bytes + need_bytes > cap_bytes);
    assert!(taken > 300, "{taken}");
    journal.sync().unwrap();
    journal.release(StreamId::RESULT, taken).unwrap();
    journal.append(StreamId::RESULT, &[1; 1000]).unwrap();
}

#[test]
fn a_reservation_holds_its_room_against_everyone_else() {
    let mut journal = open(&SimStorage::new());
    let mut reservation = journal.reserve(StreamId::RESULT, MAX_RECORD).unwrap();
    while journal.append(StreamId::RESULT, &[1; 1000]).is_ok() {}
    let worst = payload_of(3, MAX_RECORD);
    assert!(matches!(
        journal.append(StreamId::RESULT, &worst),
        Err(Refusal::Full { .. })
    ));
    journal
        .append_reserved(&mut reservation, 0, &worst)
        .unwrap();
    journal.unreserve(reservation);
    journal.sync().unwrap();
    let status = journal.status().streams[0];
    assert_eq!(status.reserved_bytes, 0);
    assert!(status.used_bytes <= status.cap_bytes);
}

#[test]
fn an_acknowledgement_above_what_was_durable_is_refused() {
    let mut journal = open(&SimStorage::new());
    journal.append(StreamId::RESULT, b"x").unwrap();
    let refused = journal.release(StreamId::RESULT, 1);
    assert!(matches!(
        refused,
        Err(ReleaseError::BeyondEnd {
            up_to: 1,
            durable: 0,
            ..
        })
    ));
}

#[test]
fn full_logs_lose_the_oldest_as_a_counted_gap_that_survives_a_restart() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    for number in 0..1000 {
        journal
            .append(StreamId::LOG, &payload_of(number, 500))
            .unwrap();
        if number % 10 == 0 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
    let check = |journal: &Journal<SimStorage>| {
        let status = journal.status().streams[3];
        assert!(status.used_bytes <= status.cap_bytes);
        let entries = journal.read(StreamId::LOG, 1, usize::MAX).unwrap();
        let Entry::Gap {
            first: 1,
            last,
            reason: GapReason::Evicted,
        } = entries[0]
        else {
            panic!("{:?}", entries[0]);
        };
        assert_eq!(last, status.evicted);
        let rest: Vec<_> = (last + 1..=1000)
            .map(|seq| record(seq, &payload_of(seq - 1, 500)))
            .collect();
        assert_eq!(entries[1..], rest);
        assert!(rest.len() > 50);
    };
    check(&journal);
    drop(journal);
    check(&open(&storage));
}

#[test]
fn full_state_keeps_the_newest_of_each_key() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    journal
        .append_keyed(StreamId::STATE, 9, b"rare but newest")
        .unwrap();
    for number in 0..500 {
        let key = u16::try_from(number % 3).unwrap();
        journal
            .append_keyed(StreamId::STATE, key, &payload_of(number, 700))
            .unwrap();
        journal.sync().unwrap();
        let status = journal.status().streams[2];
        assert!(status.used_bytes <= status.cap_bytes, "{status:?}");
    }
    for journal in [journal, open(&storage)] {
        let entries = journal.read(StreamId::STATE, 1, usize::MAX).unwrap();
        assert!(matches!(
            entries[0],
            Entry::Gap {
                first: 1,
                reason: GapReason::Evicted,
                ..
            }
        ));
        let mut newest = std::collections::BTreeMap::new();
        for entry in &entries[1..] {
            let Entry::Record { key, payload, .. } = entry else {
                panic!()
            };
            newest.insert(*key, payload.clone());
        }
        assert_eq!(newest[&9], b"rare but newest");
        assert_eq!(newest[&0], payload_of(498, 700));
        assert_eq!(newest[&1], payload_of(499, 700));
        assert_eq!(newest[&2], payload_of(497, 700));
    }
}

#[test]
fn a_slow_stream_never_pins_the_files_of_another() {
    let mut journal = open(&SimStorage::new());
    for number in 0..2000 {
        if number < 10 {
            journal
                .append(StreamId::LOG, b"never acknowledged")
                .unwrap();
        }
        let seq = journal.append(StreamId::RESULT, &[7; 1000]).unwrap();
        journal.sync().unwrap();
        journal.release(StreamId::RESULT, seq).unwrap();
    }
    let status = journal.status();
    assert!(status.streams[0].segments <= 2, "{status:?}");
    assert_eq!(status.streams[3].records, 10);
}

#[test]
fn sequences_go_on_after_everything_was_acknowledged_and_reclaimed() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    let mut last = 0;
    for _ in 0..300 {
        last = journal.append(StreamId::RESULT, &[7; 1000]).unwrap();
        journal.sync().unwrap();
        journal.release(StreamId::RESULT, last).unwrap();
    }
    journal.checkpoint().unwrap();
    drop(journal);
    let mut journal = open(&storage);
    assert_eq!(journal.read(StreamId::RESULT, 1, 1000).unwrap(), []);
    assert_eq!(journal.append(StreamId::RESULT, b"next").unwrap(), last + 1);
    journal.sync().unwrap();
    assert_eq!(
        journal.read(StreamId::RESULT, 1, 1000).unwrap(),
        [record(last + 1, b"next")]
    );
}

#[test]
fn the_ledger_keeps_the_last_value_of_each_key_over_compaction_and_restart() {
    let storage = SimStorage::new();
    let mut journal = open(&storage);
    journal.ledger().put(b"meta/counter", b"kept").unwrap();
    journal.ledger().put(b"meta/gone", b"dropped").unwrap();
    journal.ledger().remove(b"meta/gone").unwrap();
    let large = payload_of(5, 9000);
    journal.ledger().put(b"large", &large).unwrap();
    for number in 0..2000u64 {
        let key = format!("command/{}", number % 5);
        journal
            .ledger()
            .put(key.as_bytes(), &number.to_le_bytes())
            .unwrap();
        journal.sync().unwrap();
    }
    let status = *journal.status().streams.last().unwrap();
    assert!(status.segments <= 6, "{status:?}");
    for mut journal in [journal, open(&storage)] {
        let ledger = journal.ledger();
        assert_eq!(ledger.len(), 7);
        assert_eq!(ledger.get(b"meta/counter").unwrap().unwrap(), b"kept");
        assert_eq!(ledger.get(b"large").unwrap().unwrap(), large);
        assert_eq!(ledger.get(b"meta/gone").unwrap(), None);
        let commands: Vec<_> = ledger.iter(b"command/").map(Result::unwrap).collect();
        let expected: Vec<_> = (0..5u64)
            .map(|key| {
                (
                    format!("command/{key}").into_bytes(),
                    (1995 + key).to_le_bytes().to_vec(),
                )
            })
            .collect();
        assert_eq!(commands, expected);
    }
}

#[test]
fn a_full_ledger_refuses_with_its_bound_and_keeps_the_old_value() {
    let mut journal = open(&SimStorage::new());
    journal.ledger().put(b"key", b"old").unwrap();
    let mut number = 0u32;
    while journal
        .ledger()
        .put(&number.to_le_bytes(), &[0; 8000])
        .is_ok()
    {
        number += 1;
    }
    let refused = journal.ledger().put(b"key", &[1; 20_000]);
    assert!(matches!(
        refused,
        Err(Refusal::Full {
            cap_bytes: common::LEDGER_CAP,
            ..
        })
    ));
    assert_eq!(journal.ledger().get(b"key").unwrap().unwrap(), b"old");
    journal.ledger().remove(&0u32.to_le_bytes()).unwrap();
    journal.ledger().remove(&1u32.to_le_bytes()).unwrap();
    journal.ledger().remove(&2u32.to_le_bytes()).unwrap();
    journal.ledger().put(b"key", &[1; 20_000]).unwrap();
}

#[test]
fn changes_are_admitted_together_exactly_where_each_would_be_taken_after_the_other() {
    let mut journal = open(&SimStorage::new());
    let value = vec![0; 20_000];
    let keys: Vec<[u8; 1]> = (0..20).map(|key| [key]).collect();
    let puts: Vec<Change<'_>> = keys
        .iter()
        .map(|key| Change::Put {
            key,
            value_bytes: value.len(),
        })
        .collect();
    let fits = (1..puts.len())
        .find(|count| journal.admits(&puts[..*count]).is_err())
        .unwrap()
        - 1;
    for key in &keys[..fits] {
        journal.ledger().put(key, &value).unwrap();
    }
    let refused = journal.ledger().put(&keys[fits], &value);
    assert!(matches!(refused, Err(Refusal::Full { .. })));
    // What is replaced makes room, and so does what goes before.
    assert!(journal.admits(&puts[..fits]).is_ok());
    assert!(journal.admits(&puts[fits..=fits]).is_err());
    let [first, other] = [&keys[0], &keys[fits]];
    let exchanged = [
        Change::Remove { key: first },
        Change::Put {
            key: other,
            value_bytes: value.len(),
        },
    ];
    assert!(journal.admits(&exchanged).is_ok());
}

#[test]
fn appends_are_admitted_together_within_the_cap_and_a_reservation() {
    let mut journal = open(&SimStorage::new());
    let reservation = journal.reserve(StreamId::RESULT, 1000).unwrap();
    while journal.append(StreamId::RESULT, &[1; 1000]).is_ok() {}
    let append = |reservation| Change::Append {
        stream: StreamId::RESULT,
        key: 0,
        payload_bytes: 1000,
        reservation,
    };
    assert!(journal.admits(&[append(Some(&reservation))]).is_ok());
    assert!(journal.admits(&[append(None)]).is_err());
    let both = [append(Some(&reservation)), append(None)];
    assert!(journal.admits(&both).is_err());
    journal.unreserve(reservation);
}
