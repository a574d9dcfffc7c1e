//! What the journal asks of a disk: preallocated files, positioned reads and writes, explicit syncs.
//! It never promises that a write survives a power cut before its sync has returned `Ok`.

use std::io;

/// A file as the storage lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Name inside the storage, without a directory.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A file just made.
#[derive(Debug)]
pub struct Created<F> {
    /// Open for reading and writing.
    pub file: F,
    /// Zeros that had to be written for it; 0 where the space is allocated without writing.
    pub written_bytes: u64,
}

/// One flat directory of files on a device, held exclusively by one journal.
///
/// Every call is synchronous. After a failed [`Storage::sync_data`] the journal drops the handle and
/// never syncs it again: the kernel may have marked the lost pages clean, so a second call could lie.
pub trait Storage {
    /// An open file.
    type File;

    /// Every file of the directory, in any order.
    ///
    /// # Errors
    /// The device's own.
    fn list(&self) -> io::Result<Vec<FileInfo>>;

    /// Creates a file that reads as `bytes` zeros and whose space is allocated; its name is durable
    /// after [`Storage::sync_dir`]. Leaves no file behind when it fails.
    ///
    /// # Errors
    /// `StorageFull` when the space is not there, `AlreadyExists`, or the device's own.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Created<Self::File>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or the device's own.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Fills `buffer` from `offset`; returns how much was there, less than asked only at the end.
    ///
    /// # Errors
    /// The device's own.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`; durable after [`Storage::sync_data`].
    ///
    /// # Errors
    /// The device's own.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written through this handle durable.
    ///
    /// # Errors
    /// The device's own; what was written since the last `Ok` is then lost or not, unknowably.
    fn sync_data(&self, file: &Self::File) -> io::Result<()>;

    /// Removes a file; it may come back after a power cut.
    ///
    /// # Errors
    /// `NotFound`, or the device's own.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations and removals durable.
    ///
    /// # Errors
    /// The device's own.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes the device has left for this journal.
    ///
    /// # Errors
    /// The device's own.
    fn free_bytes(&self) -> io::Result<u64>;
}
