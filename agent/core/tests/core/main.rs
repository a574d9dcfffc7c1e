//! The agent's core through its public surface, by subject; one program, so that it is built once.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test looks at the one variant that it expects"
)]

mod admission;
mod certificate;
mod command;
mod damage;
mod disk;
mod floor;
mod harness;
mod link;
mod orders;
mod reboot;
mod reports;
mod streams;
