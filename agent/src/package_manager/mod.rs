//! Reads what package managers recorded on disk: what is installed, and what they would offer next.
//! Never takes a lock, writes, or goes to the network; only [`rpm`] starts a process.

pub mod apt;
pub mod deb822;
pub mod debian_version;
pub mod dpkg;
pub mod file;
pub mod rpm;
