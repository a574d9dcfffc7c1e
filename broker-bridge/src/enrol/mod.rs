//! Enrolment: an activation's code, or a key that was certified before, becomes a certificate.
//! Never answers before the registration is committed, and never sees a code or a private key.
//!
//! [`Enroller`] judges requests; [`Desk`] stands behind the hub and hands them over.

mod desk;
mod enroller;
mod refusals;

#[cfg(test)]
mod tests;

pub use desk::Desk;
pub use enroller::{EnrolError, Enroller};
