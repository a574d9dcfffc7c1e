//! The journal's storage on a real file system: one directory, held by an exclusive lock.
//! It never follows the journal's logic: it allocates, reads, writes and syncs what it is told to.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, FallocateFlags, FlockOperation};

use crate::{Created, FileInfo, OpenError, Storage, format::ZEROS};

/// A directory (0700) of files (0600) on a POSIX file system.
#[derive(Debug)]
pub struct DirStorage {
    path: PathBuf,
    /// Carries the lock as long as it is open, and takes the directory's own syncs.
    directory: File,
}

impl DirStorage {
    /// Opens, or makes, the directory and locks it until this value is dropped. Parents must exist.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while another process has it, [`OpenError::Directory`] otherwise.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory {
            path: path.to_owned(),
            source,
        };
        match make(path) {
            // Its name in the parent has to survive a power cut too.
            Ok(()) => sync_parent(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let directory = File::open(path).map_err(failed)?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                directory,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked {
                path: path.to_owned(),
            }),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Allocates `bytes`; returns how many zeros that took. Where blocks stay unwritten, the journal
    /// writes zeros ahead of its records itself: a file that is never filled then costs nothing.
    fn allocate(file: &File, bytes: u64) -> io::Result<u64> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(0),
            // This file system cannot allocate ahead: writing does it.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut offset = 0;
        while offset < bytes {
            let len =
                usize::try_from(bytes - offset).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            file.write_all_at(ZEROS.get(..len).unwrap_or_default(), offset)?;
            offset += len as u64;
        }
        Ok(bytes)
    }
}

/// One that is there is not made again: a disk that takes no writes may not even say that it is there.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    DirBuilder::new().mode(0o700).create(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

pub(crate) fn list(path: &Path) -> io::Result<Vec<FileInfo>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            let bytes = metadata.len();
            files.push(FileInfo { name, bytes });
        }
    }
    Ok(files)
}

pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl Storage for DirStorage {
    type File = File;

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        list(&self.path)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Created<File>> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        match Self::allocate(&file, bytes) {
            Ok(written_bytes) => Ok(Created {
                file,
                written_bytes,
            }),
            Err(error) => {
                std::fs::remove_file(&path)?;
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            // What is there can be read all the same.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                let file = File::open(&path)?;
                // After a sync that failed, pages count as clean that never reached the device:
                // without them the device's own content is read. An advice, so best effort.
                let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
                Ok(file)
            }
            opened => opened,
        }
    }

    fn read_at(&self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_at(file, offset, buffer)
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset).map_err(|error| {
            // A file that could be opened for reading alone.
            match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::BADF) => rustix::io::Errno::ROFS.into(),
                _ => error,
            }
        })
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_holder_of_the_directory_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("journal");
        let first = DirStorage::open(&path).unwrap();
        let refused = DirStorage::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::Locked { path: held } if held == path));
        drop(first);
        DirStorage::open(&path).unwrap();
    }

    #[test]
    fn files_are_private_and_fully_allocated() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("journal");
        let storage = DirStorage::open(&path).unwrap();
        storage.create("segment", 100_000).unwrap();
        let metadata = std::fs::metadata(path.join("segment")).unwrap();
        assert_eq!(metadata.len(), 100_000);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let directory = std::fs::metadata(&path).unwrap();
        assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_missing_parent_is_named() {
        let refused = DirStorage::open(Path::new("/nonexistent/journal")).unwrap_err();
        assert!(refused.to_string().contains("/nonexistent/journal"));
    }
}
