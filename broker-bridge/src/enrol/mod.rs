//! Enrolment: an activation's code, or a key that was certified before, becomes a certificate.
//! Never answers before the registration is committed, and never sees a code or a private key.
//!
//! [`Enroller`] judges requests; [`Door`] stands before the hub and keeps clients without a
//! certificate away from it. A connected node's renewal comes to the hub, which asks
//! [`Enroller::renew`] and seals the reply.

mod door;
mod enroller;

#[cfg(test)]
mod tests;

pub use door::Door;
pub use enroller::{EnrolError, Enroller};
