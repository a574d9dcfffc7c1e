//! The agent's shell: link, journal, processes, package databases and the command line.
//! Never decides what the core decides: it performs the core's effects and feeds back what came of them.

pub mod inventory;
pub mod package_manager;
pub mod patch;
pub mod error;
pub mod package_manager;
pub mod plugin;
pub mod tls;
