//! Backup of a database in use, and its return. Never overwrites a state directory that holds one
//! unless told to.

use super::audit::record;
use super::{Caller, DATABASE, OpenError, SCHEMA_VERSION, Store, StoreError};
use crate::files::{
    behind_links, give_to_owner, make_private_dir, new_private, new_private_dir, unless_missing,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use std::fmt::Display;
use std::fs::File;
use std::io;
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
    /// The file cannot be made.
    #[error("{path}: cannot be written")]
    Path {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
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
    #[error("{path} exists: stop the bridge, and give --force to replace it")]
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
        source: io::Error,
    },
    /// What was brought back cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was brought back cannot be marked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What follows the database's name in that of the folder beside it where a restore prepares what takes
/// its place.
const STAGING: &str = ".restoring";

impl Store {
    /// Writes a consistent copy of the database to a file that does not exist yet (0600), while
    /// everything goes on.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn backup(&self, path: &Path) -> Result<(), BackupError> {
        let fault = |source: io::Error| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::AlreadyExists {
                BackupError::Exists { path }
            } else {
                BackupError::Path { path, source }
            }
        };
        // SQLite takes an empty file for none, and leaves its rights as they are.
        let file = new_private(path).map_err(fault)?;
        let copied = self.vacuum_into(path).await;
        let copied = copied.and_then(|()| file.sync_all().map_err(fault));
        if copied.is_err()
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "half a backup stays behind");
        }
        copied
    }

    async fn vacuum_into(&self, path: &Path) -> Result<(), BackupError> {
        let mut connection = self.reads.acquire().await.map_err(StoreError::from)?;
        sqlx::query("VACUUM INTO $1")
            .bind(path.to_string_lossy().into_owned())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::from)?;
        Ok(())
    }
}

/// What a restore brings back although somebody ended it since, as far as the database that is
/// replaced can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Nodes deregistered since the backup: registered again.
    pub nodes: Vec<String>,
    /// Access keys disabled since the backup: good again.
    pub access_keys: Vec<String>,
    /// Nodes registered since the backup: unknown again.
    pub unknown: Vec<String>,
}

/// A backup that was read through and may be restored.
#[derive(Debug)]
pub struct CheckedBackup {
    path: PathBuf,
}

impl CheckedBackup {
    /// Reads a backup through; changes nothing anywhere.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn open(backup: &Path) -> Result<Self, RestoreError> {
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
        if found != "ok" {
            return Err(RestoreError::Damaged {
                path: backup.to_owned(),
                found,
            });
        }
        Ok(Self {
            path: backup.to_owned(),
        })
    }

    /// Whether it may be restored into a state directory: one that holds a database is replaced
    /// only with `force`.
    ///
    /// # Errors
    /// [`RestoreError::InUse`]; [`RestoreError::Path`] where the database is a link that is not followed.
    pub fn fits(&self, state_dir: &Path, force: bool) -> Result<(), RestoreError> {
        let path = database(state_dir)?;
        if path.exists() && !force {
            return Err(RestoreError::InUse { path });
        }
        Ok(())
    }

    /// What the backup brings back compared with the database in a state directory; `None` when
    /// there is none, or none that can be asked.
    pub async fn undoes(&self, state_dir: &Path) -> Option<Undone> {
        let unasked = |error: &dyn Display| tracing::warn!(%error, "the database that is replaced cannot be asked what it knows");
        let there = behind_links(&state_dir.join(DATABASE));
        let there = there.inspect_err(|error| unasked(error)).ok()?;
        there.exists().then_some(())?;
        let asked = async {
            let mut connection = SqliteConnectOptions::new()
                .filename(&there)
                .connect()
                .await?;
            let undone = undone(&mut connection, &self.path).await?;
            connection.close().await?;
            Ok(undone)
        };
        let asked: Result<_, sqlx::Error> = asked.await;
        asked.inspect_err(|error| unasked(error)).ok()
    }

    /// Copies it beside the database of a state directory, on the disk that a link leads to, and marks
    /// the copy as restored. `force`: a database that is there may be replaced. The bridge must not be running.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing of the copy stays.
    pub async fn stage(
        &self,
        state_dir: &Path,
        force: bool,
        caller: Caller,
    ) -> Result<StagedBackup, RestoreError> {
        self.fits(state_dir, force)?;
        let staged = StagedBackup::begin(state_dir)?;
        staged.copy(&self.path)?;
        // Marked before it takes the name: one that is not would refuse what was renewed since.
        let store = Store::open(&staged.staging).await?;
        let marked = store.mark_restored(caller).await;
        store.close().await;
        marked?;
        Ok(staged)
    }

    /// Brings it into a state directory: [`Self::stage`], then [`StagedBackup::replace`].
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn restore(
        &self,
        state_dir: &Path,
        force: bool,
        caller: Caller,
    ) -> Result<(), RestoreError> {
        self.stage(state_dir, force, caller).await?.replace()
    }
}

async fn undone(connection: &mut SqliteConnection, backup: &Path) -> Result<Undone, sqlx::Error> {
    sqlx::query("ATTACH $1 AS backup")
        .bind(backup.to_string_lossy().into_owned())
        .execute(&mut *connection)
        .await?;
    let mut lists = [const { Vec::new() }; 3];
    let questions = [
        "SELECT node_id AS id FROM main.nodes JOIN backup.nodes AS old USING (node_id) \
         WHERE nodes.deregistered_ms IS NOT NULL AND old.deregistered_ms IS NULL ORDER BY 1",
        "SELECT access_key_id AS id FROM main.access_keys JOIN backup.access_keys AS old \
         USING (access_key_id) WHERE access_keys.disabled_ms IS NOT NULL \
         AND old.disabled_ms IS NULL ORDER BY 1",
        "SELECT node_id AS id FROM main.nodes WHERE deregistered_ms IS NULL \
         AND node_id NOT IN (SELECT node_id FROM backup.nodes) ORDER BY 1",
    ];
    for (list, question) in lists.iter_mut().zip(questions) {
        for row in sqlx::query(question).fetch_all(&mut *connection).await? {
            list.push(row.try_get("id")?);
        }
    }
    let [nodes, access_keys, unknown] = lists;
    Ok(Undone {
        nodes,
        access_keys,
        unknown,
    })
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Path { path, source }
}

/// The database of a state directory, behind the links that its owner has laid to it.
fn database(state_dir: &Path) -> Result<PathBuf, RestoreError> {
    let path = state_dir.join(DATABASE);
    behind_links(&path).map_err(fault(&path))
}

/// What is kept beside a file under its name and a suffix.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A backup's copy beside a database whose place it has yet to take. When it is dropped, nothing of it
/// stays: it holds secrets, and may be what filled the disk.
#[derive(Debug)]
pub struct StagedBackup {
    state_dir: PathBuf,
    target: PathBuf,
    staging: PathBuf,
}

impl Drop for StagedBackup {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.staging) {
            let path = self.staging.display();
            tracing::warn!(%path, %error, "a restore's folder stays behind: remove it");
        }
    }
}

fn clear(staging: &Path) -> io::Result<()> {
    unless_missing(std::fs::remove_dir_all(staging))
}

impl StagedBackup {
    /// Makes the folder, in place of what an earlier try left.
    fn begin(state_dir: &Path) -> Result<Self, RestoreError> {
        make_private_dir(state_dir).map_err(|error| fault(state_dir)(error.source))?;
        let target = database(state_dir)?;
        let staging = beside(&target, STAGING);
        clear(&staging)
            .and_then(|()| new_private_dir(&staging))
            .map_err(fault(&staging))?;
        Ok(Self {
            state_dir: state_dir.to_owned(),
            target,
            staging,
        })
    }

    fn copy(&self, backup: &Path) -> Result<(), RestoreError> {
        let staged = self.staging.join(DATABASE);
        let copy = || -> io::Result<()> {
            let mut file = new_private(&staged)?;
            give_to_owner(&file, &self.state_dir)?;
            io::copy(&mut File::open(backup)?, &mut file)?;
            file.sync_all()
        };
        copy().map_err(fault(&staged))
    }

    /// Puts the copy in the database's place, whole or not at all; the keys beside it stay.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing of the copy stays.
    pub fn replace(self) -> Result<(), RestoreError> {
        let log = self.staging.join(format!("{DATABASE}-wal"));
        if log.exists() {
            let why = "it was not folded into the database: is another program reading it?";
            return Err(fault(&log)(io::Error::other(why)));
        }
        for suffix in ["-wal", "-shm"] {
            let beside = beside(&self.target, suffix);
            unless_missing(std::fs::remove_file(&beside)).map_err(fault(&beside))?;
        }
        let directory = self.target.parent().unwrap_or(&self.state_dir);
        std::fs::rename(self.staging.join(DATABASE), &self.target)
            .and_then(|()| File::open(directory)?.sync_all())
            .map_err(fault(&self.target))
    }
}

impl Store {
    async fn mark_restored(&self, caller: Caller) -> Result<(), StoreError> {
        self.set_meta(RESTORED_AT, caller.now.to_string()).await?;
        self.writer
            .write(move |connection| {
                Box::pin(async move { record(connection, &caller, "RestoreBackup", "", "").await })
            })
            .await
    }
}
