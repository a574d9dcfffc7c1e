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

/// Makes a key durable, unless one waits already, and signs a renewal with both. One that is in use
/// does not wait: the process before this one ended after it was installed.
pub(super) fn make(state: StateDir, identity: Identity, nonce: Nonce, events: mpsc::Sender<Event>) {
    tokio::spawn(async move {
        let made = blocking(move || {
            let fresh = match state.pending_key(Pending::Renewal)? {
                Some(key) if key_pair(&key).is_ok() && !identity.has_key(&key) => key,
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

#[cfg(test)]
mod tests {
    #![expect(
        clippy::wildcard_enum_match_arm,
        reason = "a test names the one event that it expects"
    )]

    use super::*;
    use crate::state::tests::{A, certificate_for, identity, state};
    use holdfast_protocol::enrol::public_key;

    async fn made(state: &StateDir, identity: &Identity) -> Box<Renewal> {
        let (events, mut inbox) = mpsc::channel(1);
        make(state.clone(), identity.clone(), [7; 16], events);
        match inbox.recv().await {
            Some(Event::Input(Input::RenewalReady { renewal })) => renewal,
            other => panic!("{other:?}"),
        }
    }

    async fn installed(state: &StateDir, identity: &Identity, certificate: Vec<u8>) -> Event {
        let (events, mut inbox) = mpsc::channel(1);
        install(state.clone(), identity.clone(), certificate, events);
        inbox.recv().await.unwrap()
    }

    fn waiting(state: &StateDir) -> Option<Vec<u8>> {
        state.pending_key(Pending::Renewal).unwrap()
    }

    #[tokio::test]
    async fn a_key_waits_until_its_certificate_is_installed() {
        let (_home, state) = state();
        let old = identity(A);
        state.install(&old).unwrap();
        let first = made(&state, &old).await;
        let again = made(&state, &old).await;
        assert_eq!(first.key, again.key, "a lost reply is asked for again");
        let key = waiting(&state).unwrap();
        let event = installed(&state, &old, certificate_for(&key)).await;
        let Event::Renewed(renewed) = event else {
            panic!("{event:?}");
        };
        assert_eq!(state.identity().unwrap(), *renewed);
        assert!(renewed.has_key(&key) && waiting(&state).is_none());
    }

    #[tokio::test]
    async fn a_crash_after_the_installation_leaves_a_key_that_is_not_asked_for_again() {
        let (_home, state) = state();
        let old = identity(A);
        made(&state, &old).await;
        let key = waiting(&state).unwrap();
        let event = installed(&state, &old, certificate_for(&key)).await;
        assert!(matches!(event, Event::Renewed(_)));
        // As if the process had ended before it removed the key.
        state.keep_pending_key(Pending::Renewal, &key).unwrap();
        let identity = state.identity().unwrap();
        let next = made(&state, &identity).await;
        let in_use = public_key(&identity.key_pair().unwrap()).unwrap();
        assert_ne!(next.key, in_use);
        assert_ne!(waiting(&state).unwrap(), key);
    }

    #[tokio::test]
    async fn what_is_not_for_the_waiting_key_changes_nothing() {
        let (_home, state) = state();
        let old = identity(A);
        state.install(&old).unwrap();
        let event = installed(&state, &old, Vec::new()).await;
        assert!(matches!(event, Event::Input(Input::RenewalFailed { .. })));
        made(&state, &old).await;
        let other = identity(A).client().certificate.to_vec();
        match installed(&state, &old, other).await {
            Event::Input(Input::RenewalFailed { why }) => {
                assert!(why.contains("not for the fresh key"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(state.identity().unwrap(), old);
        assert!(waiting(&state).is_some());
    }

    #[tokio::test]
    async fn a_directory_that_takes_no_key_is_named() {
        let (home, state) = state();
        let old = identity(A);
        drop(home);
        let (events, mut inbox) = mpsc::channel(1);
        make(state, old, [7; 16], events);
        match inbox.recv().await {
            Some(Event::Input(Input::RenewalFailed { why })) => {
                assert!(why.contains("renewal.pk8"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}
