//! What the agent decides: a sans-io state machine from inputs to an ordered queue of effects.
//! Never touches a clock, a file, a socket or tokio, and grows no further than [`Limits`] allows.
//!
//! # For the shell
//! 1. Open the journal, then [`Core::restore`].
//! 2. Take effects with [`Core::poll_effect`] until there is none; begin each in that order.
//! 3. Wait for what they come to, or for [`Core::next_deadline`]; hand it to [`Core::step`]; go to 2.

mod command;
mod config;
mod core;
mod effect;
mod input;
mod status;

pub use config::{Config, Intervals, Limits};
pub use core::{Core, RestoreError};
pub use effect::{
    Attempt, BULK_PREFIX, Delivery, Effect, Gathering, KillReason, Level, LinkIdentity, Qos, Run,
    Ticket, Write,
};
pub use input::{
    CertificateLife, Entry, Input, LinkFault, Monotonic, PersistRefusal, Restored, StepEnd,
    StepExit, StreamFigures,
};
pub use status::{CommandStatus, LinkState, LinkStatus, QueueStatus, Status};
