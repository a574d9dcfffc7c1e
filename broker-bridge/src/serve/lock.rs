//! One bridge a state directory: a lock that ends with the process, however it ends.
//! Never waits for the other one.

use crate::files::{FileError, make_private_dir, open_private};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Whether a state directory is an agent's: it is registered, or was about to be.
pub(crate) fn is_an_agents(state_dir: &Path) -> bool {
    let signs = ["identity.json", "registration.pk8"];
    signs.iter().any(|name| state_dir.join(name).exists())
}

/// The state directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another bridge has it.
    #[error("a bridge runs on `{}` already; stop it, or choose another --state-dir", path.display())]
    Taken {
        /// The state directory.
        path: PathBuf,
    },
    /// An agent's.
    #[error("`{}` is an agent's state directory; give the bridge its own --state-dir", path.display())]
    Agent {
        /// The state directory.
        path: PathBuf,
    },
    /// The directory cannot be made.
    #[error(transparent)]
    Directory(#[from] FileError),
    /// The lock's file cannot be used.
    #[error("cannot lock `{}`; choose a --state-dir on a disk of this machine that you may write to", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Held while a bridge runs.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(state_dir: &Path) -> Result<Self, LockError> {
        if is_an_agents(state_dir) {
            return Err(LockError::Agent {
                path: state_dir.to_owned(),
            });
        }
        make_private_dir(state_dir)?;
        let path = state_dir.join("serve.lock");
        let fault = |source| LockError::File {
            path: path.clone(),
            source,
        };
        let file = open_private(&path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken {
                path: state_dir.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(fault(source)),
        }
    }
}
