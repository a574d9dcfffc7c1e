//! Where the hub's randomness comes from, handed in like its clock.
//! Never a key: those are made where they are kept.

use ring::rand::{SecureRandom as _, SystemRandom};
use std::fmt;
use std::sync::Arc;

/// Fills bytes; `false` when it could not.
type Fill = dyn Fn(&mut [u8]) -> bool + Send + Sync;

/// Fills bytes with fresh randomness; cheap to clone.
#[derive(Clone)]
pub struct Randomness(Arc<Fill>);

impl Randomness {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        let system = SystemRandom::new();
        Self::new(move |bytes| system.fill(bytes).is_ok())
    }

    /// Randomness that somebody else makes; `fill` says whether it could.
    #[must_use]
    pub fn new(fill: impl Fn(&mut [u8]) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    pub(super) fn fill(&self, bytes: &mut [u8]) -> bool {
        (self.0)(bytes)
    }
}

impl fmt::Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Randomness")
    }
}
