//! Everything that can go wrong with a journal, typed by operation.
//! A refusal leaves the journal as it was; damage found on disk is data, not an error.

use std::{io, path::PathBuf};

use crate::StreamId;

/// A call to the storage that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", place(.file))]
pub struct StorageError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// The file's name inside the journal's directory; empty for the directory itself.
    pub file: String,
    /// The device's answer.
    #[source]
    pub source: io::Error,
}

fn place(file: &str) -> String {
    if file.is_empty() {
        return "the journal's directory".into();
    }
    format!("`{file}` of the journal")
}

impl StorageError {
    /// For `map_err`: keeps what was tried on which file beside the device's answer.
    pub(crate) fn on(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self {
            action,
            file,
            source,
        }
    }

    /// Whether the device takes no writes at all.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.source.kind() == io::ErrorKind::ReadOnlyFilesystem
    }

    /// Whether the device had no space left.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Why a journal could not be opened. Nothing on disk has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory.
    #[error(
        "another process uses the state directory {path}; stop it, or give this agent its own --state-dir"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory could not be made, opened or locked.
    #[error("cannot use {path} as the journal's directory; it must be a writable directory")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The files were written by a newer version; they are left untouched.
    #[error(
        "`{file}` has journal format {found}, this version reads up to {supported}; install the newer version again"
    )]
    NewerVersion {
        /// The file that says so.
        file: String,
        /// Its version.
        found: u16,
        /// The highest version this code reads.
        supported: u16,
    },
    /// The configuration cannot work.
    #[error("journal configuration: {0}")]
    Config(&'static str),
    /// The device would not read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a record, a value or a reservation was not taken. The journal is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The stream's byte cap would be exceeded.
    #[error(
        "{stream} is full: {need_bytes} B more on {used_bytes} B would exceed its cap of {cap_bytes} B; it has room again after acknowledgement"
    )]
    Full {
        /// The stream.
        stream: StreamId,
        /// Its bound.
        cap_bytes: u64,
        /// Bytes held, waiting to be written and reserved.
        used_bytes: u64,
        /// Bytes asked for, framing included.
        need_bytes: u64,
    },
    /// The device itself has no room for what would be promised.
    #[error(
        "{stream}: the device has {free_bytes} B left, {need_bytes} B are needed; free some space"
    )]
    DeviceFull {
        /// The stream.
        stream: StreamId,
        /// What the device has left, spare segments included.
        free_bytes: u64,
        /// What all reservations together need.
        need_bytes: u64,
    },
    /// The record is longer than any record may be.
    #[error("a record of {len} B is longer than the {max} B a record may have")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The key of a ledger entry has an impossible length.
    #[error("a ledger key has 1 to {max} B, this one has {len} B")]
    BadKey {
        /// Its length.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// No such stream was configured.
    #[error("{stream} is not part of this journal")]
    UnknownStream {
        /// The stream.
        stream: StreamId,
    },
    /// The buffer of records not yet durable is full, and making them durable failed.
    #[error("no room to buffer more before the disk takes what waits")]
    Unsynced(#[from] SyncError),
    /// The free space of the device could not be asked for.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Some records are not durable. They stay buffered and the next sync writes them to a new segment.
#[derive(Debug, thiserror::Error)]
#[error(
    "{stream}: records {first} to {last} are not durable; they will be written to a new segment"
)]
pub struct SyncError {
    /// The first stream that failed; those of a higher id were not tried.
    pub stream: StreamId,
    /// First sequence that is not durable.
    pub first: u64,
    /// Last sequence that is not durable.
    pub last: u64,
    /// What failed.
    #[source]
    pub source: StorageError,
}

/// Why an acknowledgement was not taken, or its space not reclaimed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It names records that were never made durable, so never told to anyone.
    #[error("{stream}: acknowledgement of {up_to}, but only {durable} records were ever sent")]
    BeyondEnd {
        /// The stream.
        stream: StreamId,
        /// What was acknowledged.
        up_to: u64,
        /// The highest durable sequence.
        durable: u64,
    },
    /// No such stream was configured.
    #[error("{stream} is not part of this journal")]
    UnknownStream {
        /// The stream.
        stream: StreamId,
    },
    /// The acknowledgement holds, but its space could not be reclaimed yet; the next one tries again.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such stream was configured.
    #[error("{stream} is not part of this journal")]
    UnknownStream {
        /// The stream.
        stream: StreamId,
    },
    /// The entry's record no longer passes its checksum.
    #[error("the ledger entry written as record {seq} is damaged on disk")]
    Damaged {
        /// Its sequence in [`StreamId::LEDGER`].
        seq: u64,
    },
    /// The device failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_names_the_file_or_the_directory() {
        let said = |file| StorageError::on("list", file)(io::ErrorKind::Other.into()).to_string();
        assert_eq!(said(""), "cannot list the journal's directory");
        assert_eq!(said("cursor"), "cannot list `cursor` of the journal");
    }
}
