//! The bridge's own MQTT 3.1.1 endpoint: TLS, certificate identity, topic rights, and PUBACK after
//! the store's commit. Never keeps a message: what must last is behind [`Sessions`].
//!
//! | module | holds |
//! |---|---|
//! | [`sessions`] | the seam: what the endpoint tells and asks of the hub |
//! | [`mailbox`] | the bounded queue towards one connection |
//! | `packet`, `encode` | MQTT 3.1.1 as bytes |

mod encode;
pub mod mailbox;
mod packet;
pub mod sessions;

pub use mailbox::{Mailbox, Outbound, SendError};
pub use packet::PacketError;
pub use sessions::{
    Arrival, CloseReason, ConnectRefusal, ConnectionId, DeliveryId, Departure, Identity, Sessions,
    Verdict,
};
