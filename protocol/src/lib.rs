//! What agent and bridge say to each other: ids, topics, frames, limits and signatures.
//! Never performs I/O, never reads a clock, never panics on bytes from outside.
//!
//! # A map
//! | module | holds |
//! |---|---|
//! | [`id`] | node, command, activation and outbox ids |
//! | [`topic`] | MQTT topics, the bucket of a node, and who may use which |
//! | [`limits`] | every bound of the wire, in one place |
//! | [`bounded`] | text, bytes and lists that refuse to grow past a bound while they are decoded |
//! | [`frame`] | the envelope: version, flags, kind, revision, sequence, body |
//! | [`up`] | what a node says: hello, records of the four streams, answers |
//! | [`down`] | what the bridge says: hello's reply, commands, acknowledgements, time |
//! | [`report`] | tables of inventory and patch state, their canonical hash, and deltas |
//! | [`seal`] | signing and verifying downward frames; the signing key under the pinned root |
//! | [`enrol`] | activation, renewal, and the signed reply |

pub mod bounded;
pub mod down;
pub mod enrol;
pub mod frame;
pub mod id;
pub mod limits;
pub mod report;
pub mod seal;
pub mod topic;
pub mod up;

pub use frame::{FrameError, Kind};
pub use id::{ActivationId, CommandId, NodeId, Nonce, OutboxId};
pub use up::Class;
