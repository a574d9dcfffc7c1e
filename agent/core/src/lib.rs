//! What the agent decides: a sans-io state machine from inputs to an ordered queue of effects.
//! Never touches a clock, a file, a socket or tokio, and grows no further than [`Limits`] allows.
//!
//! # For the shell
//! 1. Open the journal, then [`Core::restore`].
//! 2. Take effects with [`Core::poll_effect`] until there is none; begin each in that order.
//! 3. Wait for what they come to, or for [`Core::next_deadline`]; hand it to [`Core::step`]; go to 2.

//!
//! # A map
//! | module | decides |
//! |---|---|
//! | `core`, `receive` | which part an input concerns |
//! | `command` | admission, steps, results, recovery after a crash |
//! | `stream` | what goes up, in which order, and what may be forgotten |
//! | `session` | hello, token, the moment from which anything may be said |
//! | `link` | when to connect and where |
//! | `time` | what can be known of time |
//! | `report` | whole, delta or unchanged |
//! | `schedule` | when to gather |
//! | `enrol` | when to ask for a new certificate |

mod command;
mod config;
mod context;
mod core;
mod durable;
mod effect;
mod enrol;
mod error;
mod input;
mod link;
mod receive;
mod report;
mod schedule;
mod session;
mod status;
mod store;
mod stream;
mod time;

pub use config::{Config, IN_FLIGHT_MAX, Intervals, Limits};
pub use core::{Core, RestoreError, is_restored};
pub use effect::{
    Attempt, BULK_PREFIX, Delivery, Effect, Gathering, KillReason, Level, LinkIdentity, Qos, Run,
    StoreOp, Ticket, Write,
};
pub use error::chain;
pub use input::{
    CertificateLife, Entry, Input, LedgerDamage, LinkFault, Monotonic, PersistRefusal, Restored,
    StepEnd, StepExit, StreamFigures,
};
pub use status::{CommandStatus, LinkState, LinkStatus, QueueStatus, Status};
pub use store::{LedgerCommand, ledger_command};
