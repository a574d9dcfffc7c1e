//! The bridge's certificates and keys: the root, the endpoint's certificate, the nodes'
//! certificates and the keys that seal frames. Never lets key material into a log or an error.
//!
//! | file, in the state directory | holds |
//! |---|---|
//! | `ca.key` | the root's Ed25519 key, PKCS#8 DER, 0600 |
//! | `ca.der` | the root's self-signed certificate; its SHA-256 is what an agent pins |
//! | `token.key` | the key of the token chain that tells a node from its clone, 32 bytes, 0600 |
//! | `signing-N.key` | frame-signing key of serial N, PKCS#8 DER, 0600; the highest N seals |
//!
//! The endpoint's own key lives in memory only: each start makes a new one and certifies it, so
//! that there is no file to steal and nothing to renew. Agents pin the root, not the endpoint.

mod client;
mod root;
mod signing;
mod tls;
mod token;

#[cfg(test)]
mod tests;

pub use client::{IdentityError, identity};
pub use root::{NodeCertificate, Root};
pub use signing::{Signing, root_sealer, rotate};
pub use tls::server_config;
pub use token::token_key;

use crate::files::FileError;
use std::path::PathBuf;

/// Name in the endpoint's certificate, the same at every bridge: agents check it, and a node's
/// certificate can never carry it.
pub const SERVER_NAME: &str = "holdfast-bridge";

/// Days that a node's certificate may be good for.
pub const NODE_DAYS: std::ops::RangeInclusive<u32> = 30..=90;
/// Days that it is good for unless configured.
pub const NODE_DAYS_DEFAULT: u32 = 60;

/// A key or certificate cannot be read, made or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file does not hold an Ed25519 key.
    #[error(
        "`{}` does not hold an Ed25519 key in PKCS#8; restore it from a backup, it cannot be made again",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// `token.key` is not 32 bytes.
    #[error("`{}` is damaged: it must be 32 bytes; restore it from a backup, it cannot be made again", path.display())]
    TokenKey {
        /// The file.
        path: PathBuf,
    },
    /// `ca.der` and `ca.key` do not belong together.
    #[error("`{}` certifies another key than `ca.key`; restore both from one backup", path.display())]
    RootMismatch {
        /// The certificate's file.
        path: PathBuf,
    },
    /// There is no key to seal frames with.
    #[error("`{}` holds no `signing-N.key`; restore it from a backup, or run `holdfast-bridge signing-key rotate`", path.display())]
    NoSigningKey {
        /// The state directory.
        path: PathBuf,
    },
    /// No serial is left above the newest.
    #[error("no serial is left above signing key {known}; name a lower one with --above")]
    Serials {
        /// The newest serial, or the one that was to be exceeded.
        known: u32,
    },
    /// The system's source of randomness failed.
    #[error("the system gives no randomness")]
    Random,
    /// A certificate could not be made.
    #[error("a certificate for {subject} cannot be made")]
    Issue {
        /// Whom it was for.
        subject: String,
        /// What the encoder found.
        #[source]
        source: rcgen::Error,
    },
    /// A node's certificate would be longer than agents accept.
    #[error("the certificate of {subject} has {bytes} bytes: at most {max} are allowed")]
    TooLong {
        /// Whom it was for.
        subject: String,
        /// Its length.
        bytes: usize,
        /// The length allowed.
        max: usize,
    },
    /// rustls refused keys or certificates.
    #[error("TLS cannot be set up with the root's certificate")]
    Tls {
        /// What rustls found.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
