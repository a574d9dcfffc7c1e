//! The database's own promises: rights, schema, groups of writes, paging, backup, retention.
//! Never a hub.

use super::*;
use holdfast_bridge_core::retention::{DAY_MS, Retention};
use holdfast_protocol::ActivationId;
use std::os::unix::fs::PermissionsExt;

mod linked;

const NOW: UnixMs = 1_790_000_000_000;

async fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).await.unwrap();
    (dir, store)
}

fn activation(n: u8, name: &str) -> NewActivation {
    NewActivation {
        id: ActivationId::from_random([n; 16]),
        code_key: [n; 32],
        description: String::new(),
        default_name: name.into(),
        iam_role: "role".into(),
        registration_limit: 1,
        expires: NOW + DAY_MS,
        tags: vec![],
    }
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let (dir, store) = open().await;
    store.set_meta("k", "v".into()).await.unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("state")), 0o700);
    for file in std::fs::read_dir(dir.path().join("state")).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (dir, store) = open().await;
    store
        .writer
        .write::<_, (), StoreError>(|connection| {
            Box::pin(async move {
                sqlx::query("INSERT INTO schema_version (version) VALUES (99)")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    store.close().await;
    let error = Store::open(&dir.path().join("state")).await.unwrap_err();
    assert!(matches!(
        error,
        OpenError::Newer {
            found: 99,
            known: SCHEMA_VERSION,
            ..
        }
    ));
}

#[tokio::test]
async fn a_failed_request_undoes_itself_and_not_its_neighbours() {
    let (_dir, store) = open().await;
    let bad = store.writer.write::<_, (), StoreError>(|connection| {
        Box::pin(async move {
            sqlx::query("INSERT INTO meta (key, value) VALUES ('bad', '1')")
                .execute(&mut *connection)
                .await?;
            Err(StoreError::Corrupt { what: "test" })
        })
    });
    let (good, bad) = tokio::join!(store.set_meta("good", "1".into()), bad);
    assert!(good.is_ok() && bad.is_err());
    assert_eq!(store.meta("good").await.unwrap(), Some("1".into()));
    assert_eq!(store.meta("bad").await.unwrap(), None);
}

#[tokio::test]
async fn what_was_answered_survives_without_a_close() {
    let (dir, store) = open().await;
    store.set_meta("k", "v".into()).await.unwrap();
    let again = Store::open(&dir.path().join("state")).await.unwrap();
    assert_eq!(again.meta("k").await.unwrap(), Some("v".into()));
    store.close().await;
    assert!(matches!(
        store.set_meta("k", "w".into()).await,
        Err(StoreError::Closed)
    ));
}

#[tokio::test]
async fn pages_cover_a_list_once() {
    let (_dir, store) = open().await;
    for n in 0..7 {
        let name = if n < 5 { "a" } else { "b" };
        store
            .create_activation(Caller::local(NOW), activation(n, name))
            .await
            .unwrap();
    }
    let mut page = Page::first(2);
    let mut seen = Vec::new();
    loop {
        let part = store
            .activations(&ActivationFilter::default(), &page)
            .await
            .unwrap();
        assert!(part.items.len() <= 2);
        seen.extend(part.items.iter().map(|activation| activation.code_key[0]));
        match part.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
    let filter = ActivationFilter {
        default_names: vec!["b".into()],
        ..Default::default()
    };
    let named = store.activations(&filter, &Page::first(2)).await.unwrap();
    assert_eq!((named.items.len(), named.next), (2, None));
    let quoted = ActivationFilter {
        iam_roles: vec!["' OR 1=1 --".into()],
        ..Default::default()
    };
    assert!(
        store
            .activations(&quoted, &Page::first(2))
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn a_disabled_key_stays_disabled_and_is_not_shown_in_logs() {
    let (_dir, store) = open().await;
    let key = AccessKey {
        access_key_id: "AKIA1".into(),
        secret: "hush".into(),
        name: "ops".into(),
        created: NOW,
        disabled: None,
    };
    assert!(
        store
            .add_access_key(Caller::local(NOW), key.clone())
            .await
            .unwrap()
    );
    assert!(
        !store
            .add_access_key(Caller::local(NOW), key.clone())
            .await
            .unwrap()
    );
    assert!(!format!("{key:?}").contains("hush"));
    assert!(
        store
            .disable_access_key(Caller::local(NOW), "AKIA1".into())
            .await
            .unwrap()
    );
    assert!(
        store
            .disable_access_key(Caller::local(NOW + 5), "AKIA1".into())
            .await
            .unwrap()
    );
    assert_eq!(
        store.access_key("AKIA1").await.unwrap().unwrap().disabled,
        Some(NOW)
    );
    assert!(
        !store
            .disable_access_key(Caller::local(NOW), "AKIA2".into())
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_nothing_is_replaced() {
    let (dir, store) = open().await;
    store.set_meta("k", "v".into()).await.unwrap();
    let backup = dir.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    assert!(matches!(
        store.backup(&backup).await,
        Err(BackupError::Exists { .. })
    ));
    store.close().await;
    let damaged = dir.path().join("damaged.db");
    std::fs::write(&damaged, b"SQLite format 3\0 and nothing else").unwrap();
    let state = dir.path().join("state");
    assert!(CheckedBackup::open(&damaged).await.is_err());
    let whole = CheckedBackup::open(&backup).await.unwrap();
    assert!(
        whole
            .restore(&state, false, Caller::local(NOW))
            .await
            .is_err()
    );
    let again = Store::open(&state).await.unwrap();
    assert_eq!(again.meta("k").await.unwrap(), Some("v".into()));
    again.close().await;
    let fresh = dir.path().join("fresh");
    whole
        .restore(&fresh, false, Caller::local(NOW))
        .await
        .unwrap();
    let fresh = Store::open(&fresh).await.unwrap();
    assert_eq!(fresh.meta("k").await.unwrap(), Some("v".into()));
}

#[tokio::test]
async fn a_newer_bridges_backup_is_refused_before_anything_is_replaced() {
    use sqlx::ConnectOptions;
    let (dir, store) = open().await;
    let backup = dir.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    store.set_meta("k", "v".into()).await.unwrap();
    store.close().await;
    let mut newer = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&backup)
        .connect()
        .await
        .unwrap();
    sqlx::query("INSERT INTO schema_version (version) VALUES (99)")
        .execute(&mut newer)
        .await
        .unwrap();
    sqlx::Connection::close(newer).await.unwrap();
    let state = dir.path().join("state");
    assert!(matches!(
        CheckedBackup::open(&backup).await,
        Err(RestoreError::Open(OpenError::Newer { found: 99, .. }))
    ));
    let again = Store::open(&state).await.unwrap();
    assert_eq!(again.meta("k").await.unwrap(), Some("v".into()));
}

#[tokio::test]
async fn old_entries_go_and_young_ones_stay() {
    let (_dir, store) = open().await;
    let (old, young) = (NOW - 91 * DAY_MS, NOW - DAY_MS);
    store
        .create_activation(Caller::local(old), activation(1, ""))
        .await
        .unwrap();
    store
        .create_activation(Caller::local(young), activation(2, ""))
        .await
        .unwrap();
    assert_eq!(store.prune(Retention::default(), NOW).await.unwrap(), 1);
    assert_eq!(store.prune(Retention::default(), NOW).await.unwrap(), 0);
    let left = store
        .audit(&Default::default(), &Page::first(10))
        .await
        .unwrap()
        .items;
    assert_eq!(
        left.iter().map(|entry| entry.at).collect::<Vec<_>>(),
        [young]
    );
}

#[tokio::test]
async fn changes_are_found_by_time_key_and_node() {
    let (_dir, store) = open().await;
    let named = |id: &str, name: &str| AccessKey {
        access_key_id: id.into(),
        secret: "s".into(),
        name: name.into(),
        created: NOW,
        disabled: None,
    };
    for (id, name, at) in [("AKIA1", "alice", NOW), ("AKIA2", "bob", NOW + 10)] {
        let caller = Caller::local_user("root", at);
        store.add_access_key(caller, named(id, name)).await.unwrap();
    }
    let by = |id: &str| Caller {
        access_key_id: id.into(),
        now: NOW + 20,
    };
    store
        .create_activation(by("AKIA1"), activation(1, ""))
        .await
        .unwrap();
    let count = async |filter: AuditFilter, limit: u32| {
        let mut page = Page::first(limit);
        let mut ids = Vec::new();
        loop {
            let found = store.audit(&filter, &page).await.unwrap();
            ids.extend(found.items.iter().map(|entry| entry.id));
            let Some(next) = found.next else { break };
            page.after = Some(next);
        }
        assert!(ids.is_sorted_by(|a, b| a > b), "newest first");
        ids.len()
    };
    let key = |key: &str| AuditFilter {
        key: Some(key.into()),
        ..AuditFilter::default()
    };
    assert_eq!(count(AuditFilter::default(), 1).await, 3);
    assert_eq!(count(key("alice"), 10).await, 1);
    assert_eq!(count(key("AKIA1"), 10).await, 1);
    assert_eq!(count(key("root"), 10).await, 2);
    assert_eq!(count(key("carol"), 10).await, 0);
    let since = AuditFilter {
        since: Some(NOW + 10),
        ..AuditFilter::default()
    };
    assert_eq!(count(since, 10).await, 2);
    let node = AuditFilter {
        node: Some(holdfast_protocol::NodeId::from_random([1; 9])),
        ..AuditFilter::default()
    };
    assert_eq!(count(node, 10).await, 0);
}

#[tokio::test]
async fn a_backup_is_for_its_owner_alone_and_tells_what_it_would_undo() {
    let (dir, store) = open().await;
    let key = |id: &str| AccessKey {
        access_key_id: id.into(),
        secret: "hush".into(),
        name: "ops".into(),
        created: NOW,
        disabled: None,
    };
    for id in ["AKIA1", "AKIA2"] {
        let added = store.add_access_key(Caller::local(NOW), key(id)).await;
        assert!(added.unwrap());
    }
    let path = dir.path().join("backup.db");
    store.backup(&path).await.unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let disabled = store.disable_access_key(Caller::local(NOW), "AKIA2".into());
    assert!(disabled.await.unwrap());
    store.close().await;
    let state = dir.path().join("state");
    let backup = CheckedBackup::open(&path).await.unwrap();
    assert_eq!(backup.undoes(&dir.path().join("none")).await, None);
    let undone = backup.undoes(&state).await.unwrap();
    assert_eq!(undone.access_keys, ["AKIA2"]);
    assert!(undone.nodes.is_empty() && undone.unknown.is_empty());
    // What an older restore left half way is no hindrance.
    std::fs::create_dir(state.join("holdfast.db.restoring")).unwrap();
    std::fs::write(state.join("holdfast.db.restoring/holdfast.db"), b"half").unwrap();
    backup
        .restore(&state, true, Caller::local(NOW))
        .await
        .unwrap();
    let again = Store::open(&state).await.unwrap();
    let audit = again
        .audit(&AuditFilter::default(), &Page::first(1))
        .await
        .unwrap()
        .items;
    assert_eq!(audit[0].operation, "RestoreBackup");
    assert!(!state.join("holdfast.db.restoring").exists());
}

#[tokio::test]
async fn a_restore_that_fails_leaves_no_copy_behind() {
    let (dir, store) = open().await;
    store.set_meta("k", "kept".into()).await.unwrap();
    let path = dir.path().join("backup.db");
    store.backup(&path).await.unwrap();
    store.close().await;
    let state = dir.path().join("state");
    let backup = CheckedBackup::open(&path).await.unwrap();
    // It cannot be removed as a file, so the database does not come into its place.
    let beside = state.join("holdfast.db-wal");
    std::fs::create_dir(&beside).unwrap();
    let refused = backup.restore(&state, true, Caller::local(NOW)).await;
    assert!(refused.is_err());
    assert!(!state.join("holdfast.db.restoring").exists());
    let staged = backup.stage(&state, true, Caller::local(NOW)).await;
    assert!(state.join("holdfast.db.restoring").exists());
    drop(staged);
    assert!(!state.join("holdfast.db.restoring").exists());
    std::fs::remove_dir(&beside).unwrap();
    let there = Store::open(&state).await.unwrap();
    assert_eq!(there.meta("k").await.unwrap(), Some("kept".into()));
}

async fn statement(store: &Store, sql: &'static str) {
    let done = store.writer.write::<_, (), StoreError>(move |connection| {
        Box::pin(async move {
            sqlx::query(sql).execute(connection).await?;
            Ok(())
        })
    });
    done.await.unwrap();
}

async fn rows(store: &Store, sql: &'static str) -> i64 {
    use sqlx::Row;
    let row = sqlx::query(sql).fetch_one(&store.reads).await.unwrap();
    row.try_get(0).unwrap()
}

#[tokio::test]
async fn a_large_command_goes_in_batches_and_leaves_nothing() {
    let (_dir, store) = open().await;
    for sql in [
        "INSERT INTO commands (command_id, document_name, document_version, content, parameters, \
         comment, instance_ids, targets, max_concurrency, max_errors, slots, errors_allowed, \
         timeout_s, requested_ms, expires_ms, run_bound_ms, requested_by, status, status_details, \
         target_count, finished, check_ms) SELECT 'c' || value, '', '', '', '{}', '', '[]', '[]', \
         '1', '0', 1, 0, 60, value, 0, 0, '', 'Success', 'Success', 1, value < 3, 0 \
         FROM json_each('[1, 2, 3]')",
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 700) \
         INSERT INTO invocations (command_id, node_id, ordinal, requested_ms, status, status_details) \
         SELECT 'c1', 'n' || n, n, 1, 'Success', 'Success' FROM n",
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 700) \
         INSERT INTO outputs (command_id, node_id, step, stream, position, bytes) \
         SELECT 'c1', 'n1', 0, 0, n, x'00' FROM n",
    ] {
        statement(&store, sql).await;
    }
    let mut batches = 0;
    loop {
        let gone = store.prune(Retention::default(), NOW).await.unwrap();
        assert!(gone <= 256, "{gone} rows in one write");
        batches += 1;
        if gone == 0 {
            break;
        }
    }
    assert_eq!(batches, 1402 / 256 + 2);
    assert_eq!(rows(&store, "SELECT count(*) FROM outputs").await, 0);
    assert_eq!(rows(&store, "SELECT count(*) FROM invocations").await, 0);
    // What has not ended stays, however old it is.
    assert_eq!(rows(&store, "SELECT count(*) FROM commands").await, 1);
}

#[tokio::test]
async fn the_audit_trail_is_bounded_by_number_too() {
    let (_dir, store) = open().await;
    for n in 0..9 {
        let new = activation(n, "");
        let made = store.create_activation(Caller::local(NOW), new);
        made.await.unwrap();
    }
    let retention = Retention {
        audit_max: 4,
        ..Retention::default()
    };
    assert_eq!(store.prune(retention, NOW).await.unwrap(), 5);
    assert_eq!(rows(&store, "SELECT min(audit_id) FROM audit").await, 6);
}

#[tokio::test]
async fn a_node_that_says_much_loses_its_own_oldest_events_only() {
    let (_dir, store) = open().await;
    statement(
        &store,
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 700) \
         INSERT INTO node_events (node_id, class, name, detail, received_ms) \
         SELECT iif(n % 100 = 0, 'mi-00000000000000001', 'mi-00000000000000002'), 3, 'line', '', n \
         FROM numbers",
    )
    .await;
    let retention = Retention {
        node_events_max: 10,
        ..Retention::default()
    };
    assert_eq!(store.prune_crowded(retention).await.unwrap(), 693 - 10);
    assert_eq!(store.prune_crowded(retention).await.unwrap(), 0);
    let of_other = "SELECT count(*) FROM node_events WHERE node_id = 'mi-00000000000000001'";
    assert_eq!(rows(&store, of_other).await, 7);
    let oldest = "SELECT min(event_id) FROM node_events WHERE node_id = 'mi-00000000000000002'";
    assert_eq!(rows(&store, oldest).await, 690);
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing() {
    let (dir, store) = open().await;
    store.close().await;
    let path = dir.path().join("backup.db");
    assert!(store.backup(&path).await.is_err());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_begin_together_make_one_schema() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let open = |_| {
        let state = state.clone();
        tokio::spawn(async move { Store::open(&state).await })
    };
    let opened: Vec<_> = (0..8).map(open).collect();
    let mut stores = Vec::new();
    for store in opened {
        stores.push(store.await.unwrap().unwrap());
    }
    let versions = rows(&stores[0], "SELECT count(*) FROM schema_version").await;
    assert_eq!(versions, SCHEMA_VERSION);
}
