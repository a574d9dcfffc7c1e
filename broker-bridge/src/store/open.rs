//! Opens the database: directory and file rights, durability, migrations, the writer.
//! Never repairs anything.

use super::schema::{MigrateError, migrate};
use super::{DATABASE, OpenError, Store, StoreError, Writer};
use crate::files::{make_private_dir, open_private};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that read.
const READERS: u32 = 4;
/// Pages that each reader keeps: the system's page cache holds what they share.
const READER_CACHE_KIB: u32 = 512;
/// Pages that the writer keeps: what one transaction changes, and the upper pages of the indexes.
const WRITER_CACHE_KIB: u32 = 2048;
/// How long a statement waits for another process's lock, such as the command line's.
const BUSY: Duration = Duration::from_secs(10);

impl Store {
    /// Opens the database in `state_dir`, making both where they are missing (0700, 0600), and
    /// starts its writer on the current tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]; a database of a newer schema is left as it is.
    pub async fn open(state_dir: &Path) -> Result<Self, OpenError> {
        let path = prepare(state_dir)?;
        let database = |source| OpenError::Database {
            path: path.clone(),
            source,
        };
        let mut connection = connect(&options(&path, WRITER_CACHE_KIB))
            .await
            .map_err(database)?;
        migrate(&mut connection).await.map_err(|why| match why {
            MigrateError::Newer { found } => OpenError::Newer {
                path: path.clone(),
                found,
                known: super::SCHEMA_VERSION,
            },
            MigrateError::Database(source) => database(source),
        })?;
        let reads = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .connect_with(options(&path, READER_CACHE_KIB).read_only(true))
            .await
            .map_err(database)?;
        Ok(Self {
            reads,
            writer: Writer::start(connection),
        })
    }

    /// Commits what waits and closes the database. Later requests are answered
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        // Who reads cannot fold the log into the database: the writer goes last.
        self.reads.close().await;
        self.writer.close().await;
    }

    /// A value of the bridge's own configuration.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE key = $1")
            .bind(key)
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| row.try_get("value")).transpose()?)
    }

    /// Sets a value of the bridge's own configuration.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_meta(&self, key: &'static str, value: String) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO meta (key, value) VALUES ($1, $2) \
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    )
                    .bind(key)
                    .bind(value)
                    .execute(connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Connects, and waits where another process is at the same for up to [`BUSY`]: a new database
/// must be had alone to become one with a write-ahead log, and SQLite's own wait leaves that out
/// (<https://www.sqlite.org/rescode.html#busy>).
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let patience = tokio::time::Instant::now() + BUSY;
    loop {
        match options.connect().await {
            Err(why) if is_busy(&why) && tokio::time::Instant::now() < patience => {
                tokio::time::sleep(BUSY / 500).await;
            }
            result => return result,
        }
    }
}

/// Whether a database is another's at the moment: SQLITE_BUSY and its extended codes, which keep
/// it in their lowest byte.
fn is_busy(why: &sqlx::Error) -> bool {
    let code = why.as_database_error().and_then(|why| why.code());
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

fn options(path: &Path, cache_kib: u32) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .statement_cache_capacity(256)
        // Negative: KiB instead of pages.
        .pragma("cache_size", format!("-{cache_kib}"))
        .pragma("wal_autocheckpoint", "2000")
        // Statements hold what users send: they belong in no log.
        .disable_statement_logging()
}

/// Makes directory and file with their rights before SQLite sees them: what SQLite makes beside
/// the file takes the file's rights.
pub(super) fn prepare(state_dir: &Path) -> Result<PathBuf, OpenError> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Path { path, source }
    };
    make_private_dir(state_dir).map_err(|error| fault(state_dir)(error.source))?;
    let path = state_dir.join(DATABASE);
    open_private(&path)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)))
        .map_err(fault(&path))?;
    Ok(path)
}
