//! The key of the token chain that tells a node from its clone: 32 random bytes in `token.key`.
//! Never makes a second one: with another key every node would look like a clone.

use super::PkiError;
use super::root::keep_first;
use crate::files::{create_private, read_private};
use ring::rand::{SecureRandom, SystemRandom};
use std::path::Path;

/// Reads the key of a state directory, and makes it where there is none.
///
/// # Errors
/// [`PkiError`]; a file of another length is refused and left as it is.
pub fn token_key(state_dir: &Path) -> Result<[u8; 32], PkiError> {
    let path = state_dir.join("token.key");
    if read_private(&path)?.is_none() {
        let mut fresh = zeroize::Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(fresh.as_mut_slice())
            .map_err(|_| PkiError::Random)?;
        keep_first(create_private(&path, fresh.as_slice()))?;
    }
    let found = read_private(&path)?.unwrap_or_default();
    found
        .as_slice()
        .try_into()
        .map_err(|_| PkiError::TokenKey { path })
}
