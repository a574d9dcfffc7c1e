//! The journal's directory for someone who only looks: beside its owner, and on a disk that fails.
//! It never takes the lock, and never opens a file in a way that could change it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{Created, FileInfo, Storage};

/// A directory that is read and never written: every change is answered as on a read-only disk.
///
/// Its owner may write meanwhile. What it writes just then can look like a torn record at the end of
/// a stream, and a file that it removes between a listing and a look is `NotFound`: look again.
#[derive(Debug)]
pub struct DirReader {
    path: PathBuf,
}

impl DirReader {
    /// Looks at a directory; one that is not there holds nothing.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Storage for DirReader {
    type File = File;

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        match crate::directory::list(&self.path) {
            // Of a node that has not run yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }

    fn create(&self, _name: &str, _bytes: u64) -> io::Result<Created<File>> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    fn read_at(&self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        crate::directory::read_at(file, offset, buffer)
    }

    fn write_at(&self, _file: &File, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self, _file: &File) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self) -> io::Result<()> {
        refused()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
