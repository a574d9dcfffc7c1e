//! Reads who a client is from the certificate that TLS verified.
//! Never verifies a chain: that is done when this is called.

use crate::mqtt::Identity;
use holdfast_protocol::NodeId;
use x509_parser::extensions::GeneralName;

/// A verified certificate is not one that this bridge issues to nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not X.509.
    #[error("the client's certificate cannot be read")]
    Unreadable,
    /// Its common name is not a node's.
    #[error("the client's certificate names no node")]
    Name,
    /// Its URI is missing or another node's.
    #[error("the client's certificate of {node} does not carry `urn:holdfast:node:{node}`")]
    Uri {
        /// Node in the common name.
        node: NodeId,
    },
    /// Its key is not Ed25519.
    #[error("the client's certificate of {node} has no Ed25519 key")]
    Key {
        /// Node in the common name.
        node: NodeId,
    },
}

/// The node that a verified client certificate names.
///
/// # Errors
/// [`IdentityError`].
pub fn identity(der: &[u8]) -> Result<Identity, IdentityError> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| IdentityError::Unreadable)?;
    let node: NodeId = certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok()?.parse().ok())
        .ok_or(IdentityError::Name)?;
    let expected = format!("urn:holdfast:node:{node}");
    let named = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .is_some_and(|names| {
            let is_node =
                |name: &GeneralName<'_>| matches!(name, GeneralName::URI(uri) if *uri == expected);
            names.value.general_names.iter().any(is_node)
        });
    if !named {
        return Err(IdentityError::Uri { node });
    }
    let spki = certificate.public_key();
    let is_ed25519 = spki.algorithm.algorithm == x509_parser::oid_registry::OID_SIG_ED25519;
    let key = (*spki.subject_public_key.data)
        .try_into()
        .ok()
        .filter(|_| is_ed25519)
        .ok_or(IdentityError::Key { node })?;
    let not_after = certificate.validity().not_after.timestamp();
    Ok(Identity {
        node,
        key,
        serial: certificate.raw_serial().into(),
        not_after_unix_ms: u64::try_from(not_after).unwrap_or(0).saturating_mul(1000),
    })
}
