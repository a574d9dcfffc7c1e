#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one answer that it expects"
)]

use super::*;
use holdfast_agent_core::{PersistRefusal, Write};
use holdfast_journal::{DirStorage, Fault, SimStorage};

fn store(home: &tempfile::TempDir) -> Store<DirStorage> {
    let storage = DirStorage::open(&home.path().join("journal")).unwrap();
    on(storage)
}

fn on<S: Storage>(storage: S) -> Store<S> {
    let salts = Box::new(|| 7);
    Store::open(storage, &Config::default(), salts).unwrap().0
}

fn append(class: Class, bytes: usize) -> Write {
    Write::Append {
        class,
        key: 0,
        stored: vec![b'x'; bytes],
        reserved: None,
    }
}

fn put(key: &str, value: &[u8]) -> Write {
    Write::Put {
        key: key.into(),
        value: value.to_vec(),
    }
}

fn persist(ticket: u64, writes: Vec<Write>) -> StoreOp {
    StoreOp::Persist {
        ticket: Ticket(ticket),
        writes,
    }
}

fn loaded<S: Storage>(store: &mut Store<S>, key: &str) -> Option<Vec<u8>> {
    let key = key.to_owned();
    match store.perform(vec![StoreOp::Load { key }]).pop() {
        Some(Input::Loaded { value, .. }) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_answered_is_there_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let mut first = store(&home);
    let answers = first.perform(vec![
        persist(1, vec![append(Class::Result, 10), put("a", b"1")]),
        persist(2, vec![append(Class::Result, 10), append(Class::Audit, 5)]),
    ]);
    let tickets = answers.iter().map(|answer| match answer {
        Input::Persisted {
            ticket, appended, ..
        } => (ticket.0, appended.clone()),
        other => panic!("{other:?}"),
    });
    assert_eq!(tickets.collect::<Vec<_>>(), [(1, vec![1]), (2, vec![2, 1])]);
    drop(first);
    let mut second = store(&home);
    let restored = second.restored([1; 16], [2; 32], Monotonic(1)).unwrap();
    assert_eq!(restored.ledger, [("a".to_owned(), b"1".to_vec())]);
    assert_eq!(restored.streams.map(|stream| stream.head), [2, 1, 0, 0]);
}

#[test]
fn wear_counts_from_the_start_of_the_process_and_in_all() {
    let home = tempfile::tempdir().unwrap();
    let mut first = store(&home);
    first.perform(vec![
        persist(1, vec![append(Class::Result, 1000)]),
        StoreOp::Checkpoint,
    ]);
    let before = first.wear();
    assert!(before.written_bytes > 1000);
    assert_eq!(before.written_total_bytes, before.written_bytes);
    drop(first);
    let after = store(&home).wear();
    assert_eq!(
        after.written_total_bytes,
        before.written_total_bytes + after.written_bytes
    );
}

#[test]
fn a_refused_ticket_leaves_the_ledger_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let mut store = store(&home);
    store.perform(vec![persist(1, vec![put("a", b"old")])]);
    let too_much = Write::Reserve {
        command: CommandId::from([1; 16]),
        bytes: 1 << 30,
    };
    let answers = store.perform(vec![persist(2, vec![too_much, put("a", b"new")])]);
    assert!(matches!(
        answers[..],
        [Input::PersistFailed {
            ticket: Ticket(2),
            why: PersistRefusal::Stream {
                class: Class::Result,
                ..
            }
        }]
    ));
    // The second value is above a ledger's bound: the first of the ticket is taken back.
    let huge = vec![0; 32 << 20];
    let answers = store.perform(vec![persist(3, vec![put("a", b"new"), put("b", &huge)])]);
    assert!(matches!(answers[..], [Input::PersistFailed { .. }]));
    assert_eq!(loaded(&mut store, "a").unwrap(), b"old");
    assert!(!store.is_delayed());
}

/// Takes the journal's segments out of its directory, or brings them back.
fn move_segments(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        if name.to_str().unwrap().starts_with("segment-") {
            std::fs::rename(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

#[test]
fn a_refused_ticket_changes_nothing_while_the_device_gives_nothing_back() {
    let home = tempfile::tempdir().unwrap();
    let (journal, away) = (home.path().join("journal"), home.path().join("away"));
    let mut store = store(&home);
    store.perform(vec![persist(1, vec![put("a", b"old")])]);
    move_segments(&journal, &away);
    let huge = vec![0; 32 << 20];
    let answers = store.perform(vec![persist(2, vec![put("a", b"new"), put("b", &huge)])]);
    assert!(
        matches!(answers[..], [Input::PersistFailed { .. }]),
        "{answers:?}"
    );
    move_segments(&away, &journal);
    assert_eq!(loaded(&mut store, "a").unwrap(), b"old");
}

#[test]
fn what_a_full_ledger_refuses_leaves_neither_a_record_nor_a_reservation() {
    let home = tempfile::tempdir().unwrap();
    let mut store = store(&home);
    let too_much = put("a", &vec![0; 32 << 20]);
    let reserve = Write::Reserve {
        command: CommandId::from([1; 16]),
        bytes: 100_000,
    };
    for ticket in 1..4 {
        let writes = vec![
            reserve.clone(),
            append(Class::Result, 10),
            append(Class::Audit, 10),
            too_much.clone(),
        ];
        let answers = store.perform(vec![persist(ticket, writes)]);
        assert!(matches!(answers[..], [Input::PersistFailed { .. }]));
    }
    store.perform(vec![persist(4, vec![append(Class::Result, 10)])]);
    let [results, audit, ..] = store.figures();
    assert_eq!((results.head, audit.head), (1, 0));
    assert_eq!(results.reserved_bytes, 0);
}

#[test]
fn a_record_comes_once_however_often_the_rest_of_its_ticket_is_tried() {
    let storage = SimStorage::new();
    let mut store = on(storage.clone());
    storage.arm(Fault::ReadOnly);
    let large = vec![0; 200 << 10];
    // The first fills the ledger's buffer, so that of the second only the append has room.
    let first = persist(1, vec![put("a", &large)]);
    let second = persist(2, vec![append(Class::Result, 10), put("b", &large)]);
    let mut answers = store.perform(vec![first, second]);
    for _ in 0..5 {
        assert!(store.is_delayed());
        answers = store.perform(Vec::new());
    }
    let delayed = |answer: &Input| matches!(answer, Input::PersistDelayed { .. });
    assert!(answers.iter().all(delayed), "{answers:?}");
    storage.mend();
    let answers = store.perform(Vec::new());
    let tickets = answers.iter().map(|answer| match answer {
        Input::Persisted {
            ticket, appended, ..
        } => (ticket.0, appended.clone()),
        other => panic!("{other:?}"),
    });
    assert_eq!(tickets.collect::<Vec<_>>(), [(1, vec![]), (2, vec![1])]);
    assert_eq!(store.figures()[0].head, 1);
    assert_eq!(loaded(&mut store, "b").unwrap(), large);
}

#[test]
fn reservations_are_used_and_given_back() {
    let home = tempfile::tempdir().unwrap();
    let mut store = store(&home);
    let command = CommandId::from([1; 16]);
    let bytes = 100_000;
    store.perform(vec![persist(1, vec![Write::Reserve { command, bytes }])]);
    let [results, ..] = store.figures();
    assert!(results.reserved_bytes >= bytes);
    let within = Write::Append {
        class: Class::Result,
        key: 0,
        stored: vec![0; 50_000],
        reserved: Some(command),
    };
    store.perform(vec![persist(2, vec![within])]);
    let [used, ..] = store.figures();
    assert!(used.reserved_bytes < bytes && used.reserved_bytes > 0);
    store.perform(vec![persist(3, vec![Write::Unreserve { command }])]);
    assert_eq!(store.figures()[0].reserved_bytes, 0);
}

#[test]
fn a_read_keeps_its_bounds() {
    let home = tempfile::tempdir().unwrap();
    let mut store = store(&home);
    let writes = (0..10).map(|_| append(Class::Log, 100)).collect();
    store.perform(vec![persist(1, writes)]);
    let read = StoreOp::Read {
        class: Class::Log,
        from: 3,
        up_to: 8,
        max_records: 4,
        max_bytes: 1 << 20,
    };
    match store.perform(vec![read]).pop() {
        Some(Input::Records { entries, .. }) => {
            let places: Vec<u64> = entries.iter().map(Entry::last).collect();
            assert_eq!(places, [3, 4, 5, 6]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_record_is_given_out_before_the_ledger_knows_of_it() {
    let disk = SimStorage::new();
    let mut store = on(disk.clone());
    let heads = |answers: &[Input]| match answers.last() {
        Some(Input::Released { streams } | Input::Persisted { streams, .. }) => {
            streams.map(|stream| stream.head)
        }
        other => panic!("{other:?}"),
    };
    let told = store.perform(vec![persist(1, vec![append(Class::Result, 10)])]);
    assert_eq!(heads(&told), [1, 0, 0, 0]);
    // The stream is synced before the ledger.
    disk.arm(Fault::SyncFails(1));
    let answers = store.perform(vec![
        persist(2, vec![append(Class::Result, 10), put("a", b"1")]),
        StoreOp::Release {
            class: Class::Result,
            up_to: 1,
        },
    ]);
    assert!(matches!(answers[..], [Input::PersistDelayed { .. }, _]));
    assert_eq!(heads(&answers), [1, 0, 0, 0]);
    assert_eq!(heads(&store.perform(Vec::new())), [2, 0, 0, 0]);
    assert_eq!(loaded(&mut store, "a").unwrap(), b"1");
}
