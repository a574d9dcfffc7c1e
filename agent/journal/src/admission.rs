//! What the caps admit: one record, or all changes that belong together before any of them is made.
//! It never changes anything, and promises nothing for a device that fails.

use std::collections::BTreeMap;

use crate::{
    Journal, Policy, Refusal, Reservation, Storage, StorageError, StreamId,
    format::{MAX_RECORD, framed},
    ledger::Planned,
    stream::Stream,
};

/// One of several changes that are to be made together.
#[derive(Debug)]
pub enum Change<'a> {
    /// [`Journal::append_keyed`], or [`Journal::append_reserved`].
    Append {
        /// The stream.
        stream: StreamId,
        /// Its key.
        key: u16,
        /// Length of the record.
        payload_bytes: usize,
        /// What it is appended within.
        reservation: Option<&'a Reservation>,
    },
    /// [`crate::Ledger::put`].
    Put {
        /// The key.
        key: &'a [u8],
        /// Length of the value.
        value_bytes: usize,
    },
    /// [`crate::Ledger::remove`].
    Remove {
        /// The key.
        key: &'a [u8],
    },
}

impl<S: Storage> Journal<S> {
    /// Whether these changes, made one after the other, are within every bound. Nothing is changed;
    /// when they are made only the device can still stop them. Of several appends to one stream a
    /// reservation counts for the first alone.
    ///
    /// # Errors
    /// [`Refusal`] of the first that is not.
    pub fn admits(&self, changes: &[Change<'_>]) -> Result<(), Refusal> {
        let mut grown: BTreeMap<StreamId, u64> = BTreeMap::new();
        let mut ledger = Planned::default();
        for change in changes {
            match *change {
                Change::Append {
                    stream,
                    key,
                    payload_bytes,
                    reservation,
                } => {
                    let need = self.check(stream, payload_bytes)?;
                    let before = grown.get(&stream).copied();
                    let within = reservation.filter(|_| before.is_none());
                    let covered = within.map_or(0, Reservation::bytes).min(need);
                    let more = before.unwrap_or(0) + need - covered;
                    if covered < need {
                        self.admit(stream, key, more)?;
                    }
                    grown.insert(stream, more);
                }
                Change::Put { key, value_bytes } => self.plan_put(&mut ledger, key, value_bytes)?,
                Change::Remove { key } => self.plan_remove(&mut ledger, key),
            }
        }
        Ok(())
    }

    /// The framed length of a record that may be appended to this stream.
    pub(crate) fn check(&self, stream: StreamId, len: usize) -> Result<u64, Refusal> {
        if len > MAX_RECORD {
            return Err(Refusal::TooLarge {
                len,
                max: MAX_RECORD,
            });
        }
        if stream == StreamId::LEDGER || !self.streams.contains_key(&stream) {
            return Err(Refusal::UnknownStream { stream });
        }
        Ok(u64::from(framed(len)))
    }

    pub(crate) fn admit(&self, id: StreamId, key: u16, need: u64) -> Result<(), Refusal> {
        let Some(stream) = self.streams.get(&id) else {
            return Err(Refusal::UnknownStream { stream: id });
        };
        let kept = match stream.policy {
            Policy::Refuse => stream.used_bytes(),
            // Whatever is replaced or old can go, at the next sync.
            Policy::NewestPerKey => stream
                .newest
                .iter()
                .filter(|&(&other, _)| other != key)
                .map(|(_, &(_, bytes))| u64::from(bytes))
                .sum(),
            Policy::OldestFirst => 0,
        };
        full_unless_fits(stream, kept, need)
    }

    pub(crate) fn check_device(&self, stream: StreamId, bytes: u64) -> Result<(), Refusal> {
        let free = self
            .storage
            .free_bytes()
            .map_err(StorageError::on("measure", ""))?;
        let free_bytes = free.saturating_add(self.pool.spare_bytes());
        let promised: u64 = self
            .streams
            .values()
            .map(|found| found.reserved_bytes)
            .sum();
        let need_bytes = promised + bytes;
        if need_bytes > free_bytes {
            return Err(Refusal::DeviceFull {
                stream,
                free_bytes,
                need_bytes,
            });
        }
        Ok(())
    }
}

/// `kept` bytes stay, others are reserved: do `need` more fit?
pub(crate) fn full_unless_fits<F>(stream: &Stream<F>, kept: u64, need: u64) -> Result<(), Refusal> {
    let used_bytes = kept + stream.reserved_bytes;
    if used_bytes.saturating_add(need) > stream.cap_bytes {
        return Err(Refusal::Full {
            stream: stream.id,
            cap_bytes: stream.cap_bytes,
            used_bytes,
            need_bytes: need,
        });
    }
    Ok(())
}
