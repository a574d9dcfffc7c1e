//! Replaces a file as a whole: temporary file, sync, rename, sync of the directory.
//! Never touches the old file before the new one is durable.

use rustix::fs::{Mode, OFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `name` in `directory`, readable by its owner alone.
///
/// # Errors
/// The system's; the old file is then untouched.
pub(super) fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    let written = replace(directory, name, &temporary, bytes);
    if written.is_err() {
        // A full device gets back what the attempt took.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn replace(directory: &Path, name: &str, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, directory.join(name))?;
    let directory = rustix::fs::open(
        directory,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    File::from(directory).sync_all()
}
