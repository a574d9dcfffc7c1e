//! Giving up what the policies allow: the oldest logs, replaced state, dead entries of the ledger.
//! It never drops the only copy of a record that is still wanted: copies are durable before the cursor moves.

use crate::{
    Journal, Policy, Storage, StorageError, StreamId, SyncError,
    ledger::Operation,
    scan::{Scanner, Step},
    stream::Stream,
};

/// Copies buffered before they are written; a ledger segment may be all alive.
const COPY_BYTES_MAX: u64 = 256 * 1024;

impl<S: Storage> Journal<S> {
    /// Evicts the oldest segments of streams that may lose them until each fits its cap.
    pub(crate) fn evict_oldest(&mut self) -> Result<(), StorageError> {
        for id in self.ids_with(Policy::OldestFirst) {
            while let Some(last) = self.excess_segment(id) {
                self.evict_through(id, last);
                self.reclaim(id)?;
            }
        }
        Ok(())
    }

    /// Writes a stream that may lose its oldest; on a full device it makes its own room.
    pub(crate) fn flush_or_evict(&mut self, id: StreamId) -> Result<(), SyncError> {
        loop {
            match self.flush(id) {
                // Where an earlier process's records cannot be secured, giving up more gains nothing.
                Err(error) if error.source.is_storage_full() && self.is_rewritten() => {
                    if self.give_up_oldest(id).is_err() {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Evicts the oldest segment, or what is buffered where there is none.
    fn give_up_oldest(&mut self, id: StreamId) -> Result<(), StorageError> {
        if let Some(last) = self.first_segment_end(id) {
            self.evict_through(id, last);
            return self.reclaim(id);
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        // The gap is told only after it is durable: else these sequences could be given out again.
        let before = stream.progress;
        stream.progress.evicted = stream.next_seq - 1;
        let stored = self.checkpoint();
        if let Some(stream) = self.streams.get_mut(&id) {
            match &stored {
                Ok(()) => stream.discard_pending(),
                Err(_) => stream.progress = before,
            }
        }
        stored?;
        self.reclaim(id)
    }

    /// Copies what is wanted out of the oldest segments, and drops them, where that makes room.
    pub(crate) fn compact(&mut self) -> Result<(), StorageError> {
        let mut ids = self.ids_with(Policy::NewestPerKey);
        ids.push(StreamId::LEDGER);
        for id in ids {
            // Once round: what is all alive is not copied again and again.
            let rounds = self
                .streams
                .get(&id)
                .map_or(0, |stream| stream.segments.len());
            for _ in 0..rounds {
                if !self.wants_compaction(id) {
                    break;
                }
                self.carry_first_segment(id)?;
            }
        }
        Ok(())
    }

    fn ids_with(&self, policy: Policy) -> Vec<StreamId> {
        let streams = self
            .streams
            .values()
            .filter(|stream| stream.policy == policy);
        streams.map(|stream| stream.id).collect()
    }

    /// The last sequence of the oldest segment, if the stream exceeds its cap.
    fn excess_segment(&mut self, id: StreamId) -> Option<u64> {
        let stream = self.streams.get(&id)?;
        let over = stream.used_bytes() + stream.reserved_bytes > stream.cap_bytes;
        if over {
            self.first_segment_end(id)
        } else {
            None
        }
    }

    /// The last sequence of the oldest segment that holds something needed; that segment is closed.
    fn first_segment_end(&mut self, id: StreamId) -> Option<u64> {
        let stream = self.streams.get_mut(&id)?;
        if stream.durable == stream.head() {
            return None;
        }
        if stream.segments.len() == 1 {
            stream.seal();
        }
        stream.segments.front()?;
        Some(stream.seq_end(0) - 1)
    }

    fn evict_through(&mut self, id: StreamId, last: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.progress.evicted = stream.progress.evicted.max(last);
        }
    }

    fn wants_compaction(&self, id: StreamId) -> bool {
        let Some(stream) = self.streams.get(&id) else {
            return false;
        };
        let used = stream.used_bytes();
        if id == StreamId::LEDGER {
            let dead = used.saturating_sub(self.index.live_bytes());
            return dead > self.index.live_bytes().max(u64::from(stream.segment_bytes));
        }
        let live: u64 = stream
            .newest
            .values()
            .map(|&(_, bytes)| u64::from(bytes))
            .sum();
        used > stream.cap_bytes && used > live
    }

    /// Appends what is wanted of the first segment again, makes it durable, drops the segment.
    fn carry_first_segment(&mut self, id: StreamId) -> Result<(), StorageError> {
        self.secure()?;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.segments.len() == 1 {
            stream.seal();
        }
        let Some(first) = stream.segments.front() else {
            return Ok(());
        };
        let (storage, name) = (&self.storage, first.name());
        let file = first.open(storage)?;
        let (head, seq_end) = (stream.head(), stream.seq_end(0));
        let mut scanner = Scanner::new(storage, &file, first.range_from(head + 1, seq_end));
        while let Some(step) = scanner.next().map_err(StorageError::on("read", &name))? {
            let Step::Record(record) = step else { continue };
            let payload = scanner
                .payload(&record)
                .map_err(StorageError::on("read", &name))?;
            let wanted = if id == StreamId::LEDGER {
                let key = Operation::decode(payload).map(|operation| operation.key());
                key.is_some_and(|key| self.index.is_current(key, record.seq))
            } else {
                is_newest(stream, record.key, record.seq)
            };
            if record.seq <= head || !wanted {
                continue;
            }
            let seq = stream.push(record.key, payload.to_vec());
            if id == StreamId::LEDGER {
                self.index.replay_at(seq, payload);
            }
            if stream.pending_bytes > COPY_BYTES_MAX {
                stream.flush(storage, &mut self.pool)?;
            }
        }
        stream.flush(storage, &mut self.pool)?;
        if id == StreamId::LEDGER {
            stream.progress.released = stream.progress.released.max(seq_end - 1);
        } else {
            stream.progress.evicted = stream.progress.evicted.max(seq_end - 1);
        }
        self.reclaim(id)
    }
}

fn is_newest<F>(stream: &Stream<F>, key: u16, seq: u64) -> bool {
    stream
        .newest
        .get(&key)
        .is_some_and(|&(newest, _)| newest == seq)
}
