//! One stream: its chain of segments, its buffer of records not yet durable, its accounting.
//! It never decides what may be dropped, and never moves its durable end before a sync returned `Ok`.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    DamagePlace, Policy, Storage, StorageError, StreamId,
    cursor::Progress,
    format::{DATA_START, RECORD_HEADER, RecordHeader, SECTOR, ZEROS, framed, len_u32, put},
    meter::Metered,
    pool::{Pool, Spare, Wish},
    segment::Segment,
};

/// A record that is not durable yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) seq: u64,
    pub(crate) key: u16,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Stream<F> {
    pub(crate) id: StreamId,
    pub(crate) policy: Policy,
    pub(crate) cap_bytes: u64,
    pub(crate) segment_bytes: u32,
    /// Ascending in ordinal and in first sequence.
    pub(crate) segments: VecDeque<Segment>,
    /// Handle of the last segment, if it takes records and was opened.
    active: Option<F>,
    /// Offset in the first segment of the first record still needed.
    pub(crate) begin: u32,
    pub(crate) progress: Progress,
    /// Everything up to and including is on the device.
    pub(crate) durable: u64,
    pub(crate) next_seq: u64,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) pending_bytes: u64,
    pub(crate) reserved_bytes: u64,
    /// Under [`Policy::NewestPerKey`]: the newest record of each key and its framed bytes.
    pub(crate) newest: BTreeMap<u16, (u64, u32)>,
    /// Records lost to damage and not yet acknowledged.
    pub(crate) damaged_records: u64,
    /// Damage was found that may be a write cut short, and nothing was written since: the next batch
    /// says so, or it would stand as proof that what was cut had been durable.
    pub(crate) after_cut: bool,
}

/// What one write to the device carries.
struct Batch {
    bytes: Vec<u8>,
    /// Sequence and offset of each record.
    places: Vec<(u64, u32)>,
    end: u32,
}

impl<F> Stream<F> {
    pub(crate) fn new(id: StreamId, policy: Policy, cap_bytes: u64, segment_bytes: u32) -> Self {
        Self {
            id,
            policy,
            cap_bytes,
            segment_bytes,
            segments: VecDeque::new(),
            active: None,
            begin: DATA_START,
            progress: Progress::default(),
            durable: 0,
            next_seq: 1,
            pending: VecDeque::new(),
            pending_bytes: 0,
            reserved_bytes: 0,
            newest: BTreeMap::new(),
            damaged_records: 0,
            after_cut: false,
        }
    }

    /// Sequences up to and including this are acknowledged or evicted.
    pub(crate) fn head(&self) -> u64 {
        self.progress.released.max(self.progress.evicted)
    }

    /// Framed bytes of records on disk that are still needed.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let all: u64 = self.segments.iter().map(Segment::used).sum();
        let gone = if self.segments.is_empty() {
            0
        } else {
            u64::from(self.begin - DATA_START)
        };
        all.saturating_sub(gone)
    }

    /// The segment in which something stands.
    pub(crate) fn segment_of(&self, place: DamagePlace) -> Option<&Segment> {
        self.segments.iter().find(|held| held.slot == place.slot)
    }

    /// Framed bytes on disk and waiting to get there.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.stored_bytes() + self.pending_bytes
    }

    /// Bytes of its files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| u64::from(segment.header.bytes))
            .sum()
    }

    /// Buffers a record under the next sequence.
    pub(crate) fn push(&mut self, key: u16, payload: Vec<u8>) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.pending_bytes += u64::from(framed(payload.len()));
        if self.policy == Policy::NewestPerKey {
            self.newest.insert(key, (seq, framed(payload.len())));
        }
        self.pending.push_back(Pending { seq, key, payload });
        seq
    }

    /// First sequence after the segment at `index`: where the next one starts, or what comes next.
    pub(crate) fn seq_end(&self, index: usize) -> u64 {
        self.segments
            .get(index + 1)
            .map_or(self.durable + 1, |next| next.header.first_seq)
    }

    /// Makes every buffered record durable, a segment at a time.
    ///
    /// # Errors
    /// The device's. What was not durable stays buffered; its segment is closed for good.
    pub(crate) fn flush<S: Storage<File = F>>(
        &mut self,
        storage: &Metered<S>,
        pool: &mut Pool,
    ) -> Result<(), StorageError> {
        while let Some(first) = self.pending.front() {
            let need = framed(first.payload.len());
            let (file, created) = self.writable(storage, pool, need)?;
            let outcome = self.write_batch(storage, &file, created);
            match outcome {
                Ok(()) => self.active = Some(file),
                Err(error) => {
                    drop(file);
                    self.abandon(storage);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// No more records go into the last segment.
    pub(crate) fn seal(&mut self) {
        self.active = None;
        if let Some(last) = self.segments.back_mut() {
            last.sealed = true;
        }
    }

    /// Gives up what is buffered: its sequences are evicted, and count as written.
    pub(crate) fn discard_pending(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.durable = self.next_seq - 1;
    }

    /// How many segments at the front hold nothing that is needed.
    pub(crate) fn finished_segments(&self) -> usize {
        let finished = |&(index, segment): &(usize, &Segment)| {
            let closed = segment.sealed || index + 1 < self.segments.len();
            closed && self.seq_end(index) <= self.head() + 1
        };
        self.segments
            .iter()
            .enumerate()
            .take_while(finished)
            .count()
    }

    /// Gives finished segments back. The cursor that says so is durable.
    pub(crate) fn retire<S: Storage>(
        &mut self,
        storage: &S,
        pool: &mut Pool,
    ) -> Result<(), StorageError> {
        for _ in 0..self.finished_segments() {
            if let Some(segment) = self.segments.pop_front() {
                self.begin = DATA_START;
                let spare = Spare {
                    slot: segment.slot,
                    bytes: segment.header.bytes,
                    is_written: segment.is_filled(),
                };
                pool.give_back(storage, spare)?;
            }
        }
        Ok(())
    }

    /// Finds the first needed record of the first segment.
    pub(crate) fn locate_begin<S: Storage>(&mut self, storage: &S) -> Result<(), StorageError> {
        let head = self.head();
        self.begin = match self.segments.front() {
            Some(_) if head >= self.seq_end(0) - 1 => {
                self.segments.front().map_or(DATA_START, |s| s.end)
            }
            Some(first) => first.locate(storage, head + 1)?,
            None => DATA_START,
        };
        Ok(())
    }

    /// A handle of a segment with room for `need` bytes; the flag says that its name is not durable.
    fn writable<S: Storage<File = F>>(
        &mut self,
        storage: &Metered<S>,
        pool: &mut Pool,
        need: u32,
    ) -> Result<(F, bool), StorageError> {
        let room = self.segments.back().map_or(0, Segment::room);
        if room >= need {
            if let Some(file) = self.active.take() {
                return Ok((file, false));
            }
            if let Some(last) = self.segments.back() {
                return Ok((last.open(storage)?, false));
            }
        }
        self.seal();
        let taken = pool.take(
            storage,
            Wish {
                stream: self.id,
                first_seq: self.durable + 1,
                bytes: self.segment_bytes.max(need + DATA_START + SECTOR),
                vital: self.policy == Policy::Refuse,
            },
        )?;
        if self.segments.is_empty() {
            self.begin = DATA_START;
        }
        let mut segment = Segment::new(taken.spare.slot, taken.header);
        segment.is_written = taken.spare.is_written;
        self.segments.push_back(segment);
        Ok((taken.file, taken.created))
    }

    /// Writes as many buffered records as fit the last segment, and makes them durable.
    fn write_batch<S: Storage<File = F>>(
        &mut self,
        storage: &S,
        file: &F,
        created: bool,
    ) -> Result<(), StorageError> {
        let Some(segment) = self.segments.back() else {
            return Ok(());
        };
        let name = segment.name();
        let batch = encode(segment, &self.pending, self.after_cut);
        let fresh = segment.end == DATA_START;
        let write = |offset: u32, bytes: &[u8]| {
            storage
                .write_at(file, u64::from(offset), bytes)
                .map_err(StorageError::on("write", &name))
        };
        if fresh {
            let mut sector = [0; SECTOR as usize];
            put(&mut sector, 0, &segment.header.encode());
            write(0, &sector)?;
            write(segment.header.copy_offset(), &sector)?;
        }
        write(segment.end, &batch.bytes)?;
        let prepared = segment.prepared(batch.end);
        if prepared > segment.prepared(segment.end) {
            for (offset, zeros) in zeros(batch.end, prepared) {
                write(offset, zeros)?;
            }
        }
        storage
            .sync_data(file)
            .map_err(StorageError::on("sync", &name))?;
        if created {
            storage.sync_dir().map_err(StorageError::on("sync", ""))?;
        }
        self.commit(&batch);
        Ok(())
    }

    /// The batch is durable.
    fn commit(&mut self, batch: &Batch) {
        let Some(segment) = self.segments.back_mut() else {
            return;
        };
        segment.end = batch.end;
        self.after_cut = false;
        for &(seq, offset) in &batch.places {
            segment.note(seq, offset);
            if let Some(record) = self.pending.pop_front() {
                self.pending_bytes -= u64::from(framed(record.payload.len()));
            }
            self.durable = seq;
        }
    }

    /// The last segment failed: nothing more goes into it. One without any durable record is removed;
    /// if even that fails, the next open finds that its range is empty.
    fn abandon<S: Storage>(&mut self, storage: &S) {
        self.seal();
        if let Some(segment) = self.segments.pop_back_if(|last| last.end == DATA_START) {
            drop(storage.remove(&segment.name()));
        }
    }
}

/// Pieces of zeros that fill `from..to`; each ends at a block's end, or at `to`.
fn zeros(from: u32, to: u32) -> impl Iterator<Item = (u32, &'static [u8])> {
    let block = len_u32(&ZEROS);
    let mut offset = from;
    std::iter::from_fn(move || {
        let len = (block - offset % block).min(to.saturating_sub(offset));
        let piece = (offset, ZEROS.get(..len as usize)?);
        offset += len;
        (len > 0).then_some(piece)
    })
}

/// Encodes records from the front of `pending` until the segment is full, and a commit.
fn encode(segment: &Segment, pending: &VecDeque<Pending>, after_cut: bool) -> Batch {
    let salt = segment.header.salt;
    let mut batch = Batch {
        bytes: Vec::new(),
        places: Vec::new(),
        end: segment.end,
    };
    let mut room = segment.room();
    for record in pending {
        let stride = framed(record.payload.len()) - RECORD_HEADER;
        if room < stride + RECORD_HEADER {
            break;
        }
        room -= stride;
        let first = batch.places.is_empty();
        let mut header = RecordHeader::record(salt, record.seq, record.key, &record.payload, first);
        header.after_cut = first && after_cut;
        header.encode(salt, batch.end, &mut batch.bytes);
        batch.bytes.extend_from_slice(&record.payload);
        batch.places.push((record.seq, batch.end));
        batch.end += stride;
        batch.bytes.resize((batch.end - segment.end) as usize, 0);
    }
    if let Some(&(seq, _)) = batch.places.last() {
        RecordHeader::commit(seq).encode(salt, batch.end, &mut batch.bytes);
        batch.end += RECORD_HEADER;
    }
    batch
}
