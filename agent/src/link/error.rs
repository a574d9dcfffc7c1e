//! How a link fails, and what of that the core decides by.
//! Never hides what the other side or the system said.

use super::address::Address;
use crate::error::chain;
use crate::tls::{Distrust, distrust_of};
use holdfast_agent_core::LinkFault;
use rustls::AlertDescription;
use std::io;
use std::time::Duration;

/// A connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The name has no address, or the resolver does not answer.
    #[error("cannot resolve {}: check the name and this machine's DNS", address.host)]
    Resolve {
        /// The bridge.
        address: Address,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// TCP did not connect.
    #[error("cannot reach {address}: check address, port and firewall, and that the bridge runs")]
    Tcp {
        /// The bridge.
        address: Address,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server is not the bridge that this node trusts.
    #[error("{address} is not trusted")]
    Distrust {
        /// The bridge.
        address: Address,
        /// Why not.
        #[source]
        source: Distrust,
    },
    /// Whatever answers speaks something else.
    #[error(
        "{address} does not speak TLS: give the bridge's address for agents (`serve --mqtt`, by default port 8883), not that of its API"
    )]
    NotTls {
        /// What was taken for the bridge.
        address: Address,
    },
    /// TLS failed, at either side.
    #[error("TLS with {address} failed")]
    Tls {
        /// The bridge.
        address: Address,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// MQTT was refused or not understood.
    #[error("{address} does not accept the MQTT connection: {why}")]
    Mqtt {
        /// The bridge.
        address: Address,
        /// What it said.
        why: String,
    },
    /// The bridge refuses who this node is.
    #[error("{address} refuses this node's certificate: {why}")]
    Refused {
        /// The bridge.
        address: Address,
        /// Whether for its age.
        expired: bool,
        /// What it said.
        why: String,
    },
    /// Connected, and then silence.
    #[error("{address} did not finish {stage} within {} s", limit.as_secs())]
    Silent {
        /// The bridge.
        address: Address,
        /// What it was to finish.
        stage: &'static str,
        /// How long it had.
        limit: Duration,
    },
}

impl LinkError {
    /// The kind by which the core decides between probing and backing off.
    #[must_use]
    pub fn fault(&self) -> LinkFault {
        match self {
            Self::Resolve { .. } | Self::Tcp { .. } => LinkFault::Tcp,
            Self::Distrust { .. } | Self::NotTls { .. } | Self::Tls { .. } => LinkFault::Tls,
            Self::Refused { expired: true, .. } => LinkFault::CertificateExpired,
            Self::Refused { expired: false, .. } => LinkFault::CertificateRefused,
            Self::Mqtt { .. } | Self::Silent { .. } => LinkFault::Mqtt,
        }
    }

    /// Sorts what TLS reported: in TLS 1.3 a refused client certificate shows at the first read
    /// after the handshake, so this serves both.
    pub(super) fn of_tls(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        if let Some(distrust) = distrust_of(&source) {
            return Self::Distrust {
                address,
                source: distrust.clone(),
            };
        }
        let tls = source.get_ref().and_then(|why| why.downcast_ref());
        if let Some(rustls::Error::InvalidMessage(_)) = tls {
            return Self::NotTls { address };
        }
        match refusal(&source) {
            Some(expired) => Self::Refused {
                address,
                expired,
                why: chain(&source),
            },
            None => Self::Tls { address, source },
        }
    }
}

/// Whether an alert refuses this node's certificate: `Some(true)` for its age.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other alert concerns the handshake, not the certificate"
)]
fn refusal(error: &io::Error) -> Option<bool> {
    let rustls::Error::AlertReceived(alert) = error.get_ref()?.downcast_ref()? else {
        return None;
    };
    match alert {
        AlertDescription::CertificateExpired => Some(true),
        AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => Some(false),
        _ => None,
    }
}

/// How a connection that was made ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The caller closed it.
    #[error("closed: {0}")]
    Asked(String),
    /// The transport failed or the other side closed it.
    #[error("connection lost: {0}")]
    Lost(String),
    /// A ping was not answered in time.
    #[error("connection lost: a ping was not answered within {} s", .0.as_secs())]
    Silent(Duration),
    /// What came is not MQTT as it should be, or is over its bound.
    #[error("connection ended: {0}")]
    Mqtt(String),
    /// The bridge says that this node's certificate is not good, or no longer.
    #[error("the bridge refuses this node's certificate: {why}")]
    Refused {
        /// Whether for its age.
        expired: bool,
        /// What it said.
        why: String,
    },
}

impl End {
    /// The kind by which the core decides.
    #[must_use]
    pub fn fault(&self) -> LinkFault {
        match self {
            Self::Asked(_) => LinkFault::Asked,
            Self::Lost(_) | Self::Silent(_) => LinkFault::Lost,
            Self::Mqtt(_) => LinkFault::Mqtt,
            Self::Refused { expired: true, .. } => LinkFault::CertificateExpired,
            Self::Refused { expired: false, .. } => LinkFault::CertificateRefused,
        }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        match refusal(error) {
            Some(expired) => Self::Refused {
                expired,
                why: chain(error),
            },
            None => Self::Lost(chain(error)),
        }
    }
}
