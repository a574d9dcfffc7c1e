//! What the bridge decides: targets, rate control, invocation states, ingest, identity, inventory and compliance.
//! Never performs I/O, never reads a clock, never makes randomness: those come in as values.
//!
//! | module | decides |
//! |---|---|
//! | [`target`] | which nodes a command is for |
//! | [`rate`] | how many invocations may be out at once, and when errors stop the rest |
//! | [`invocation`] | the states of an invocation, and a command's status over all of them |
//! | [`places`] | which commands are on the wire to a node at once, and what a free place is for |
//! | [`gate`] | how fast a fleet that comes back together is let in |
//! | [`turns`] | whose records are applied next |
//! | [`stream`] | whether a record is new, repeated, or comes too early |
//! | [`output`] | what of a step's output is kept |
//! | [`token`] | whether a hello continues the node's chain or comes from a clone |
//! | [`report`] | what a report makes of the bases at hand |
//! | [`inventory`], [`patch`], [`compliance`] | what reports say, in the API's terms |
//! | [`retention`] | what is old enough to go |

pub mod compliance;
pub mod gate;
pub mod inventory;
pub mod invocation;
pub mod output;
pub mod patch;
pub mod places;
pub mod rate;
pub mod report;
pub mod retention;
pub mod stream;
pub mod target;
pub mod token;
pub mod turns;
