//! The agent's shell: link, journal, processes, package databases and the command line.

pub mod package_manager;
