//! The bridge's shell: MQTT endpoint, HTTP, database, certificates and the command line.
//! Never decides what the core decides: it stores, sends, and feeds back what came of it.

pub mod api;
pub mod cli;
pub mod enrol;
pub mod files;
pub mod http;
pub mod hub;
mod impatient;
pub mod mqtt;
pub mod pki;
pub mod serve;
pub mod store;
