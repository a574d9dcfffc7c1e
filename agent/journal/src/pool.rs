//! Segment files as a supply: recycled before new ones are made, numbered, salted.
//! It never hands out a file that still holds a record somebody may need, and keeps one file back
//! from streams that can do without, so that a full device still takes results and cancels.

use std::io;

use crate::{Created, Storage, StorageError, StreamId, format::SegmentHeader, meter::Metered};

const PREFIX: &str = "segment-";
/// Spare files kept for reuse; what is freed beyond is given back to the device.
const SPARES_MAX: usize = 3;
/// Files are made in units of this.
const BLOCK: u32 = 4096;

/// A source of salts: must be random on a device, may be seeded in a test.
pub type SaltSource = Box<dyn FnMut() -> u64 + Send>;

/// A file nobody needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spare {
    pub(crate) slot: u32,
    pub(crate) bytes: u32,
    /// Every block of it was written, as far as this process knows.
    pub(crate) is_written: bool,
}

/// A file given to a stream.
pub(crate) struct Taken<F> {
    pub(crate) file: F,
    pub(crate) spare: Spare,
    pub(crate) header: SegmentHeader,
    /// The directory must be synced too.
    pub(crate) created: bool,
}

pub(crate) struct Pool {
    spares: Vec<Spare>,
    next_ordinal: u64,
    next_slot: u32,
    salts: SaltSource,
}

/// What a stream wants of a new segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) stream: StreamId,
    pub(crate) first_seq: u64,
    pub(crate) bytes: u32,
    /// May take the reserve.
    pub(crate) vital: bool,
}

impl Pool {
    pub(crate) fn new(
        spares: Vec<Spare>,
        next_ordinal: u64,
        next_slot: u32,
        salts: SaltSource,
    ) -> Self {
        Self {
            spares,
            next_ordinal,
            next_slot,
            salts,
        }
    }

    /// A file of at least `wish.bytes`: a recycled one of just that length beyond the reserve, else a
    /// new one, else, on a full device and for vital streams, the reserve.
    pub(crate) fn take<S: Storage>(
        &mut self,
        storage: &Metered<S>,
        wish: Wish,
    ) -> Result<Taken<S::File>, StorageError> {
        let bytes = wish.bytes.next_multiple_of(BLOCK);
        let spare = self.spare(false, |spare| spare.bytes == bytes);
        let (spare, file, created) = match spare {
            Some(spare) => self.reopen(storage, spare)?,
            None => match self.create(storage, bytes) {
                Err(error) if error.is_storage_full() => {
                    let spare = self.spare(wish.vital, |spare| spare.bytes >= bytes);
                    self.reopen(storage, spare.ok_or(error)?)?
                }
                created => created?,
            },
        };
        let header = SegmentHeader {
            stream: wish.stream.get(),
            bytes: spare.bytes,
            ordinal: self.next_ordinal,
            salt: (self.salts)(),
            first_seq: wish.first_seq,
            written_bytes: storage.total(),
        };
        self.next_ordinal += 1;
        Ok(Taken {
            file,
            spare,
            header,
            created,
        })
    }

    /// Takes back a file whose records nobody needs any more. The cursor that says so is durable.
    pub(crate) fn give_back<S: Storage>(
        &mut self,
        storage: &S,
        spare: Spare,
    ) -> Result<(), StorageError> {
        if self.spares.len() < SPARES_MAX {
            self.spares.push(spare);
            return Ok(());
        }
        let name = segment_name(spare.slot);
        storage
            .remove(&name)
            .map_err(StorageError::on("remove", &name))
    }

    /// Makes sure that one spare of `bytes` exists, as the reserve for a full device.
    pub(crate) fn stock<S: Storage>(
        &mut self,
        storage: &S,
        bytes: u32,
    ) -> Result<(), StorageError> {
        if self.spares.iter().any(|spare| spare.bytes >= bytes) {
            return Ok(());
        }
        let (spare, _, _) = self.create(storage, bytes)?;
        // Whoever takes a spare relies on its name.
        if let Err(error) = storage.sync_dir() {
            // Made again with the next try: none may be left behind each time.
            let _ = storage.remove(&segment_name(spare.slot));
            return Err(StorageError::on("sync", "")(error));
        }
        self.spares.push(spare);
        Ok(())
    }

    pub(crate) fn spare_bytes(&self) -> u64 {
        self.spares.iter().map(|spare| u64::from(spare.bytes)).sum()
    }

    pub(crate) fn spare_count(&self) -> usize {
        self.spares.len()
    }

    /// Takes a spare that fits; the last one, the reserve, only where asked for.
    fn spare(&mut self, reserve: bool, fits: impl Fn(&Spare) -> bool) -> Option<Spare> {
        if !reserve && self.spares.len() < 2 {
            return None;
        }
        let index = self.spares.iter().position(fits)?;
        Some(self.spares.swap_remove(index))
    }

    fn reopen<S: Storage>(
        &mut self,
        storage: &S,
        spare: Spare,
    ) -> Result<(Spare, S::File, bool), StorageError> {
        let name = segment_name(spare.slot);
        let file = storage.open(&name).map_err(StorageError::on("open", &name));
        if file.is_err() {
            self.spares.push(spare);
        }
        Ok((spare, file?, false))
    }

    fn create<S: Storage>(
        &mut self,
        storage: &S,
        bytes: u32,
    ) -> Result<(Spare, S::File, bool), StorageError> {
        let slot = self.next_slot;
        let name = segment_name(slot);
        let Created {
            file,
            written_bytes,
        } = match storage.create(&name, u64::from(bytes)) {
            // Numbers are given by this pool alone: what has the next one is the rest of a creation that
            // failed, and whose removal failed as well.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage
                .remove(&name)
                .and_then(|()| storage.create(&name, u64::from(bytes))),
            created => created,
        }
        .map_err(StorageError::on("create", &name))?;
        self.next_slot = slot.wrapping_add(1);
        let spare = Spare {
            slot,
            bytes,
            is_written: written_bytes >= u64::from(bytes),
        };
        Ok((spare, file, true))
    }
}

pub(crate) fn segment_name(slot: u32) -> String {
    format!("{PREFIX}{slot:08x}")
}

pub(crate) fn slot_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()
}
