//! Backup of a database in use, and its return. Never overwrites a state directory that holds one
//! unless told to.

use super::{DATABASE, OpenError, SCHEMA_VERSION, Store, StoreError, UnixMs};
use sqlx::ConnectOptions;
use sqlx::Row;
use sqlx::sqlite::SqliteConnectOptions;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Key of [`Store::meta`] that holds when this database came back from a backup.
pub const RESTORED_AT: &str = "restored_at_ms";

/// A backup was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Something is there already.
    #[error("{path} exists: name a file that does not")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file's rights cannot be set.
    #[error("{path}: its rights cannot be set")]
    Path {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A backup was not brought back; the state directory is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The directory holds a database.
    #[error("{path} exists: stop the bridge, and force the restore to replace it")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The backup is damaged.
    #[error("{path} is damaged: {found}")]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What SQLite says.
        found: String,
    },
    /// The backup cannot be read as a database.
    #[error("{path}: cannot be read as a backup")]
    Unreadable {
        /// The backup.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A file cannot be written.
    #[error("{path}: cannot be written")]
    Path {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was brought back cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was brought back cannot be marked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Writes a consistent copy of the database to a file that does not exist yet (0600), while
    /// everything goes on.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn backup(&self, path: &Path) -> Result<(), BackupError> {
        if path.exists() {
            return Err(BackupError::Exists {
                path: path.to_owned(),
            });
        }
        let mut connection = self.reads.acquire().await.map_err(StoreError::from)?;
        sqlx::query("VACUUM INTO $1")
            .bind(path.to_string_lossy().into_owned())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::from)?;
        let fault = |source| BackupError::Path {
            path: path.to_owned(),
            source,
        };
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(fault)?;
        std::fs::File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(fault)
    }
}

async fn check(backup: &Path) -> Result<(), RestoreError> {
    let unreadable = |source| RestoreError::Unreadable {
        path: backup.to_owned(),
        source,
    };
    let mut connection = SqliteConnectOptions::new()
        .filename(backup)
        .read_only(true)
        .connect()
        .await
        .map_err(unreadable)?;
    let row = sqlx::query("PRAGMA integrity_check")
        .fetch_one(&mut connection)
        .await
        .map_err(unreadable)?;
    let found: String = row.try_get(0).map_err(unreadable)?;
    let version: i64 = sqlx::query("SELECT max(version) AS version FROM schema_version")
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get("version"))
        .map_err(unreadable)?;
    // Asked before anything is replaced: a newer bridge's backup must not cost the database there.
    if version > SCHEMA_VERSION {
        return Err(RestoreError::Open(OpenError::Newer {
            path: backup.to_owned(),
            found: version,
            known: SCHEMA_VERSION,
        }));
    }
    if found == "ok" {
        Ok(())
    } else {
        Err(RestoreError::Damaged {
            path: backup.to_owned(),
            found,
        })
    }
}

/// Brings a backup back into a state directory and marks it as restored. `force` replaces a
/// database that is there; the keys beside it stay. The bridge must not be running.
///
/// # Errors
/// [`RestoreError`].
pub async fn restore(
    state_dir: &Path,
    backup: &Path,
    force: bool,
    now: UnixMs,
) -> Result<(), RestoreError> {
    check(backup).await?;
    let target = state_dir.join(DATABASE);
    if target.exists() && !force {
        return Err(RestoreError::InUse { path: target });
    }
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Path { path, source }
    };
    std::fs::create_dir_all(state_dir).map_err(fault(state_dir))?;
    // Whole or not at all: the copy is complete and synced before it takes the name.
    let staged = state_dir.join("holdfast.db.restoring");
    std::fs::copy(backup, &staged)
        .and_then(|_| std::fs::set_permissions(&staged, Permissions::from_mode(0o600)))
        .and_then(|()| std::fs::File::open(&staged)?.sync_all())
        .map_err(fault(&staged))?;
    for suffix in ["-wal", "-shm"] {
        let path = state_dir.join(format!("{DATABASE}{suffix}"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(fault(&path)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(&staged, &target)
        .and_then(|()| std::fs::File::open(state_dir)?.sync_all())
        .map_err(fault(&target))?;
    let store = Store::open(state_dir).await?;
    store.set_meta(RESTORED_AT, now.to_string()).await?;
    store.close().await;
    Ok(())
}
