//! Files that only their owner may read: written whole or not at all, and durable.
//! Never overwrites one, never follows up a failure with a guess.

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// No key or certificate here is longer.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Links in a row that lead to one file, as many as the kernel follows.
const LINKS_MAX: usize = 40;

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

/// Makes a directory of mode 0700 that is not there yet, not as a link either.
///
/// # Errors
/// Of the file system; of kind `AlreadyExists` when something of that name is there.
pub(crate) fn new_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes a file of mode 0600 that is not there yet: from its first moment on what goes into it is
/// secret.
///
/// # Errors
/// Of the file system; of kind `AlreadyExists` when something of that name is there.
pub(crate) fn new_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Takes it for removed what was not there.
///
/// # Errors
/// Of the removal, but for kind `NotFound`.
pub(crate) fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Writes a new file of mode 0600, durable with its directory when this returns.
///
/// # Errors
/// [`FileError`]; of kind `AlreadyExists` when the file is there, which is then unchanged.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let directory = parent(path);
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

/// Opens a file of mode 0600 in a state directory for appending, and makes it first where it is not
/// there. Through a link only as the directory's owner, who may keep a large database elsewhere: anyone
/// else, such as root, could be led by it to any file of theirs.
///
/// # Errors
/// Of the file system; a link that is not followed is named as such.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    match new_private(path) {
        Ok(file) => {
            give_to_owner(&file, parent(path))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_there(path),
        Err(error) => Err(error),
    }
}

fn open_there(path: &Path) -> io::Result<File> {
    let stranger = stranger(path)?;
    let flags = match stranger {
        None => OFlags::empty(),
        Some(_) => OFlags::NOFOLLOW,
    };
    let opened = OpenOptions::new()
        .append(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    opened.map_err(|error| match stranger {
        Some(owner) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            not_followed(owner)
        }
        _ => error,
    })
}

/// The owner of the directory that a file is in, unless it is this user.
fn stranger(path: &Path) -> io::Result<Option<u32>> {
    let owner = std::fs::metadata(parent(path))?.uid();
    Ok((owner != geteuid().as_raw()).then_some(owner))
}

fn not_followed(owner: u32) -> io::Error {
    let why = format!(
        "it is a link, and only the directory's owner follows one there; run as user {owner}"
    );
    io::Error::other(why)
}

/// The file that a name in a state directory stands for, be it there or not: the one behind its links,
/// which are followed as [`open_private`] does. What replaces the file is made beside it, on its disk.
///
/// # Errors
/// Of the file system; a link that is not followed is named as such.
pub(crate) fn behind_links(path: &Path) -> io::Result<PathBuf> {
    use io::ErrorKind::{InvalidInput, NotFound};
    let mut file = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let to = match std::fs::read_link(&file) {
            Ok(to) => to,
            // Something else is there, or nothing.
            Err(error) if matches!(error.kind(), InvalidInput | NotFound) => return Ok(file),
            Err(error) => return Err(error),
        };
        if let Some(owner) = stranger(path)? {
            return Err(not_followed(owner));
        }
        file = parent(&file).join(to);
    }
    Err(Errno::LOOP.into())
}

/// Gives a file that was just made to the owner of the state directory that it is in, as SQLite does
/// with its own: what root writes with one of the verbs, the service of another user must read.
///
/// # Errors
/// When it belongs to another user, and this one may not give it away.
pub(crate) fn give_to_owner(new: &File, state_dir: &Path) -> io::Result<()> {
    let (own, owner) = (new.metadata()?, std::fs::metadata(state_dir)?);
    if own.uid() == owner.uid() {
        return Ok(());
    }
    fchown(new, Some(owner.uid()), Some(owner.gid()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    unless_missing(std::fs::remove_file(path))?;
    let mut file = new_private(path)?;
    give_to_owner(&file, parent(path))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Only root may make a directory another's; for everyone else owner and writer are one.
    #[test]
    fn what_is_written_in_a_state_directory_belongs_to_its_owner() {
        let state = tempfile::tempdir().unwrap();
        let _ = std::os::unix::fs::chown(state.path(), Some(65_534), Some(65_534));
        let owner = std::fs::metadata(state.path()).unwrap().uid();
        let key = state.path().join("signing-1.key");
        create_private(&key, b"key").unwrap();
        let metadata = std::fs::metadata(&key).unwrap();
        assert_eq!(metadata.uid(), owner);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let lock = state.path().join("serve.lock");
        for _ in 0..2 {
            assert_eq!(
                open_private(&lock).unwrap().metadata().unwrap().uid(),
                owner
            );
        }
    }

    #[test]
    fn a_link_in_a_state_directory_is_followed_for_its_owner_alone() {
        use std::os::unix::fs::{chown, symlink};
        let state = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        let link = state.path().join("holdfast.db");
        symlink(elsewhere.path(), &link).unwrap();
        let inode = |file: &File| file.metadata().unwrap().ino();
        let opened = open_private(&link).unwrap();
        assert_eq!(inode(&opened), inode(elsewhere.as_file()));
        assert!(create_private(&link, b"key").is_err());
        assert_eq!(elsewhere.as_file().metadata().unwrap().len(), 0);
        // Only root can stand before another's directory and be able to read it.
        if chown(state.path(), Some(65_534), Some(65_534)).is_ok() {
            let refused = open_private(&link).unwrap_err().to_string();
            assert!(
                refused.contains("link") && refused.contains("65534"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_name_stands_for_the_file_behind_its_links_be_it_there_or_not() {
        use std::os::unix::fs::symlink;
        let state = tempfile::tempdir().unwrap();
        let at = |name: &str| state.path().join(name);
        assert_eq!(behind_links(&at("new")).unwrap(), at("new"));
        create_private(&at("key"), b"key").unwrap();
        assert_eq!(behind_links(&at("key")).unwrap(), at("key"));
        symlink("second", at("first")).unwrap();
        symlink(at("far/away"), at("second")).unwrap();
        assert_eq!(behind_links(&at("first")).unwrap(), at("far/away"));
        symlink("round", at("round")).unwrap();
        let round = behind_links(&at("round")).unwrap_err();
        assert_eq!(round.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn what_is_to_be_new_is_no_link_that_is_there() {
        let state = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = state.path().join("restoring");
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        let kind = |made: io::Result<()>| made.map_err(|error| error.kind());
        assert_eq!(
            kind(new_private_dir(&link)),
            Err(io::ErrorKind::AlreadyExists)
        );
    }
}
