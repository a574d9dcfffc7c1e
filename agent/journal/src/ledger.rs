//! A durable map of small keys in a stream of its own: commands, tombstones, counters.
//! It never holds a value in memory once it is durable, nor more live bytes than its cap.

use std::{collections::BTreeMap, ops::Bound};

use crate::{
    Journal, ReadError, Refusal, Storage, StorageError, StreamId,
    format::{MAX_RECORD, framed},
    scan::{Located, Scanner, Step},
    stream::Stream,
};

/// The longest key: 64 bytes.
pub const MAX_KEY: usize = 64;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
/// Kind and key length.
const HEADER: usize = 2;

/// A change, as a record of the ledger's stream holds it: kind, key length, key, value.
pub(crate) enum Operation<'a> {
    Put { key: &'a [u8], value: &'a [u8] },
    Remove { key: &'a [u8] },
}

impl<'a> Operation<'a> {
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (&[kind, key_len], rest) = payload.split_first_chunk()?;
        let (key, value) = rest.split_at_checked(usize::from(key_len))?;
        match kind {
            PUT => Some(Self::Put { key, value }),
            REMOVE => Some(Self::Remove { key }),
            _ => None,
        }
    }

    pub(crate) fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. } | Self::Remove { key } => key,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let (kind, key, value): (_, _, &[u8]) = match *self {
            Self::Put { key, value } => (PUT, key, value),
            Self::Remove { key } => (REMOVE, key, &[]),
        };
        let key_len = u8::try_from(key.len()).unwrap_or(u8::MAX);
        let mut payload = vec![kind, key_len];
        payload.extend_from_slice(key);
        payload.extend_from_slice(value);
        payload
    }
}

/// Where the newest value of a key stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    seq: u64,
    framed: u32,
}

/// The keys in memory: about 100 B each.
#[derive(Debug, Default)]
pub(crate) struct Index {
    places: BTreeMap<Box<[u8]>, Place>,
    live_bytes: u64,
}

impl Index {
    /// Framed bytes of the newest values.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn is_current(&self, key: &[u8], seq: u64) -> bool {
        self.places.get(key).is_some_and(|place| place.seq == seq)
    }

    /// The keys whose newest value was written before record `seq`.
    pub(crate) fn older_than(&self, seq: u64) -> impl Iterator<Item = Vec<u8>> {
        let older = self.places.iter().filter(move |(_, at)| at.seq < seq);
        older.map(|(key, _)| key.to_vec())
    }

    /// The key that record `seq` set, unless a newer record did so since.
    pub(crate) fn lost_by(&self, seq: u64, payload: &[u8]) -> Option<Vec<u8>> {
        let operation = Operation::decode(payload)?;
        let place = self.places.get(operation.key());
        let is_lost = match operation {
            Operation::Put { .. } => place.is_none_or(|place| place.seq < seq),
            // What was removed and is back does no harm to say so.
            Operation::Remove { .. } => place.is_some_and(|place| place.seq < seq),
        };
        is_lost.then(|| operation.key().to_vec())
    }

    pub(crate) fn replay(&mut self, record: &Located, payload: &[u8]) {
        self.replay_at(record.seq, payload);
    }

    pub(crate) fn replay_at(&mut self, seq: u64, payload: &[u8]) {
        let Some(operation) = Operation::decode(payload) else {
            return;
        };
        let framed = framed(payload.len());
        let before = match operation {
            Operation::Put { key, .. } => {
                self.live_bytes += u64::from(framed);
                self.places.insert(key.into(), Place { seq, framed })
            }
            Operation::Remove { key } => self.places.remove(key),
        };
        self.live_bytes -= before.map_or(0, |place| u64::from(place.framed));
    }
}

/// Changes that are not made yet: framed bytes of the value that each key would have, and of all.
#[derive(Debug, Default)]
pub(crate) struct Planned<'a> {
    values: BTreeMap<&'a [u8], u64>,
    live_bytes: Option<u64>,
}

impl<S: Storage> Journal<S> {
    /// A value of this length on top of what is planned.
    pub(crate) fn plan_put<'a>(
        &self,
        planned: &mut Planned<'a>,
        key: &'a [u8],
        value_bytes: usize,
    ) -> Result<(), Refusal> {
        check_key(key)?;
        let payload_bytes = HEADER + key.len() + value_bytes;
        if payload_bytes > MAX_RECORD {
            return Err(Refusal::TooLarge {
                len: value_bytes,
                max: MAX_RECORD - HEADER - key.len(),
            });
        }
        let need_bytes = u64::from(framed(payload_bytes));
        let used_bytes = self.live_without(planned, key);
        let cap_bytes = self.ledger_cap_bytes;
        if used_bytes + need_bytes > cap_bytes {
            return Err(Refusal::Full {
                stream: StreamId::LEDGER,
                cap_bytes,
                used_bytes,
                need_bytes,
            });
        }
        planned.values.insert(key, need_bytes);
        planned.live_bytes = Some(used_bytes + need_bytes);
        Ok(())
    }

    /// A key has no value on top of what is planned.
    pub(crate) fn plan_remove<'a>(&self, planned: &mut Planned<'a>, key: &'a [u8]) {
        planned.live_bytes = Some(self.live_without(planned, key));
        planned.values.insert(key, 0);
    }

    fn live_without(&self, planned: &Planned<'_>, key: &[u8]) -> u64 {
        let held = self.index.places.get(key);
        let held = held.map_or(0, |place| u64::from(place.framed));
        let replaced = planned.values.get(key).copied().unwrap_or(held);
        planned.live_bytes.unwrap_or(self.index.live_bytes) - replaced
    }
}

/// The keyed store of a journal. Changes are durable after [`Journal::sync`]; reads see them at once.
pub struct Ledger<'j, S: Storage> {
    journal: &'j mut Journal<S>,
}

impl<S: Storage> Journal<S> {
    /// The keyed store.
    pub fn ledger(&mut self) -> Ledger<'_, S> {
        Ledger { journal: self }
    }
}

impl<S: Storage> Ledger<'_, S> {
    /// Sets the value of a key; durable after the next [`Journal::sync`].
    ///
    /// # Errors
    /// [`Refusal::Full`] when the live entries would exceed the cap, [`Refusal::BadKey`],
    /// [`Refusal::TooLarge`], or the device's; the old value then stays.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        self.journal
            .plan_put(&mut Planned::default(), key, value.len())?;
        let payload = Operation::Put { key, value }.encode();
        self.write(&payload)
    }

    /// Removes a key; durable after the next [`Journal::sync`]. Removing an absent key does nothing.
    /// Never refused as full: removing is how room is made.
    ///
    /// # Errors
    /// The device's; the value then stays.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Refusal> {
        if !self.contains(key) {
            return Ok(());
        }
        self.write(&Operation::Remove { key }.encode())
    }

    /// The value of a key, read from the buffer or the disk.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when its bytes on disk no longer pass their checksum, or the device's.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(place) = self.journal.index.places.get(key) else {
            return Ok(None);
        };
        self.value_at(place.seq).map(Some)
    }

    /// Whether a key has a value.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.journal.index.places.contains_key(key)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.journal.index.places.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Framed bytes of the live entries; the cap bounds these.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.journal.index.live_bytes
    }

    /// The keys that start with `prefix`, ascending.
    pub fn keys(&self, prefix: &[u8]) -> impl Iterator<Item = &[u8]> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let prefix = prefix.to_vec();
        self.journal
            .index
            .places
            .range::<[u8], _>(from)
            .map(|(key, _)| key.as_ref())
            .take_while(move |key| key.starts_with(&prefix))
    }

    /// The entries whose keys start with `prefix`, ascending, each read when it is asked for.
    pub fn iter(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), ReadError>> {
        self.keys(prefix).filter_map(|key| {
            let value = self.get(key).transpose()?;
            Some(value.map(|value| (key.to_vec(), value)))
        })
    }

    fn write(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let seq = self.journal.buffer(StreamId::LEDGER, 0, payload)?;
        self.journal.index.replay_at(seq, payload);
        Ok(())
    }

    fn value_at(&self, seq: u64) -> Result<Vec<u8>, ReadError> {
        let stream = StreamId::LEDGER;
        let found = self
            .journal
            .streams
            .get(&stream)
            .ok_or(ReadError::UnknownStream { stream })?;
        let pending = found.pending.iter().find(|pending| pending.seq == seq);
        let value = match pending {
            Some(pending) => value_of(&pending.payload),
            None => read_value(&self.journal.storage, found, seq)?,
        };
        value.ok_or(ReadError::Damaged { seq })
    }
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Refusal::BadKey {
            len: key.len(),
            max: MAX_KEY,
        });
    }
    Ok(())
}

fn value_of(payload: &[u8]) -> Option<Vec<u8>> {
    match Operation::decode(payload)? {
        Operation::Put { value, .. } => Some(value.to_vec()),
        Operation::Remove { .. } => None,
    }
}

/// `None` where the record cannot be read any more.
fn read_value<S: Storage>(
    storage: &S,
    stream: &Stream<S::File>,
    seq: u64,
) -> Result<Option<Vec<u8>>, StorageError> {
    let after = stream
        .segments
        .partition_point(|segment| segment.header.first_seq <= seq);
    let Some(segment) = after
        .checked_sub(1)
        .and_then(|index| stream.segments.get(index))
    else {
        return Ok(None);
    };
    let name = segment.name();
    let file = segment.open(storage)?;
    let range = segment.range_from(seq, stream.seq_end(after - 1));
    let mut scanner = Scanner::new(storage, &file, range);
    while let Some(step) = scanner.next().map_err(StorageError::on("read", &name))? {
        if let Step::Record(record) = step
            && record.seq >= seq
        {
            let payload = scanner
                .payload(&record)
                .map_err(StorageError::on("read", &name))?;
            return Ok(value_of(payload).filter(|_| record.seq == seq));
        }
    }
    Ok(None)
}
