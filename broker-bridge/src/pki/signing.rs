//! The keys that seal frames: `signing-N.key`, the highest N in use, each certified by the root.
//! Never removes one: an older key's frames may still be on their way.
//!
//! A node refuses a serial below the newest that it accepted, and a backup does not know of the
//! keys made after it. So a serial is above every one known here *and* not below the seconds since
//! 1970: the key that `restore` makes is then newer than any that was made since the backup.

use super::PkiError;
use super::root::{Root, generate, open_key};
use crate::files::{FileError, create_private};
use holdfast_protocol::enrol::public_key;
use holdfast_protocol::seal::Sealer;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The clock leads no serial beyond this one (in 2106), however wrong it is: the serials above it
/// are left to rotations.
const CLOCK_SERIAL_MAX: u32 = u32::MAX - (1 << 20);

/// The serial after `known`. A clock that stands behind changes nothing, one that stands ahead
/// only leaves serials out. `None` when there is none left.
fn next_serial(known: u32, now_unix_ms: u64) -> Option<u32> {
    let clock = u32::try_from(now_unix_ms / 1000).unwrap_or(u32::MAX);
    Some(known.checked_add(1)?.max(clock.min(CLOCK_SERIAL_MAX)))
}

fn key_path(state_dir: &Path, serial: u32) -> PathBuf {
    state_dir.join(format!("signing-{serial}.key"))
}

/// Serial of the newest key file; `None` without one.
fn newest(state_dir: &Path) -> Result<Option<u32>, FileError> {
    let fault = |source| FileError {
        action: "list",
        path: state_dir.to_owned(),
        source,
    };
    let mut newest = None;
    for entry in std::fs::read_dir(state_dir).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        let serial = name
            .to_str()
            .and_then(|name| name.strip_prefix("signing-")?.strip_suffix(".key"))
            .and_then(|digits| digits.parse::<u32>().ok());
        newest = newest.max(serial);
    }
    Ok(newest)
}

fn load(root: &Root, state_dir: &Path, serial: u32) -> Result<Arc<Sealer>, PkiError> {
    let path = key_path(state_dir, serial);
    let pair = open_key(&path)?;
    let key = public_key(&pair).ok_or(PkiError::Key { path })?;
    let certificate = root.certify_signing_key(serial, key);
    Ok(Arc::new(Sealer::new(pair, certificate)))
}

/// Gives the sealer that is to be used now; follows a rotation by another process.
#[derive(Debug)]
pub struct Signing {
    state_dir: PathBuf,
    current: RwLock<(u32, Arc<Sealer>)>,
}

impl Signing {
    /// Loads the newest signing key, and makes the first where there is none.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn open_or_create(
        root: &Root,
        state_dir: &Path,
        now_unix_ms: u64,
    ) -> Result<Self, PkiError> {
        let serial = match newest(state_dir)? {
            Some(serial) => serial,
            None => rotate(state_dir, 0, now_unix_ms)?,
        };
        Ok(Self {
            state_dir: state_dir.to_owned(),
            current: RwLock::new((serial, load(root, state_dir, serial)?)),
        })
    }

    /// The sealer to use for the next frame.
    #[must_use]
    pub fn sealer(&self) -> Arc<Sealer> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.1)
    }

    /// Serial of [`Self::sealer`]; it grows with each rotation.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Takes up a newer key file. Returns its serial when there was one.
    ///
    /// # Errors
    /// [`PkiError`]; the key in use stays.
    pub fn reload(&self, root: &Root) -> Result<Option<u32>, PkiError> {
        let found = newest(&self.state_dir)?.filter(|serial| *serial > self.serial());
        let Some(serial) = found else {
            return Ok(None);
        };
        let sealer = load(root, &self.state_dir, serial)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (serial, sealer);
        Ok(Some(serial))
    }
}

/// The root's own sealer, for what only the root may say.
///
/// # Errors
/// [`PkiError`].
pub fn root_sealer(state_dir: &Path) -> Result<Sealer, PkiError> {
    Ok(Sealer::root(open_key(&state_dir.join("ca.key"))?))
}

/// Makes the next signing key, of a serial above `above` and above all that are there; a bridge
/// that runs takes it up with [`Signing::reload`].
///
/// # Errors
/// [`PkiError`].
pub fn rotate(state_dir: &Path, above: u32, now_unix_ms: u64) -> Result<u32, PkiError> {
    let known = newest(state_dir)?.unwrap_or(0).max(above);
    let serial = next_serial(known, now_unix_ms).ok_or(PkiError::Serials { known })?;
    let (pkcs8, _) = generate()?;
    create_private(&key_path(state_dir, serial), &pkcs8)?;
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_serial_never_goes_back_whatever_the_clock_says(
            known in 0..u32::MAX, now_unix_ms in any::<u64>(),
        ) {
            let next = next_serial(known, now_unix_ms).unwrap();
            prop_assert!(next > known);
            prop_assert!(u64::from(next) >= (now_unix_ms / 1000).min(u64::from(CLOCK_SERIAL_MAX)));
            prop_assert!(next == known + 1 || next <= CLOCK_SERIAL_MAX);
        }
    }

    #[test]
    fn the_last_serial_is_refused_a_successor() {
        assert_eq!(next_serial(u32::MAX, 0), None);
    }
}
