//! How far each stream was acknowledged and evicted, in a small file of two checksummed slots.
//! It never overwrites both slots before one of them is durable, and never retries a failed descriptor.

use std::collections::BTreeMap;

use crate::{
    OpenError, Storage, StorageError, StreamId,
    format::{VERSION, put, u16_at, u32_at, u64_at},
    meter::Metered,
};

const MAGIC: [u8; 8] = *b"HFcurs\r\n";
const SLOT_BYTES: usize = 4096;
const FILE_BYTES: u64 = 2 * SLOT_BYTES as u64;
const HEADER: usize = 24;
const ENTRY: usize = 20;
const CRC_AT: usize = SLOT_BYTES - 4;
const WRITTEN_AT: usize = CRC_AT - 8;
/// As many streams as a slot has entries for.
pub(crate) const MAX_STREAMS: usize = 64;
/// Cursor files are `cursor-` and a number; after a failed sync the next number is taken.
const PREFIX: &str = "cursor-";

/// What is durable of one stream's progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Acknowledged up to and including.
    pub(crate) released: u64,
    /// Evicted up to and including; above `released` a counted gap.
    pub(crate) evicted: u64,
}

pub(crate) type Table = BTreeMap<StreamId, Progress>;

/// The cursor file.
pub(crate) struct Cursor<F> {
    /// `None` before the first store, and after a failed one: then a new file is made.
    file: Option<F>,
    number: u32,
    /// The file that has the newest valid slot, and which of the two it is.
    found: Option<(String, usize)>,
    generation: u64,
    stored: Table,
    /// Bytes that the journal has written in all, as the file says.
    written_bytes: u64,
}

impl<F> Cursor<F> {
    /// Reads the newest valid slot of any cursor file. The flag says that cursor files exist but no
    /// slot is readable: progress is lost, not absent.
    pub(crate) fn load<S: Storage<File = F>>(
        storage: &S,
        names: &[String],
    ) -> Result<(Self, bool), OpenError> {
        let mut cursor = Self {
            file: None,
            number: 0,
            found: None,
            generation: 0,
            stored: Table::new(),
            written_bytes: 0,
        };
        let mut seen = false;
        for name in names {
            let Some(number) = number_of(name) else {
                continue;
            };
            seen = true;
            cursor.number = cursor.number.max(number);
            let mut bytes = vec![0; 2 * SLOT_BYTES];
            let file = storage.open(name).map_err(StorageError::on("open", name))?;
            let got = storage
                .read_at(&file, 0, &mut bytes)
                .map_err(StorageError::on("read", name))?;
            bytes.truncate(got);
            for (index, slot) in bytes.chunks(SLOT_BYTES).enumerate() {
                match decode(slot) {
                    Slot::Valid {
                        generation,
                        table,
                        written_bytes,
                    } if generation > cursor.generation => {
                        cursor.generation = generation;
                        cursor.written_bytes = written_bytes;
                        cursor.number = number;
                        cursor.found = Some((name.clone(), index));
                        cursor.stored = table;
                    }
                    Slot::Newer(found) => {
                        return Err(OpenError::NewerVersion {
                            file: name.clone(),
                            found,
                            supported: VERSION,
                        });
                    }
                    Slot::Valid { .. } | Slot::Invalid => {}
                }
            }
        }
        let lost = seen && cursor.generation == 0;
        Ok((cursor, lost))
    }

    /// What the file says.
    pub(crate) fn stored(&self) -> &Table {
        &self.stored
    }

    /// The file with the newest valid slot, if there is one.
    pub(crate) fn found(&self) -> Option<&str> {
        self.found.as_ref().map(|(name, _)| name.as_str())
    }

    /// Bytes that the journal has written in all, as the file says.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Makes `table` durable in both slots, one after the other: a torn write leaves the other slot,
    /// and a bit that flips later leaves the same progress in its twin. The figure of what was written
    /// goes with it.
    pub(crate) fn store<S: Storage<File = F>>(
        &mut self,
        storage: &Metered<S>,
        table: &Table,
    ) -> Result<(), StorageError> {
        let is_current = *table == self.stored && self.written_bytes == storage.total();
        if is_current && self.file.is_some() {
            return Ok(());
        }
        let outcome = self.write(storage, table);
        match &outcome {
            Ok(()) => self.stored.clone_from(table),
            // Never synced again: the next store begins a new file.
            Err(_) => {
                self.file = None;
                self.number = self.number.wrapping_add(1);
            }
        }
        outcome
    }

    fn write<S: Storage<File = F>>(
        &mut self,
        storage: &Metered<S>,
        table: &Table,
    ) -> Result<(), StorageError> {
        let name = name_of(self.number);
        let (file, created) = match self.file.take() {
            Some(file) => (file, false),
            None => {
                let (file, created) = open_or_create(storage, &name)?;
                // What a killed process left of one slot is not torn together with the other.
                sync(storage, &file, &name)?;
                (file, created)
            }
        };
        // The newest slot goes last: a power cut before may have left the other one torn.
        let newest = match &self.found {
            Some((found, slot)) if *found == name => *slot,
            _ => 1,
        };
        self.generation += 1;
        self.written_bytes = storage.total() + FILE_BYTES;
        let slot = encode(self.generation, table, self.written_bytes);
        for place in [1 - newest, newest] {
            storage
                .write_at(&file, (place * SLOT_BYTES) as u64, &slot)
                .map_err(StorageError::on("write", &name))?;
            sync(storage, &file, &name)?;
        }
        if created {
            storage.sync_dir().map_err(StorageError::on("sync", ""))?;
            remove_others(storage, &name)?;
        }
        self.found = Some((name, newest));
        self.file = Some(file);
        Ok(())
    }
}

fn sync<S: Storage>(storage: &S, file: &S::File, name: &str) -> Result<(), StorageError> {
    let synced = storage.sync_data(file);
    synced.map_err(StorageError::on("sync", name))
}

fn open_or_create<S: Storage>(storage: &S, name: &str) -> Result<(S::File, bool), StorageError> {
    match storage.open(name) {
        Ok(file) => Ok((file, false)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => storage
            .create(name, FILE_BYTES)
            .map(|created| (created.file, true))
            .map_err(StorageError::on("create", name)),
        Err(error) => Err(StorageError::on("open", name)(error)),
    }
}

/// Older cursor files are of no use once a newer one is durable.
fn remove_others<S: Storage>(storage: &S, keep: &str) -> Result<(), StorageError> {
    for info in storage.list().map_err(StorageError::on("list", ""))? {
        if info.name != keep && number_of(&info.name).is_some() {
            storage
                .remove(&info.name)
                .map_err(StorageError::on("remove", &info.name))?;
        }
    }
    Ok(())
}

fn name_of(number: u32) -> String {
    format!("{PREFIX}{number:08x}")
}

fn number_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()
}

enum Slot {
    Valid {
        generation: u64,
        table: Table,
        written_bytes: u64,
    },
    Newer(u16),
    Invalid,
}

fn encode(generation: u64, table: &Table, written_bytes: u64) -> Vec<u8> {
    let mut slot = vec![0; SLOT_BYTES];
    let count = u16::try_from(table.len()).unwrap_or(u16::MAX);
    put(&mut slot, 0, &MAGIC);
    put(&mut slot, 8, &VERSION.to_le_bytes());
    put(&mut slot, 10, &count.to_le_bytes());
    put(&mut slot, 16, &generation.to_le_bytes());
    for (index, (stream, progress)) in table.iter().take(MAX_STREAMS).enumerate() {
        let at = HEADER + index * ENTRY;
        put(&mut slot, at, &[stream.get()]);
        put(&mut slot, at + 4, &progress.released.to_le_bytes());
        put(&mut slot, at + 12, &progress.evicted.to_le_bytes());
    }
    put(&mut slot, WRITTEN_AT, &written_bytes.to_le_bytes());
    let crc = crc32c::crc32c(slot.get(..CRC_AT).unwrap_or_default());
    put(&mut slot, CRC_AT, &crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Slot {
    if slot.len() != SLOT_BYTES || slot.get(..8) != Some(&MAGIC) {
        return Slot::Invalid;
    }
    if u32_at(slot, CRC_AT) != crc32c::crc32c(slot.get(..CRC_AT).unwrap_or_default()) {
        return Slot::Invalid;
    }
    let version = u16_at(slot, 8);
    if version > VERSION {
        return Slot::Newer(version);
    }
    let count = usize::from(u16_at(slot, 10)).min(MAX_STREAMS);
    let entries = slot.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY);
    let table = entries
        .take(count)
        .map(|entry| {
            let stream = StreamId::new(entry.first().copied().unwrap_or_default());
            let progress = Progress {
                released: u64_at(entry, 4),
                evicted: u64_at(entry, 12),
            };
            (stream, progress)
        })
        .collect();
    Slot::Valid {
        generation: u64_at(slot, 16),
        table,
        written_bytes: u64_at(slot, WRITTEN_AT),
    }
}
