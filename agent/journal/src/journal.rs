//! The journal itself: what is buffered, group commit, acknowledgement, figures.
//! It never makes a promise before the device has confirmed it, nor admits more than a cap allows.

use std::collections::BTreeMap;

use crate::{
    Damage, OpenError, Recovery, Refusal, ReleaseError, SaltSource, Storage, StorageError,
    StreamId, SyncError,
    admission::full_unless_fits,
    cursor::{Cursor, Table},
    format::{MAX_RECORD, framed},
    ledger::Index,
    meter::Metered,
    pool::Pool,
    recovery, salvage,
    segment::Segment,
    stream::Stream,
};

/// Records of one stream that are not yet durable; beyond it an append makes them durable first.
/// Per stream, so that one which the device refuses does not hold up the others.
const PENDING_BYTES_MAX: u64 = 320 * 1024;
/// Segments are not made smaller than this unless the configuration asks for it.
const SEGMENT_BYTES_MIN: u32 = 64 * 1024;
/// A cap is spread over at least so many segments, so that space comes back in small steps.
const SEGMENTS_PER_CAP: u64 = 4;

/// What a stream does when its cap is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing is ever dropped: the append is refused. For results and the audit trail.
    Refuse,
    /// Records that a newer one of the same key replaces make room; what is newest is kept under a
    /// new sequence. Refused only when the newest records alone fill the cap. For state reports.
    NewestPerKey,
    /// The oldest records make room. For logs.
    OldestFirst,
}

/// One stream of a journal.
#[derive(Debug, Clone, Copy)]
pub struct StreamConfig {
    /// Its id; not [`StreamId::LEDGER`].
    pub stream: StreamId,
    /// Its bound, in framed bytes.
    pub cap_bytes: u64,
    /// What happens there.
    pub policy: Policy,
}

/// A journal's bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// Length of a segment where the cap allows: 1 MiB unless there is a reason; at least 4 KiB.
    pub segment_bytes: u32,
    /// The streams.
    pub streams: Vec<StreamConfig>,
    /// Bound of the live entries of the ledger, in framed bytes. Its files hold at most twice that
    /// and three segments.
    pub ledger_cap_bytes: u64,
}

impl Default for Config {
    /// Results 16 MiB, audit 4 MiB, state 4 MiB, logs 8 MiB, ledger 8 MiB, segments of 1 MiB.
    fn default() -> Self {
        let stream = |stream, mebibytes: u64, policy| StreamConfig {
            stream,
            cap_bytes: mebibytes << 20,
            policy,
        };
        Self {
            segment_bytes: 1 << 20,
            streams: vec![
                stream(StreamId::RESULT, 16, Policy::Refuse),
                stream(StreamId::AUDIT, 4, Policy::Refuse),
                stream(StreamId::STATE, 4, Policy::NewestPerKey),
                stream(StreamId::LOG, 8, Policy::OldestFirst),
            ],
            ledger_cap_bytes: 8 << 20,
        }
    }
}

impl Config {
    /// Length of the segments of a stream with this cap.
    pub(crate) fn segment_bytes_for(&self, cap_bytes: u64) -> u32 {
        let share = u32::try_from(cap_bytes / SEGMENTS_PER_CAP).unwrap_or(u32::MAX);
        let share = if share.is_power_of_two() {
            share
        } else {
            share.checked_next_power_of_two().unwrap_or(1 << 31) / 2
        };
        let least = SEGMENT_BYTES_MIN.min(self.segment_bytes);
        share.clamp(least, self.segment_bytes)
    }
}

/// Room promised to records that do not exist yet, such as the worst-case result of an admitted
/// command. Give what is left back with [`Journal::unreserve`]; it does not survive a restart.
#[derive(Debug)]
#[must_use = "the room stays taken until it is given back"]
pub struct Reservation {
    stream: StreamId,
    bytes: u64,
}

impl Reservation {
    /// The stream it belongs to.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Framed bytes still promised.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a sync did. Everything appended before it is durable.
#[derive(Debug, Default)]
pub struct Durable {
    /// Bytes given to the device by this call, frames, zeros and housekeeping included.
    pub written_bytes: u64,
    /// Eviction, compaction or restocking the reserve for a full device failed; the records are
    /// durable, and the next sync tries again.
    pub housekeeping: Option<StorageError>,
}

/// Figures of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStatus {
    /// The stream.
    pub stream: StreamId,
    /// Records neither acknowledged nor evicted, damaged ones included.
    pub records: u64,
    /// Framed bytes of those, on disk or buffered.
    pub used_bytes: u64,
    /// Framed bytes reserved.
    pub reserved_bytes: u64,
    /// The bound on both together.
    pub cap_bytes: u64,
    /// Bytes of its segment files.
    pub file_bytes: u64,
    /// Its segment files.
    pub segments: usize,
    /// Acknowledged up to and including.
    pub released: u64,
    /// Evicted up to and including.
    pub evicted: u64,
    /// Durable up to and including.
    pub durable: u64,
    /// Records found damaged when the journal was opened and not acknowledged then.
    pub damaged_records: u64,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Its name inside the journal's directory.
    pub file: String,
    /// Its stream.
    pub stream: StreamId,
    /// Sequence of its first record.
    pub first: u64,
    /// Its last sequence; below `first` where it holds none yet.
    pub last: u64,
    /// Its length.
    pub bytes: u32,
    /// Bytes of records and commits in it.
    pub used_bytes: u64,
    /// Takes no more records.
    pub sealed: bool,
}

/// Figures of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Each stream, the ledger last.
    pub streams: Vec<StreamStatus>,
    /// Spare segment files.
    pub spare_segments: usize,
    /// Their bytes.
    pub spare_bytes: u64,
    /// Bytes given to the device since the journal was opened: records, their frames, zeros written
    /// ahead, cursors. What the file system adds is not seen here.
    pub written_bytes: u64,
    /// The same since the journal was made. A power cut loses of it what was written since the
    /// youngest segment was begun or the cursor was stored.
    pub written_total_bytes: u64,
    /// Syncs that failed since then.
    pub failed_syncs: u64,
}

/// A durable queue of independent streams, and a ledger beside them.
pub struct Journal<S: Storage> {
    pub(crate) storage: Metered<S>,
    pub(crate) streams: BTreeMap<StreamId, Stream<S::File>>,
    pub(crate) pool: Pool,
    pub(crate) cursor: Cursor<S::File>,
    pub(crate) index: Index,
    pub(crate) ledger_cap_bytes: u64,
    pub(crate) failed_syncs: u64,
    /// What an earlier process wrote last may not be on the device yet.
    pub(crate) unsecured: bool,
    /// It is, as a device says that takes no writes.
    pub(crate) found_synced: bool,
}

impl<S: Storage> Journal<S> {
    /// Opens the journal of this storage, or makes it; reads every record once to find damage.
    ///
    /// # Errors
    /// [`OpenError::NewerVersion`] before anything is changed, or the device's when reading. One that
    /// takes no writes is no error: see [`Recovery::takes_no_writes`].
    pub fn open(
        storage: S,
        config: &Config,
        salts: SaltSource,
    ) -> Result<(Self, Recovery), OpenError> {
        recovery::open(storage, config, salts)
    }

    /// Buffers a record; durable after the next [`Self::sync`]. Returns its sequence.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn append(&mut self, stream: StreamId, payload: &[u8]) -> Result<u64, Refusal> {
        self.append_keyed(stream, 0, payload)
    }

    /// Like [`Self::append`], with the key that [`Policy::NewestPerKey`] goes by.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn append_keyed(
        &mut self,
        stream: StreamId,
        key: u16,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let need = self.check(stream, payload.len())?;
        self.admit(stream, key, need)?;
        self.buffer(stream, key, payload)
    }

    /// Appends within a reservation, which shrinks by the framed length; never refused as full while
    /// the reservation covers it.
    ///
    /// # Errors
    /// [`Refusal`]; the reservation is unchanged then.
    pub fn append_reserved(
        &mut self,
        reservation: &mut Reservation,
        key: u16,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let need = self.check(reservation.stream, payload.len())?;
        let covered = need.min(reservation.bytes);
        self.set_reserved(reservation.stream, |held| held.saturating_sub(covered));
        let admitted = if covered == need {
            Ok(())
        } else {
            self.admit(reservation.stream, key, need)
        };
        let outcome = admitted.and_then(|()| self.buffer(reservation.stream, key, payload));
        match outcome {
            Ok(_) => reservation.bytes -= covered,
            Err(_) => self.set_reserved(reservation.stream, |held| held + covered),
        }
        outcome
    }

    /// Promises room for one record of `payload_bytes`, so that it can be appended later.
    ///
    /// # Errors
    /// [`Refusal::Full`] with the bound, or [`Refusal::DeviceFull`] when the device could not hold
    /// what all streams have promised.
    pub fn reserve(
        &mut self,
        stream: StreamId,
        payload_bytes: usize,
    ) -> Result<Reservation, Refusal> {
        let records = payload_bytes.div_ceil(MAX_RECORD).max(1) as u64;
        let bytes = payload_bytes as u64 + records * u64::from(framed(0) + 4);
        let found = self
            .streams
            .get(&stream)
            .filter(|_| stream != StreamId::LEDGER)
            .ok_or(Refusal::UnknownStream { stream })?;
        full_unless_fits(found, found.used_bytes(), bytes)?;
        self.check_device(stream, bytes)?;
        self.set_reserved(stream, |held| held + bytes);
        Ok(Reservation { stream, bytes })
    }

    /// Gives back what is left of a reservation.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "taking the value is what keeps it from being given back twice"
    )]
    pub fn unreserve(&mut self, reservation: Reservation) {
        self.set_reserved(reservation.stream, |held| {
            held.saturating_sub(reservation.bytes)
        });
    }

    /// Makes everything appended so far durable, then drops what the policies give up.
    ///
    /// Streams go in ascending id, the ledger last. The first stream of [`Policy::Refuse`] that fails
    /// ends the call; others do not hold up what comes after them. Logs that a full device refuses
    /// give up their oldest, and at last what is buffered, as a counted gap.
    ///
    /// # Errors
    /// [`SyncError`] names the first records that are not durable. They stay buffered, and the next
    /// call writes them to a new segment; the failed descriptor is never used again.
    pub fn sync(&mut self) -> Result<Durable, SyncError> {
        let before = self.storage.since_open();
        let mut housekeeping = self.evict_oldest().err();
        let mut failed = None;
        let policies: Vec<_> = self.streams.values().map(|s| (s.id, s.policy)).collect();
        for (id, policy) in policies {
            match policy {
                Policy::Refuse => self.flush(id)?,
                Policy::NewestPerKey => failed = failed.or(self.flush(id).err()),
                Policy::OldestFirst => failed = failed.or(self.flush_or_evict(id).err()),
            }
        }
        let after = self
            .evict_oldest()
            .and_then(|()| self.compact())
            .and_then(|()| self.stock_reserve());
        housekeeping = housekeeping.or(after.err());
        let done = Durable {
            written_bytes: self.storage.since_open() - before,
            housekeeping,
        };
        failed.map_or(Ok(done), Err)
    }

    /// Acknowledges every record up to and including `up_to`. Becomes durable when a segment is
    /// finished, or by [`Self::checkpoint`]; until then a restart may read some records again.
    ///
    /// # Errors
    /// [`ReleaseError::BeyondEnd`] changes nothing; [`ReleaseError::Storage`] only delays the
    /// reclaiming of space.
    pub fn release(&mut self, stream: StreamId, up_to: u64) -> Result<(), ReleaseError> {
        let found = self
            .streams
            .get_mut(&stream)
            .filter(|_| stream != StreamId::LEDGER)
            .ok_or(ReleaseError::UnknownStream { stream })?;
        if up_to > found.durable {
            return Err(ReleaseError::BeyondEnd {
                stream,
                up_to,
                durable: found.durable,
            });
        }
        if up_to <= found.progress.released {
            return Ok(());
        }
        found.progress.released = up_to;
        found.newest.retain(|_, &mut (seq, _)| seq > up_to);
        Ok(self.reclaim(stream)?)
    }

    /// Makes all acknowledgements durable: for a clean stop.
    ///
    /// # Errors
    /// The device's; acknowledgements are then repeated by whoever reads again.
    pub fn checkpoint(&mut self) -> Result<(), StorageError> {
        let table = self.progress_table();
        self.cursor.store(&self.storage, &table)
    }

    /// Highest durable sequence of a stream; 0 where there is none.
    #[must_use]
    pub fn durable(&self, stream: StreamId) -> u64 {
        self.streams.get(&stream).map_or(0, |found| found.durable)
    }

    /// Whether everything that was found when the journal was opened is durable: what a killed process
    /// wrote last may otherwise be lost with the power.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.is_rewritten() || self.found_synced
    }

    /// Whether what was found has been written once more, and may be followed by more.
    pub(crate) fn is_rewritten(&self) -> bool {
        !self.unsecured
    }

    /// Highest acknowledged sequence of a stream; 0 where there is none.
    #[must_use]
    pub fn released(&self, stream: StreamId) -> u64 {
        self.streams
            .get(&stream)
            .map_or(0, |found| found.progress.released)
    }

    /// Figures of all streams.
    #[must_use]
    pub fn status(&self) -> Status {
        let streams = self.streams.values().map(|stream| StreamStatus {
            stream: stream.id,
            records: stream.next_seq - 1 - stream.head(),
            used_bytes: stream.used_bytes(),
            reserved_bytes: stream.reserved_bytes,
            cap_bytes: stream.cap_bytes,
            file_bytes: stream.file_bytes(),
            segments: stream.segments.len(),
            released: stream.progress.released,
            evicted: stream.progress.evicted,
            durable: stream.durable,
            damaged_records: stream.damaged_records,
        });
        Status {
            streams: streams.collect(),
            spare_segments: self.pool.spare_count(),
            spare_bytes: self.pool.spare_bytes(),
            written_bytes: self.storage.since_open(),
            written_total_bytes: self.storage.total(),
            failed_syncs: self.failed_syncs,
        }
    }

    /// The segment files of all streams, each stream's in their order.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentStatus> {
        let streams = self.streams.values();
        let segments = streams.flat_map(|stream| {
            let held = stream.segments.iter().enumerate();
            held.map(|(index, segment)| SegmentStatus {
                file: segment.name(),
                stream: stream.id,
                first: segment.header.first_seq,
                last: stream.durable.min(stream.seq_end(index) - 1),
                bytes: segment.header.bytes,
                used_bytes: segment.used(),
                sealed: segment.sealed,
            })
        });
        segments.collect()
    }

    /// What a damaged record was before a bit of it flipped; `None` where one flipped bit does not
    /// explain the damage. It says whom the loss concerns, and is no record again.
    ///
    /// # Errors
    /// The device's.
    pub fn salvage(&self, damage: &Damage) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(place) = damage.place.filter(|_| damage.first == damage.last) else {
            return Ok(None);
        };
        let stream = self.streams.get(&damage.stream);
        let segment = stream.and_then(|found| found.segment_of(place));
        segment.map_or(Ok(None), |segment| {
            salvage::payload(&self.storage, segment, place.offset, damage.first)
                .map_err(StorageError::on("read", &segment.name()))
        })
    }

    /// Persists the cursor, then gives back the files that it says nobody needs.
    pub(crate) fn reclaim(&mut self, id: StreamId) -> Result<(), StorageError> {
        let table = self.progress_table();
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.finished_segments() > 0 {
            self.cursor.store(&self.storage, &table)?;
            stream.retire(&self.storage, &mut self.pool)?;
        }
        stream.locate_begin(&self.storage)
    }

    /// Keeps one spare file as large as the largest segment, for when the device is full.
    pub(crate) fn stock_reserve(&mut self) -> Result<(), StorageError> {
        let largest = self.streams.values().map(|stream| stream.segment_bytes);
        self.pool.stock(&self.storage, largest.max().unwrap_or(0))
    }

    /// Makes durable what a killed process may have left in the page cache, in the last segment of
    /// each stream: earlier ones were synced before the last one was begun.
    fn secure_ends(&self) -> Result<(), StorageError> {
        let ends = self
            .streams
            .values()
            .filter_map(|stream| stream.segments.back());
        for last in ends {
            last.secure(&self.storage)?;
        }
        Ok(())
    }

    /// Makes the names of files durable that a killed process made.
    fn sync_names(&self) -> Result<(), StorageError> {
        let synced = self.storage.sync_dir();
        synced.map_err(StorageError::on("sync", ""))
    }

    /// Makes everything durable that was found when the journal was opened, once: a batch behind an
    /// older one that is not durable would stand as proof that it is.
    pub(crate) fn secure(&mut self) -> Result<(), StorageError> {
        if self.unsecured {
            self.secure_ends()?;
            if self.cursor.found().is_some() {
                match self.checkpoint() {
                    // A new file after a failed sync: results have the reserve, and go on.
                    Err(error) if error.is_storage_full() => {}
                    stored => stored?,
                }
            }
            self.sync_names()?;
            self.unsecured = false;
        }
        Ok(())
    }

    /// Has a read-only device say whether everything that was found is durable. Of ext4, a file system
    /// that an error made read-only refuses every sync; one that was mounted so has nothing left to
    /// write.
    pub(crate) fn sync_found(&self) -> Result<(), StorageError> {
        let segments = self.streams.values().filter_map(|s| s.segments.back());
        let cursor = self.cursor.found().map(str::to_owned);
        for name in segments.map(Segment::name).chain(cursor) {
            let file = self.storage.open(&name);
            let file = file.map_err(StorageError::on("open", &name))?;
            let synced = self.storage.sync_data(&file);
            synced.map_err(StorageError::on("sync", &name))?;
        }
        self.sync_names()
    }

    pub(crate) fn flush(&mut self, id: StreamId) -> Result<(), SyncError> {
        let waits = |stream: &Stream<S::File>| !stream.pending.is_empty();
        if !self.streams.get(&id).is_some_and(waits) {
            return Ok(());
        }
        let secured = self.secure();
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let outcome = secured.and_then(|()| stream.flush(&self.storage, &mut self.pool));
        outcome.map_err(|source| {
            self.failed_syncs += 1;
            SyncError {
                stream: id,
                first: stream.durable + 1,
                last: stream.next_seq - 1,
                source,
            }
        })
    }

    pub(crate) fn progress_table(&self) -> Table {
        // Streams of an earlier configuration keep their place.
        let mut table = self.cursor.stored().clone();
        table.extend(
            self.streams
                .values()
                .map(|stream| (stream.id, stream.progress)),
        );
        table
    }

    /// Makes room in the buffer if need be, and puts the record there.
    pub(crate) fn buffer(
        &mut self,
        stream: StreamId,
        key: u16,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let need = u64::from(framed(payload.len()));
        if self.is_buffer_full(stream, need)
            && let Err(error) = self.sync()
            && self.is_buffer_full(stream, need)
        {
            return Err(error.into());
        }
        let found = self
            .streams
            .get_mut(&stream)
            .ok_or(Refusal::UnknownStream { stream })?;
        Ok(found.push(key, payload.to_vec()))
    }

    fn is_buffer_full(&self, stream: StreamId, need: u64) -> bool {
        self.streams
            .get(&stream)
            .is_some_and(|found| found.pending_bytes + need > PENDING_BYTES_MAX)
    }

    fn set_reserved(&mut self, stream: StreamId, change: impl FnOnce(u64) -> u64) {
        if let Some(found) = self.streams.get_mut(&stream) {
            found.reserved_bytes = change(found.reserved_bytes);
        }
    }
}
