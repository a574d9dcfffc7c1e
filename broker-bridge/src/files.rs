//! Files that only their owner may read: written whole or not at all, and durable.
//! Never overwrites one, never follows up a failure with a guess.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// No key or certificate here is longer.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A private file or directory could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`{}", path.display(), next_step(source))]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// What to do about the usual failures of a state directory.
fn next_step(error: &io::Error) -> &'static str {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let kind = error.kind();
    if matches!(kind, PermissionDenied | ReadOnlyFilesystem) {
        "; run as the user that owns the state directory, or choose one with --state-dir"
    } else if matches!(kind, StorageFull | QuotaExceeded) {
        "; free some space and start again, nothing was lost"
    } else {
        ""
    }
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError {
        action,
        path,
        source,
    }
}

/// Makes a directory of mode 0700, with its parents, unless it is there.
///
/// # Errors
/// [`FileError`].
pub fn make_private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(fault("create", path))
}

/// Writes a new file of mode 0600, durable with its directory when this returns.
///
/// # Errors
/// [`FileError`]; of kind `AlreadyExists` when the file is there, which is then unchanged.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // A crash half way leaves a stray of another name, never a file that is cut short.
    let mut stray = path.as_os_str().to_owned();
    stray.push(format!(".{}.new", std::process::id()));
    let stray = PathBuf::from(stray);
    let written = write_new(&stray, bytes)
        .and_then(|()| {
            Ok(renameat_with(
                CWD,
                &stray,
                CWD,
                path,
                RenameFlags::NOREPLACE,
            )?)
        })
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        // It may not exist; what matters is the error that follows.
        let _ = std::fs::remove_file(&stray);
    }
    written.map_err(fault("create", path))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a private file; `None` when there is none.
///
/// # Errors
/// [`FileError`], also when others than the owner may read it or it is implausibly long.
pub fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault("open", path)(error)),
    };
    read_checked(&file).map(Some).map_err(fault("read", path))
}

fn read_checked(file: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let why = format!("its mode is {mode:o}, others may use it; set it to 600");
        return Err(io::Error::other(why));
    }
    if metadata.len() > FILE_BYTES_MAX {
        let why = format!(
            "it has {} bytes, at most {FILE_BYTES_MAX} make sense",
            metadata.len()
        );
        return Err(io::Error::other(why));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
