//! Restore into a state directory whose database is a link to another disk.
//! Never needs a second disk: a directory stands for it.

use super::*;
use std::path::Path;

/// A database that its owner keeps on another disk, behind a link; its backup, with `k` as `kept`.
async fn linked() -> (tempfile::TempDir, CheckedBackup) {
    let (dir, store) = open().await;
    store.set_meta("k", "kept".into()).await.unwrap();
    let backup = dir.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    store.close().await;
    let (link, data) = (
        dir.path().join("state/holdfast.db"),
        dir.path().join("data"),
    );
    std::fs::create_dir(&data).unwrap();
    std::fs::rename(&link, data.join("fleet.db")).unwrap();
    std::os::unix::fs::symlink(data.join("fleet.db"), &link).unwrap();
    (dir, CheckedBackup::open(&backup).await.unwrap())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn a_database_behind_a_link_is_restored_where_it_is() {
    let (dir, backup) = linked().await;
    let (state, data) = (dir.path().join("state"), dir.path().join("data"));
    let there = Store::open(&state).await.unwrap();
    there.set_meta("k", "newer".into()).await.unwrap();
    there.close().await;
    let caller = || Caller::local(NOW);
    let refused = backup.restore(&state, false, caller()).await;
    assert!(matches!(refused, Err(RestoreError::InUse { .. })));
    // The log of a bridge that was killed, which must not be played into another database.
    std::fs::write(data.join("fleet.db-wal"), b"log").unwrap();
    let staged = backup.stage(&state, true, caller()).await.unwrap();
    assert!(data.join("fleet.db.restoring/holdfast.db").exists());
    staged.replace().unwrap();
    assert_eq!(
        (names(&state), names(&data)),
        (vec!["holdfast.db".into()], vec!["fleet.db".into()])
    );
    assert!(state.join("holdfast.db").is_symlink());
    let restored = Store::open(&state).await.unwrap();
    assert_eq!(restored.meta("k").await.unwrap(), Some("kept".into()));
    restored.close().await;
    // The other disk was lost, and an empty one is in its place.
    std::fs::remove_file(data.join("fleet.db")).unwrap();
    backup.restore(&state, false, caller()).await.unwrap();
    assert!(state.join("holdfast.db").is_symlink() && data.join("fleet.db").is_file());
}

#[tokio::test]
async fn a_restore_follows_a_link_for_the_directorys_owner_alone() {
    let (dir, backup) = linked().await;
    let (state, data) = (dir.path().join("state"), dir.path().join("data"));
    assert_eq!(backup.undoes(&state).await, Some(Undone::default()));
    // Only root can stand before another's directory and be able to write to it.
    if std::os::unix::fs::chown(&state, Some(65_534), Some(65_534)).is_err() {
        return;
    }
    let before = std::fs::read(data.join("fleet.db")).unwrap();
    assert_eq!(backup.undoes(&state).await, None);
    let refused = backup.restore(&state, true, Caller::local(NOW)).await;
    let RestoreError::Path { source, .. } = refused.unwrap_err() else {
        panic!("not refused for its path");
    };
    assert!(source.to_string().contains("run as user 65534"), "{source}");
    assert_eq!(std::fs::read(data.join("fleet.db")).unwrap(), before);
    assert_eq!(names(&data), ["fleet.db"]);
}
