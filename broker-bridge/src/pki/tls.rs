//! TLS of the endpoint: the root's chain, client certificates optional and under the same root.
//! Never keeps sessions or tickets: they would outlive a revocation and cost memory.

use super::PkiError;
use super::root::Root;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use std::sync::Arc;

/// Bytes of one TLS record that the endpoint writes: most frames fit, buffers stay small.
const FRAGMENT_BYTES: usize = 4 * 1024;

fn fault(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PkiError {
    PkiError::Tls {
        source: source.into(),
    }
}

/// Makes the endpoint's TLS configuration with a fresh key, good from now on.
///
/// A client certificate that is not under the root, not for clients, or expired ends the
/// handshake with the alert that says so; an agent with an expired one enrols again without it.
///
/// # Errors
/// [`PkiError`].
pub fn server_config(root: &Root, now_unix_ms: u64) -> Result<Arc<ServerConfig>, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate().clone()).map_err(fault)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(fault)?;
    let (leaf, key) = root.issue_server(now_unix_ms)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fault)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![leaf, root.certificate().clone()],
            PrivatePkcs8KeyDer::from(key.to_vec()).into(),
        )
        .map_err(fault)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_fragment_size = Some(FRAGMENT_BYTES);
    Ok(Arc::new(config))
}
