//! The bridge's shell: MQTT endpoint, HTTP, database, certificates and the command line.
//! Never decides what the core decides: it stores, sends, and feeds back what came of it.

pub mod api;
pub mod enrol;
pub mod hub;
pub mod mqtt;
pub mod pki;
pub mod store;
