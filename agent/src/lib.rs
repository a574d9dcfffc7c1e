//! The agent's shell: link, journal, processes, package databases and the command line.

pub mod inventory;
pub mod package_manager;
pub mod patch;
