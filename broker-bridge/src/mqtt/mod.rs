//! The bridge's own MQTT 3.1.1 endpoint: TLS, certificate identity, topic rights, and PUBACK after
//! the store's commit. Never keeps a message: what must last is behind [`Sessions`].
//!
//! | module | holds |
//! |---|---|
//! | [`sessions`] | the seam: what the endpoint tells and asks of the hub |
//! | [`mailbox`] | the bounded queue towards one connection |
//! | [`limits`] | every bound of the endpoint |
//! | `listener`, `registry` | accepting, who is connected, take-over |
//! | `connection`, `buffers` | one connection's task and its two buffers |
//! | `arrival`, `link` | one client's CONNECT, then its rights, subscriptions and flights |
//! | `packet`, `encode` | MQTT 3.1.1 as bytes |

mod arrival;
mod buffers;
mod connection;
mod encode;
pub mod limits;
mod link;
mod listener;
pub mod mailbox;
mod packet;
mod registry;
pub mod sessions;

pub use limits::Limits;
pub use listener::Endpoint;
pub use mailbox::{Mailbox, Outbound, SendError};
pub use packet::PacketError;
pub use sessions::{
    Arrival, CloseReason, ConnectRefusal, ConnectionId, DeliveryId, Departure, Identity, Sessions,
    Verdict,
};

#[cfg(test)]
mod tests;
