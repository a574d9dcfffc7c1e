//! A journal with any bytes in its files: it opens or says why not, takes new records, and keeps them.
#![no_main]

use holdfast_journal::{
    Config, Entry, Journal, Policy, SaltSource, SimStorage, Storage, StreamConfig, StreamId,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const STREAMS: [StreamId; 4] = [StreamId::RESULT, StreamId::AUDIT, StreamId::STATE, StreamId::LOG];

fn config() -> Config {
    let stream = |stream, policy| StreamConfig {
        stream,
        cap_bytes: 16 * 1024,
        policy,
    };
    Config {
        segment_bytes: 4096,
        streams: vec![
            stream(StreamId::RESULT, Policy::Refuse),
            stream(StreamId::AUDIT, Policy::Refuse),
            stream(StreamId::STATE, Policy::NewestPerKey),
            stream(StreamId::LOG, Policy::OldestFirst),
        ],
        ledger_cap_bytes: 16 * 1024,
    }
}

fn salts() -> SaltSource {
    let mut next = 0;
    Box::new(move || {
        next += 1;
        next
    })
}

/// A small journal as an agent leaves it.
static HEALTHY: LazyLock<SimStorage> = LazyLock::new(|| {
    let storage = SimStorage::new();
    let (mut journal, _) = Journal::open(storage.clone(), &config(), salts()).expect("opens");
    for round in 0..12_u8 {
        for stream in STREAMS {
            let _ = journal.append_keyed(stream, u16::from(round % 3), &[round; 200]);
        }
        let _ = journal.ledger().put(&[b'k', round % 4], &[round; 60]);
        journal.sync().expect("syncs");
    }
    journal.release(StreamId::RESULT, 4).expect("releases");
    journal.checkpoint().expect("checkpoints");
    storage
});

/// Writes bytes into files: which one, where, how many, and they.
fn damage(storage: &SimStorage, mut bytes: &[u8]) {
    let files = storage.list().expect("lists");
    while let [which, low, high, length, rest @ ..] = bytes {
        let name = &files[usize::from(*which) % files.len()].name;
        let (written, left) = rest.split_at(usize::from(*length).min(rest.len()));
        let mut content = storage.contents(name).unwrap_or_default();
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        if *length == 0 {
            content.truncate(at);
        } else {
            let end = (at + written.len()).min(8192);
            content.resize(content.len().max(end), 0);
            for (to, from) in content.iter_mut().skip(at).zip(written) {
                *to = *from;
            }
        }
        storage.overwrite(name, content);
        bytes = left;
    }
}

/// Reads all of a stream; what comes is in order.
fn read_all(journal: &Journal<SimStorage>, stream: StreamId) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut from = 1;
    while let Ok(entries) = journal.read(stream, from, 4096) {
        let Some(last) = entries.last().map(Entry::last_seq) else {
            break;
        };
        assert!(last >= from, "a read does not advance");
        from = last.saturating_add(1);
        all.extend(entries);
        assert!(all.len() < 10_000, "more entries than the files can hold");
    }
    assert!(all.is_sorted_by_key(Entry::last_seq));
    all
}

fuzz_target!(|bytes: &[u8]| {
    let storage = HEALTHY.copy();
    damage(&storage, bytes);
    let Ok((mut journal, _)) = Journal::open(storage.clone(), &config(), salts()) else {
        return;
    };
    let heads = STREAMS.map(|stream| {
        read_all(&journal, stream);
        journal.durable(stream)
    });
    let keys: Vec<Vec<u8>> = journal.ledger().keys(b"").map(<[u8]>::to_vec).collect();
    for key in keys {
        let _ = journal.ledger().get(&key);
    }
    let Ok(sequence) = journal.append(StreamId::RESULT, b"new") else {
        return;
    };
    assert!(sequence > heads[0], "a sequence is given out again");
    if journal.sync().is_err() {
        return;
    }
    drop(journal);
    let (journal, _) = Journal::open(storage, &config(), salts()).expect("its own files open");
    let kept = read_all(&journal, StreamId::RESULT);
    let new = kept.iter().any(|entry| {
        matches!(entry, Entry::Record { seq, payload, .. } if *seq == sequence && payload == b"new")
    });
    assert!(new, "a durable record is gone");
});
