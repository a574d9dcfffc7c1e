//! The core itself: hands each input to the part that it concerns.

use crate::config::Config;
use crate::effect::Effect;
use crate::input::{Input, Monotonic, Restored};
use std::collections::VecDeque;

/// The state directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A ledger entry of a layout that this build does not read.
    #[error(
        "ledger entry `{key}` has layout {found}: this build reads {newest}; start a newer agent on this state directory"
    )]
    Layout {
        /// The key.
        key: String,
        /// Layout found.
        found: u8,
        /// Newest layout read.
        newest: u8,
    },
    /// A ledger entry that cannot be read.
    #[error(
        "ledger entry `{key}` cannot be read; move the state directory away and register again"
    )]
    Malformed {
        /// The key.
        key: String,
        /// What the decoder found.
        #[source]
        source: postcard::Error,
    },
}

/// The agent's decisions.
#[derive(Debug)]
pub struct Core {
    config: Config,
    effects: VecDeque<Effect>,
}

impl Core {
    /// Begins where the last process ended.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing was changed.
    pub fn restore(config: Config, restored: Restored) -> Result<Self, RestoreError> {
        let _ = restored;
        Ok(Self {
            config,
            effects: VecDeque::new(),
        })
    }

    /// Advances by one input; what must follow waits in [`Self::poll_effect`].
    pub fn step(&mut self, now: Monotonic, input: Input) {
        let _ = (now, input, &self.config);
    }

    /// The next effect to begin.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        None
    }
}
