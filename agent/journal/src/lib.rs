//! The agent's durable queue: streams of records in preallocated segments, and a keyed ledger.
//! It never reads a clock, starts a thread, tells of a record before it is durable, or grows past its caps.
//!
//! # Shape
//! A [`Journal`] holds independent streams (results, audit, state, logs) and one [`Ledger`] of
//! durable small state. Each stream numbers its records densely from 1 and has its **own chain of
//! segments**: a slow stream never pins the space of another, evicting logs never touches a result,
//! and one result costs one sequential write and one `fdatasync`. The price is one sync per stream
//! that has something to write, so a group commit over two streams costs two.
//!
//! # Rules
//! - [`Journal::append`] only buffers; [`Journal::sync`] makes everything buffered durable, streams
//!   in ascending id, the ledger last, stopping where a stream that never drops fails: what the
//!   ledger says about a result is never durable before the result itself.
//! - Only durable records are read.
//! - The cursor is durable before a segment is reused or unlinked.
//! - After a failed sync the segment is closed, its descriptor dropped, and the records that were
//!   not durable are written again to a new segment.
//! - What is gone in between is a counted [`Entry::Gap`], in its place, also after a restart.
//!
//! # Bounds
//! A stream's cap counts framed bytes (28 B a record, 28 B a commit, padding). Its files hold at most
//! twice the cap (records that do not fit the rest of a segment leave it empty) and two segments.
//! Files are allocated but not written; zeros go ahead of the records in steps of 128 KiB, so that a
//! sync seldom costs the file system a commit of its own and a segment never filled costs no wear.
//! In memory: the buffer of records not yet durable (320 KiB a stream), 16 B for every
//! 16 KiB on disk, and the ledger's keys.

mod admission;
mod compact;
mod cursor;
mod directory;
mod error;
mod format;
mod journal;
mod ledger;
mod meter;
mod pool;
mod read;
mod reader;
mod recovery;
mod salvage;
mod scan;
mod segment;
mod simulated;
mod storage;
mod stream;

pub use admission::Change;
pub use directory::DirStorage;
pub use error::{OpenError, ReadError, Refusal, ReleaseError, StorageError, SyncError};
pub use format::MAX_RECORD;
pub use journal::{
    Config, Durable, Journal, Policy, Reservation, SegmentStatus, Status, StreamConfig,
    StreamStatus,
};
pub use ledger::{Ledger, MAX_KEY};
pub use pool::SaltSource;
pub use read::{Entry, GapReason};
pub use reader::DirReader;
pub use recovery::{Damage, DamagePlace, Recovery, Truncated};
pub use simulated::{Fault, SimStorage};
pub use storage::{Created, FileInfo, Storage};

use std::fmt;

/// The format version this code writes, and the highest it reads.
pub const FORMAT_VERSION: u16 = format::VERSION;

/// Names one stream of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u8);

impl StreamId {
    /// Results of commands.
    pub const RESULT: Self = Self(0);
    /// The audit trail.
    pub const AUDIT: Self = Self(1);
    /// State reports: inventory, patch scans.
    pub const STATE: Self = Self(2);
    /// Logs.
    pub const LOG: Self = Self(3);
    /// The keyed store; the highest id, so that it becomes durable last.
    pub const LEDGER: Self = Self(u8::MAX);

    /// Any id; [`Self::LEDGER`]'s belongs to the ledger.
    #[must_use]
    pub const fn new(id: u8) -> Self {
        Self(id)
    }

    /// The id as it stands on disk.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RESULT => f.write_str("stream result"),
            Self::AUDIT => f.write_str("stream audit"),
            Self::STATE => f.write_str("stream state"),
            Self::LOG => f.write_str("stream log"),
            Self::LEDGER => f.write_str("the ledger"),
            Self(id) => write!(f, "stream {id}"),
        }
    }
}
