//! The state directory: made 0700, held by one process at a time, and what lies in it.
//! Never leaves a file half written: what is not durable under its name is not there.

mod atomic;
mod identity;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use identity::key_pair;
pub use identity::{FORMAT_VERSION, Identity, IdentityError};

use holdfast_protocol::NodeId;
use rustix::fs::FlockOperation;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the agent keeps its state unless told otherwise.
pub const DEFAULT_PATH: &str = "/var/lib/holdfast";

/// What lies in the state directory of a bridge.
const BRIDGE_DATABASE: &str = "holdfast.db";

/// Files named that do not belong beside the journal; more are left alone without a word.
const STRAYS_MAX: usize = 16;

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It could not be made, opened, written or locked.
    #[error("cannot {action} {}: the state directory must be writable by this user and have room; see --state-dir", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Others could change it.
    #[error("the state directory {} {why}", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and the next step.
        why: String,
    },
    /// The bridge's.
    #[error(
        "{} is a bridge's state directory: give this agent its own --state-dir", path.display()
    )]
    Bridge {
        /// The directory.
        path: PathBuf,
    },
    /// Another agent has it.
    #[error(
        "another agent uses the state directory {}: stop it, or give this one its own --state-dir", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// No identity in it.
    #[error(
        "{} holds no identity: register this node first, with the line that `holdfast-bridge activation create` prints", path.display()
    )]
    NotRegistered {
        /// The directory.
        path: PathBuf,
    },
    /// The identity in it cannot be read.
    #[error("the identity in {} cannot be used", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IdentityError,
    },
}

impl StateError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// A state directory, not necessarily made or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

/// Where a node's journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPlace {
    /// Its directory.
    pub path: PathBuf,
    /// What lies beside it and is none of ours, at most 16; left alone.
    pub strays: Vec<PathBuf>,
}

/// Holds the state directory until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Held {
    _lock: File,
}

impl StateDir {
    /// The directory at this path; made absolute, because scripts run elsewhere.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory where it is not, for its owner alone. One that is there is left as it is.
    ///
    /// # Errors
    /// [`StateError::Unsafe`] when others could change what is in it, else [`StateError::Io`].
    pub fn create(&self) -> Result<(), StateError> {
        if self.check()? {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(StateError::io("make the state directory", &self.0))
    }

    /// Whether it is there; refuses one that is not this user's alone to change: whoever can put a
    /// file there decides what this machine runs.
    fn check(&self) -> Result<bool, StateError> {
        let found = match fs::metadata(&self.0) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StateError::io("use the state directory", &self.0)(error)),
        };
        let (path, shown) = (self.0.clone(), self.0.display());
        let user = rustix::process::geteuid().as_raw();
        if !found.is_dir() {
            let error = io::ErrorKind::NotADirectory.into();
            return Err(StateError::io("use the state directory", &self.0)(error));
        }
        if found.uid() != user {
            let owner = found.uid();
            let why = format!(
                "belongs to user {owner}, and this is user {user}: run as its owner, choose another --state-dir, or `chown -R {user} {shown}`"
            );
            return Err(StateError::Unsafe { path, why });
        }
        if found.mode() & 0o022 != 0 {
            let mode = found.mode() & 0o7777;
            let why = format!(
                "has mode {mode:04o}, so others can write in it: choose one of its own as --state-dir, or `chmod go-w {shown}`"
            );
            return Err(StateError::Unsafe { path, why });
        }
        if path.join(BRIDGE_DATABASE).exists() {
            return Err(StateError::Bridge { path });
        }
        Ok(true)
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// [`StateError::NotRegistered`] when there is none, [`StateError::InUse`] while another has it,
    /// [`StateError::Unsafe`] when others could change it, else [`StateError::Io`].
    pub fn hold(&self) -> Result<Held, StateError> {
        if !self.check()? {
            return Err(StateError::NotRegistered {
                path: self.0.clone(),
            });
        }
        let path = self.0.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let lock = match lock {
            // One that is there can be locked all the same.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                File::open(&path).map_err(|_| error)
            }
            lock => lock,
        };
        let lock = lock.map_err(StateError::io("open", &path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Held { _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse {
                path: self.0.clone(),
            }),
            Err(errno) => Err(StateError::io("lock", &path)(errno.into())),
        }
    }

    /// As [`Self::hold`], again and again while another has it and `again` says so: a verb that only
    /// looks has it for moments, and must not keep the agent from starting.
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub fn hold_after(&self, mut again: impl FnMut() -> bool) -> Result<Held, StateError> {
        loop {
            match self.hold() {
                Err(StateError::InUse { .. }) if again() => {}
                held => return held,
            }
        }
    }

    /// The identity.
    ///
    /// # Errors
    /// [`StateError::NotRegistered`] when there is none.
    pub fn identity(&self) -> Result<Identity, StateError> {
        let path = self.0.join("identity.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::NotRegistered {
                    path: self.0.clone(),
                });
            }
            Err(error) => return Err(StateError::io("read", &path)(error)),
        };
        Identity::from_json(&bytes).map_err(|source| StateError::Identity { path, source })
    }

    /// Makes an identity the node's: key and certificate change together or not at all.
    ///
    /// # Errors
    /// [`StateError::Io`]; the old identity then stays.
    pub fn install(&self, identity: &Identity) -> Result<(), StateError> {
        atomic::write(&self.0, "identity.json", &identity.to_json())
            .map_err(StateError::io("write", &self.0.join("identity.json")))?;
        self.forget_pending_keys()
    }

    /// The key that waits for its certificate, if one does: a request may have been sent for it.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn pending_key(&self, pending: Pending) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.0.join(pending.file());
        match fs::read(&path) {
            Ok(key) => Ok(Some(key)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::io("read", &path)(error)),
        }
    }

    /// Makes a key durable before anything is asked for it. PKCS#8.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn keep_pending_key(&self, pending: Pending, pkcs8: &[u8]) -> Result<(), StateError> {
        atomic::write(&self.0, pending.file(), pkcs8)
            .map_err(StateError::io("write", &self.0.join(pending.file())))
    }

    fn forget_pending_keys(&self) -> Result<(), StateError> {
        for pending in [Pending::Registration, Pending::Renewal] {
            let path = self.0.join(pending.file());
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateError::io("remove", &path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The journal of one node. A forced registration begins another, so that what waits for the
    /// old node is never sent in the new one's name; other nodes' journals are removed.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn journal_of(&self, identity: &Identity) -> Result<JournalPlace, StateError> {
        let parent = self.0.join("journal");
        let mut place = JournalPlace {
            path: parent.join(identity.node.as_str()),
            strays: Vec::new(),
        };
        // A disk that takes no writes may not even say that it is there.
        if !parent.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&parent)
                .map_err(StateError::io("make", &parent))?;
        }
        let entries = fs::read_dir(&parent).map_err(StateError::io("read", &parent))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let node = name.to_str().and_then(|name| name.parse::<NodeId>().ok());
            match node {
                Some(node) if node == identity.node => {}
                Some(_) if path.is_dir() => match fs::remove_dir_all(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                    Err(error) => return Err(StateError::io("remove", &path)(error)),
                },
                Some(_) | None if place.strays.len() < STRAYS_MAX => place.strays.push(path),
                Some(_) | None => {}
            }
        }
        Ok(place)
    }

    /// Where scripts run; each step has a directory in it.
    #[must_use]
    pub fn scripts(&self) -> PathBuf {
        self.0.join("run")
    }

    /// The socket that answers `status` while the agent runs.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

/// What a key without a certificate waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// To become a node.
    Registration,
    /// To replace the node's key.
    Renewal,
}

impl Pending {
    fn file(self) -> &'static str {
        match self {
            Self::Registration => "registration.pk8",
            Self::Renewal => "renewal.pk8",
        }
    }
}
