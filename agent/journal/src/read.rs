//! Reading a stream from disk, a bounded piece at a time, with its gaps in their places.
//! It never yields a record that is not durable, nor one whose checksum does not hold.

use crate::{
    Journal, ReadError, Storage, StorageError, StreamId,
    format::RECORD_HEADER,
    scan::{Scanner, Step},
    stream::Stream,
};

/// Why sequences have no record any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The stream was full, and its policy gave up the oldest or the replaced.
    Evicted,
    /// Their bytes on disk are damaged.
    Damaged,
}

/// What a stream holds at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A record.
    Record {
        /// Its sequence in the stream, dense from 1.
        seq: u64,
        /// The key it was appended with.
        key: u16,
        /// What was appended.
        payload: Vec<u8>,
    },
    /// Sequences that were given out and have no record any more.
    Gap {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Why.
        reason: GapReason,
    },
}

impl Entry {
    /// The last sequence this entry covers: reading goes on above it.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        match *self {
            Self::Record { seq, .. } => seq,
            Self::Gap { last, .. } => last,
        }
    }
}

/// A bounded answer being filled.
struct Page {
    entries: Vec<Entry>,
    left_bytes: usize,
    next: u64,
}

impl Page {
    fn gap(&mut self, last: u64, reason: GapReason) {
        if last < self.next {
            return;
        }
        let first = self.next;
        self.next = last + 1;
        self.entries.push(Entry::Gap {
            first,
            last,
            reason,
        });
    }

    /// Whether a payload of this length still belongs to this page; the first always does.
    fn takes(&self, len: u32) -> bool {
        self.entries.is_empty() || cost(len) <= self.left_bytes
    }
}

/// What a record counts against a page: empty records must end a page too.
fn cost(len: u32) -> usize {
    (len + RECORD_HEADER) as usize
}

impl<S: Storage> Journal<S> {
    /// Durable entries from sequence `from` on, in order and without holes between them: at most
    /// `max_bytes` of payloads and 28 B for each, but at least one entry where there is one. What is acknowledged
    /// already is skipped. Empty at the end of the stream.
    ///
    /// # Errors
    /// [`ReadError`]; damage is not an error but an [`Entry::Gap`].
    pub fn read(
        &self,
        stream: StreamId,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let found = self
            .streams
            .get(&stream)
            .ok_or(ReadError::UnknownStream { stream })?;
        let mut page = Page {
            entries: Vec::new(),
            left_bytes: max_bytes,
            next: from.max(found.progress.released + 1),
        };
        page.gap(found.progress.evicted, GapReason::Evicted);
        let start = found
            .segments
            .partition_point(|segment| segment.header.first_seq <= page.next)
            .saturating_sub(1);
        for index in start..found.segments.len() {
            if page.next > found.durable || !self.read_segment(found, index, &mut page)? {
                return Ok(page.entries);
            }
        }
        page.gap(found.durable, GapReason::Damaged);
        Ok(page.entries)
    }

    /// `false` when the page is full.
    fn read_segment(
        &self,
        stream: &Stream<S::File>,
        index: usize,
        page: &mut Page,
    ) -> Result<bool, StorageError> {
        let Some(segment) = stream.segments.get(index) else {
            return Ok(true);
        };
        // Sequences before this segment that the one before did not yield.
        page.gap(segment.header.first_seq - 1, GapReason::Damaged);
        let name = segment.name();
        let file = segment.open(&self.storage)?;
        let range = segment.range_from(page.next, stream.seq_end(index));
        let mut scanner = Scanner::new(&self.storage, &file, range);
        while let Some(step) = scanner.next().map_err(StorageError::on("read", &name))? {
            match step {
                Step::Record(record) if record.seq >= page.next => {
                    if !page.takes(record.len) {
                        return Ok(false);
                    }
                    let payload = scanner
                        .payload(&record)
                        .map_err(StorageError::on("read", &name))?;
                    page.left_bytes = page.left_bytes.saturating_sub(cost(record.len));
                    page.next = record.seq + 1;
                    page.entries.push(Entry::Record {
                        seq: record.seq,
                        key: record.key,
                        payload: payload.to_vec(),
                    });
                }
                Step::Hole { last, .. } => page.gap(last, GapReason::Damaged),
                Step::Record(_) => {}
            }
        }
        page.gap(stream.seq_end(index) - 1, GapReason::Damaged);
        Ok(true)
    }
}
