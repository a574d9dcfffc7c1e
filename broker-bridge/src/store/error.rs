//! What can go wrong with the database itself.
//! Never says what it means for a caller: that is each operation's own error.

use std::path::PathBuf;

/// The database could not do its part; nothing of the request was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A statement failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The group of writes could not be committed.
    #[error("the database could not commit: {0}")]
    Commit(String),
    /// The queue of writes is at its bound.
    #[error("{limit} writes are waiting, which is the bound; try again")]
    Busy {
        /// The bound.
        limit: usize,
    },
    /// As many commands as are kept have not ended yet.
    #[error("{limit} commands are under way, which is the bound: cancel some, or wait")]
    Commands {
        /// The bound.
        limit: i64,
    },
    /// The bridge is shutting down.
    #[error("the database is closed")]
    Closed,
    /// What was read is not what this bridge writes.
    #[error("the database holds an unreadable {what}: restore a backup, or report it")]
    Corrupt {
        /// Which value.
        what: &'static str,
    },
}

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory or the file cannot be made or read.
    #[error("{path}: cannot be used as state")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite cannot open the file or one of its settings.
    #[error("{path}: cannot be opened as a database")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A newer bridge wrote it.
    #[error(
        "{path}: schema {found}, this bridge knows up to {known}: run the newer bridge, or restore a backup made with this one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Schema found.
        found: i64,
        /// Newest schema known here.
        known: i64,
    },
}

/// A number that SQLite keeps signed.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number that was stored by [`signed`].
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
