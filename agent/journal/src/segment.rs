//! One segment of a stream as it is known in memory: where it starts, ends, and a sparse index.
//! It never holds a payload, and its index costs 16 B for every 16 KiB on disk.

use crate::{
    Storage, StorageError,
    format::{AHEAD, DATA_START, SECTOR, SegmentHeader, put},
    pool::segment_name,
    scan::{Range, Scanner},
};

/// Distance of two entries of the index, in bytes of the segment.
const WAYPOINT_BYTES: u32 = 16 * 1024;
/// Bytes copied at once when a batch is secured.
const SECURE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) slot: u32,
    pub(crate) header: SegmentHeader,
    /// Where the next record goes, or the last commit ended.
    pub(crate) end: u32,
    /// Where the last batch starts that recovery found.
    pub(crate) batch_offset: u32,
    /// Takes no more records.
    pub(crate) sealed: bool,
    /// Every block of the file was written before: nothing is to be prepared.
    pub(crate) is_written: bool,
    /// Some records' sequences and offsets, ascending.
    waypoints: Vec<(u64, u32)>,
}

impl Segment {
    pub(crate) fn new(slot: u32, header: SegmentHeader) -> Self {
        Self {
            slot,
            header,
            end: DATA_START,
            batch_offset: DATA_START,
            sealed: false,
            is_written: false,
            waypoints: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.slot)
    }

    /// Bytes of records and commits.
    pub(crate) fn used(&self) -> u64 {
        u64::from(self.end - DATA_START)
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> u32 {
        if self.sealed {
            return 0;
        }
        self.header.copy_offset().saturating_sub(self.end)
    }

    /// Where the zeros end that are written ahead of records which end at `end`. It follows from
    /// `end` alone, so that a restart knows it too.
    pub(crate) fn prepared(&self, end: u32) -> u32 {
        if self.is_written {
            self.header.bytes
        } else if end <= DATA_START {
            0
        } else {
            end.checked_next_multiple_of(AHEAD)
                .map_or(self.header.copy_offset(), |ahead| {
                    ahead.min(self.header.copy_offset())
                })
        }
    }

    /// Every block of the file is written by now, as far as this process knows.
    pub(crate) fn is_filled(&self) -> bool {
        self.prepared(self.end) >= self.header.copy_offset()
    }

    /// Notes where a record stands, if the last note is far enough away.
    pub(crate) fn note(&mut self, seq: u64, offset: u32) {
        let due = self
            .waypoints
            .last()
            .is_none_or(|&(_, last)| offset.saturating_sub(last) >= WAYPOINT_BYTES);
        if due {
            self.waypoints.push((seq, offset));
        }
    }

    /// A scan whose first record is the last noted one at or before `seq`.
    pub(crate) fn range_from(&self, seq: u64, seq_end: u64) -> Range {
        let after = self.waypoints.partition_point(|&(noted, _)| noted <= seq);
        let start = after
            .checked_sub(1)
            .and_then(|index| self.waypoints.get(index));
        let &(seq, offset) = start.unwrap_or(&(self.header.first_seq, DATA_START));
        Range {
            salt: self.header.salt,
            offset,
            seq,
            end: self.end,
            seq_end,
        }
    }

    pub(crate) fn open<S: Storage>(&self, storage: &S) -> Result<S::File, StorageError> {
        let name = self.name();
        storage.open(&name).map_err(StorageError::on("open", &name))
    }

    /// Writes the last batch again as it reads, and syncs it. A killed process may have left it in
    /// the page cache only, there even marked clean after a failed sync: to be told as durable, it
    /// has to become dirty and reach the device once more.
    pub(crate) fn secure<S: Storage>(&self, storage: &S) -> Result<(), StorageError> {
        let name = self.name();
        let file = self.open(storage)?;
        let mut offset = u64::from(self.batch_offset);
        if self.batch_offset == DATA_START {
            let mut sector = [0; SECTOR as usize];
            put(&mut sector, 0, &self.header.encode());
            for offset in [0, self.header.copy_offset()] {
                storage
                    .write_at(&file, u64::from(offset), &sector)
                    .map_err(StorageError::on("write", &name))?;
            }
        }
        let mut buffer = vec![0; SECURE_BYTES];
        while offset < u64::from(self.end) {
            let left = usize::try_from(u64::from(self.end) - offset).unwrap_or(SECURE_BYTES);
            buffer.truncate(left);
            let got = storage
                .read_at(&file, offset, &mut buffer)
                .map_err(StorageError::on("read", &name))?;
            let Some(bytes) = buffer.get(..got).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            storage
                .write_at(&file, offset, bytes)
                .map_err(StorageError::on("write", &name))?;
            offset += got as u64;
        }
        storage
            .sync_data(&file)
            .map_err(StorageError::on("sync", &name))
    }

    /// Offset of the first record at or after `seq`; the end where there is none.
    pub(crate) fn locate<S: Storage>(&self, storage: &S, seq: u64) -> Result<u32, StorageError> {
        if seq <= self.header.first_seq {
            return Ok(DATA_START);
        }
        let file = self.open(storage)?;
        let mut scanner = Scanner::new(storage, &file, self.range_from(seq, u64::MAX));
        loop {
            let step = scanner
                .next()
                .map_err(StorageError::on("read", &self.name()))?;
            match step {
                Some(crate::scan::Step::Record(record)) if record.seq >= seq => {
                    return Ok(record.offset);
                }
                Some(_) => {}
                None => return Ok(self.end),
            }
        }
    }
}
