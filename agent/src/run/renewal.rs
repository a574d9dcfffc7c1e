//! A fresh key and its certificate, on blocking threads.
//! Never gives up the old pair before the new one is durable as a whole.

use super::Event;
use crate::error::chain;
use crate::state::{Identity, Pending, StateDir, StateError, key_pair};
use holdfast_agent_core::{CertificateLife, Input};
use holdfast_protocol::Nonce;
use holdfast_protocol::enrol::Renewal;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use tokio::sync::mpsc;

#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the certificate is not for the fresh key")]
    Identity(#[from] crate::state::IdentityError),
    #[error("no fresh key waits for a certificate")]
    NoKey,
    #[error("a fresh key cannot be made")]
    Key,
    #[error("the renewal broke off")]
    Broken,
}

/// Life of a certificate, as the core counts it.
pub(super) fn life_of(identity: &Identity) -> CertificateLife {
    let facts = identity.life();
    CertificateLife {
        issued_unix_ms: facts.not_before_unix_s.saturating_mul(1000),
        expires_unix_ms: facts.not_after_unix_s.saturating_mul(1000),
    }
}

/// Makes a key durable, unless one waits already, and signs a renewal with both.
pub(super) fn make(state: StateDir, identity: Identity, nonce: Nonce, events: mpsc::Sender<Event>) {
    tokio::spawn(async move {
        let made = blocking(move || {
            let fresh = match state.pending_key(Pending::Renewal)? {
                Some(key) if key_pair(&key).is_ok() => key,
                Some(_) | None => {
                    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                        .map_err(|_| RenewalError::Key)?;
                    state.keep_pending_key(Pending::Renewal, key.as_ref())?;
                    key.as_ref().to_vec()
                }
            };
            Renewal::new(
                nonce,
                identity.node,
                &identity.key_pair()?,
                &key_pair(&fresh)?,
            )
            .ok_or(RenewalError::Key)
        });
        let input = match made.await {
            Ok(renewal) => Input::RenewalReady {
                renewal: Box::new(renewal),
            },
            Err(error) => failed(&error),
        };
        let _ = events.send(Event::Input(input)).await;
    });
}

/// Makes a certificate and its key the node's.
pub(super) fn install(
    state: StateDir,
    identity: Identity,
    certificate: Vec<u8>,
    events: mpsc::Sender<Event>,
) {
    tokio::spawn(async move {
        let installed = blocking(move || {
            let key = state
                .pending_key(Pending::Renewal)?
                .ok_or(RenewalError::NoKey)?;
            let renewed = identity.renewed(certificate, key)?;
            state.install(&renewed)?;
            Ok(renewed)
        });
        let event = match installed.await {
            Ok(identity) => Event::Renewed(Box::new(identity)),
            Err(error) => Event::Input(failed(&error)),
        };
        let _ = events.send(event).await;
    });
}

fn failed(error: &RenewalError) -> Input {
    Input::RenewalFailed { why: chain(error) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RenewalError> + Send + 'static,
) -> Result<T, RenewalError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(RenewalError::Broken))
}
