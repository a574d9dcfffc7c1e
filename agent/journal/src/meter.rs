//! Counts what is given to the device, at the one place that every write passes.
//! It never sees what the file system adds: journals, metadata, whole blocks for parts of them.

use std::{cell::Cell, io};

use crate::{Created, FileInfo, Storage};

/// A storage and its wear figures.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    storage: S,
    since_open: Cell<u64>,
    /// What earlier lives of this journal wrote, as far as it is known.
    before: Cell<u64>,
}

impl<S> Metered<S> {
    pub(crate) fn new(storage: S) -> Self {
        Self {
            storage,
            since_open: Cell::new(0),
            before: Cell::new(0),
        }
    }

    /// What the files tell of earlier lives.
    pub(crate) fn set_before(&self, bytes: u64) {
        self.before.set(bytes);
    }

    /// Bytes written since this value was made.
    pub(crate) fn since_open(&self) -> u64 {
        self.since_open.get()
    }

    /// Bytes written since the journal was first made.
    pub(crate) fn total(&self) -> u64 {
        self.before.get().saturating_add(self.since_open.get())
    }

    fn count(&self, bytes: u64) {
        self.since_open
            .set(self.since_open.get().saturating_add(bytes));
    }
}

impl<S: Storage> Storage for Metered<S> {
    type File = S::File;

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.storage.list()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Created<S::File>> {
        let created = self.storage.create(name, bytes)?;
        self.count(created.written_bytes);
        Ok(created)
    }

    fn open(&self, name: &str) -> io::Result<S::File> {
        self.storage.open(name)
    }

    fn read_at(&self, file: &S::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.storage.read_at(file, offset, buffer)
    }

    fn write_at(&self, file: &S::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // One that fails may have written a part: it counts as whole.
        self.count(bytes.len() as u64);
        self.storage.write_at(file, offset, bytes)
    }

    fn sync_data(&self, file: &S::File) -> io::Result<()> {
        self.storage.sync_data(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.storage.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.storage.free_bytes()
    }
}
