//! The agent's shell: link, journal, processes, package databases and the command line.
//! Never decides what the core decides: it performs the core's effects and feeds back what came of them.

pub mod cli;
pub mod clock;
pub mod error;
pub mod inventory;
pub mod link;
pub mod package_manager;
pub mod patch;
pub mod platform;
pub mod plugin;
pub mod register;
pub mod run;
pub mod state;
pub mod tls;
