//! Walks the records of one segment, skipping damage and naming the sequences it took.
//! It never trusts a length, a sequence or a payload that its keyed checksum does not cover.

use std::io;

use crate::{
    Storage,
    format::{ALIGN, RECORD_HEADER, RecordHeader},
};

/// Read ahead by this much: large enough to be cheap, small beside the agent's memory budget.
const WINDOW_BYTES: u32 = 64 * 1024;

/// A stretch of a file held in memory, moved along as the scan goes.
struct Window<'s, S: Storage> {
    storage: &'s S,
    file: &'s S::File,
    start: u32,
    /// Nothing is read at or above this offset.
    end: u32,
    buffer: Vec<u8>,
}

impl<S: Storage> Window<'_, S> {
    /// `len` bytes at `offset`, or `None` where the file or its used part is shorter.
    fn bytes(&mut self, offset: u32, len: u32) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len).filter(|&end| end <= self.end) else {
            return Ok(None);
        };
        let held = self.start..self.start + crate::format::len_u32(&self.buffer);
        if offset < held.start || end > held.end {
            let want = len.max(WINDOW_BYTES).min(self.end - offset) as usize;
            self.buffer.resize(want, 0);
            let got = self
                .storage
                .read_at(self.file, u64::from(offset), &mut self.buffer)?;
            self.buffer.truncate(got);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer.get(from..from + len as usize))
    }
}

/// A record found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) seq: u64,
    pub(crate) key: u16,
    /// Where its header starts.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// Where the next header starts.
    pub(crate) next: u32,
}

/// What the scan meets, in the order of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Record(Located),
    /// Sequences that were written here and cannot be read any more, from this offset on.
    Hole {
        first: u64,
        last: u64,
        offset: u32,
    },
}

/// Where a scan starts and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) salt: u64,
    pub(crate) offset: u32,
    /// Sequence of the record at `offset`.
    pub(crate) seq: u64,
    /// No record starts at or above this offset.
    pub(crate) end: u32,
    /// Records from this sequence on count only in the next segment, which holds them again.
    pub(crate) seq_end: u64,
}

/// A walk over the records of one segment.
pub(crate) struct Scanner<'s, S: Storage> {
    window: Window<'s, S>,
    range: Range,
    /// A record that follows a hole and is yielded after it.
    held: Option<Located>,
    /// Every sequence below this is known to have been durable, but for those of `unproven`.
    pub(crate) proven_below: u64,
    /// Sequences, from one up to before another, that a batch says it proves nothing about.
    pub(crate) unproven: Vec<(u64, u64)>,
    /// Where the last batch found starts: from here on nothing proves that a sync succeeded.
    pub(crate) batch_offset: u32,
    /// Where the last valid header or payload ended.
    pub(crate) valid_end: u32,
    /// The sequence that comes next.
    pub(crate) expected: u64,
}

impl<'s, S: Storage> Scanner<'s, S> {
    pub(crate) fn new(storage: &'s S, file: &'s S::File, range: Range) -> Self {
        Self {
            window: Window {
                storage,
                file,
                start: 0,
                end: range.end,
                buffer: Vec::new(),
            },
            range,
            held: None,
            proven_below: 0,
            unproven: Vec::new(),
            batch_offset: range.offset,
            valid_end: range.offset,
            expected: range.seq,
        }
    }

    /// The next record or hole; `None` at the end.
    ///
    /// # Errors
    /// The device's own, when reading.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        if let Some(record) = self.held.take() {
            self.expected = record.seq + 1;
            return Ok(Some(Step::Record(record)));
        }
        while let Some((header, offset)) = self.find_header()? {
            if !header.commit && header.seq >= self.range.seq_end {
                self.range.offset = self.range.end;
                return Ok(None);
            }
            if header.first_of_batch {
                if header.after_cut {
                    self.unproven.push((self.proven_below, header.seq));
                }
                self.proven_below = self.proven_below.max(header.seq);
                self.batch_offset = offset;
            }
            let next = offset.saturating_add(header.stride());
            let whole = self.is_whole(&header, offset)?;
            let before = self.valid_end;
            self.range.offset = next;
            self.valid_end = next.min(self.range.end);
            if whole && !header.commit {
                let record = Located {
                    seq: header.seq,
                    key: header.key,
                    offset,
                    len: header.len,
                    next,
                };
                return Ok(Some(self.meet(record, before)));
            }
            let last = header.seq.min(self.range.seq_end - 1);
            if last >= self.expected {
                let first = self.expected;
                self.expected = last + 1;
                let offset = before;
                return Ok(Some(Step::Hole {
                    first,
                    last,
                    offset,
                }));
            }
        }
        Ok(None)
    }

    /// The payload of a record this scan has just yielded.
    ///
    /// # Errors
    /// The device's own, when the window has moved on.
    pub(crate) fn payload(&mut self, record: &Located) -> io::Result<&[u8]> {
        let bytes = self
            .window
            .bytes(record.offset + RECORD_HEADER, record.len)?;
        Ok(bytes.unwrap_or_default())
    }

    fn meet(&mut self, record: Located, before: u32) -> Step {
        let first = self.expected;
        if record.seq > first {
            self.held = Some(record);
            return Step::Hole {
                first,
                last: record.seq - 1,
                offset: before,
            };
        }
        self.expected = record.seq + 1;
        Step::Record(record)
    }

    fn is_whole(&mut self, header: &RecordHeader, offset: u32) -> io::Result<bool> {
        let salt = self.range.salt;
        let payload = self.window.bytes(offset + RECORD_HEADER, header.len)?;
        Ok(payload.is_some_and(|payload| header.matches(salt, payload)))
    }

    /// The next valid header at or after the current offset.
    fn find_header(&mut self) -> io::Result<Option<(RecordHeader, u32)>> {
        let mut offset = self.range.offset;
        while let Some(bytes) = self.window.bytes(offset, RECORD_HEADER)? {
            let header = RecordHeader::decode(bytes, self.range.salt, offset);
            if let Some(header) = header.filter(|header| self.may_follow(header, offset)) {
                return Ok(Some((header, offset)));
            }
            offset += ALIGN;
        }
        self.range.offset = self.range.end;
        Ok(None)
    }

    /// Sequences continue: between the last valid byte and `offset` only so many records fit.
    fn may_follow(&self, header: &RecordHeader, offset: u32) -> bool {
        let fit = u64::from((offset - self.valid_end) / RECORD_HEADER);
        let least = if header.commit {
            self.expected - 1
        } else {
            self.expected
        };
        (least..=least + fit).contains(&header.seq)
    }
}
