//! The link to the bridge: names, TCP, TLS, MQTT, and one connection's life.
//! Never decides when to connect or what to send, and never keeps anything past a connection.

pub mod address;
mod connect;
mod error;
mod session;
#[cfg(test)]
mod tests;

pub use connect::{Dialer, Hail};
pub use error::{End, LinkError};
pub use session::{Incoming, Outgoing, Session};
