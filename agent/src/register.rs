//! Registration: a durable key, a proof of the activation's code, a reply under the root asked for.
//! Never sends the code, and never asks for anything before the key is durable.

use crate::clock::{self, BUILT_UNIX_MS, NoRandomness};
use crate::link::address::Address;
use crate::link::{Dialer, End, Hail, Incoming, LinkError, Outgoing, Session};
use crate::platform;
use crate::state::{Identity, IdentityError, Pending, StateDir, StateError};
use crate::tls::certificate::{self, Malformed};
use crate::tls::{ConfigError, Connector, Fingerprint, Floor, Root};
use holdfast_agent_core::Qos;
use holdfast_protocol::enrol::{
    Activate, EnrolRefusal, Outcome, Reply, ReplyError, Request, public_key,
};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Up;
use holdfast_protocol::{ActivationId, FrameError, NodeId, Nonce};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// How long a reply may take.
const REPLY_LIMIT: Duration = Duration::from_secs(15);
/// Rounds over all bridges while each failure may pass by itself.
const ROUNDS: u32 = 3;

/// What a person gave to `register`.
pub struct Registration {
    /// Bridges, tried in turn; at least one.
    pub bridges: Vec<Address>,
    /// The activation.
    pub activation: ActivationId,
    /// Its code. Shown nowhere.
    pub code: String,
    /// SHA-256 of the root that the bridge must be under.
    pub root: Fingerprint,
    /// Whether to replace an identity.
    pub force: bool,
}

/// A node was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It is registered already.
    #[error(
        "this state directory is node {node} already: go on with `holdfast-agent run`, choose another --state-dir, or give --force to become a new node and drop what still waits to be sent for {node}"
    )]
    Registered {
        /// The node.
        node: NodeId,
    },
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// No bridge was reached or trusted.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The connection ended before the reply.
    #[error("{address} ended the connection before it replied")]
    Ended {
        /// The bridge.
        address: Address,
        /// How.
        #[source]
        source: End,
    },
    /// No reply came.
    #[error("{address} did not reply within {} s: try again, the key is kept", limit.as_secs())]
    Silent {
        /// The bridge.
        address: Address,
        /// How long it had.
        limit: Duration,
    },
    /// The bridge refuses.
    #[error("the bridge refuses: {detail}")]
    Refused {
        /// Why, for a program.
        reason: EnrolRefusal,
        /// Why, for a person.
        detail: String,
    },
    /// The reply proves nothing.
    #[error("the bridge's reply is not accepted")]
    Reply(#[from] ReplyError),
    /// The reply's frame.
    #[error("the bridge's reply is not accepted")]
    Frame(#[from] FrameError),
    /// The root has no key that can sign for a node.
    #[error("the root's certificate has no Ed25519 key")]
    RootKey,
    /// The root cannot be read.
    #[error("the root's certificate cannot be read")]
    Root(#[from] Malformed),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] ConfigError),
    /// What was issued does not fit together.
    #[error("what the bridge issued cannot be used")]
    Identity(#[from] IdentityError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The key cannot be made or the request not be built.
    #[error("a key for this node cannot be made")]
    Key,
}

impl RegisterError {
    /// Whether the same request may succeed in a moment, or at another address.
    fn may_pass(&self) -> bool {
        match self {
            Self::Link(error) => !matches!(error, LinkError::Distrust { .. }),
            Self::Ended { .. } | Self::Silent { .. } => true,
            Self::Refused { reason, .. } => *reason == EnrolRefusal::Busy,
            Self::Registered { .. }
            | Self::State(_)
            | Self::Reply(_)
            | Self::Frame(_)
            | Self::RootKey
            | Self::Root(_)
            | Self::Tls(_)
            | Self::Identity(_)
            | Self::Random(_)
            | Self::Key => false,
        }
    }
}

/// Registers this machine; the state directory holds its identity afterwards.
///
/// Repeated after a lost reply it asks again for the same key, and is given the same node.
///
/// # Errors
/// [`RegisterError`]; a key that a request may have been sent for is kept for the next try.
pub async fn register(
    state: &StateDir,
    registration: &Registration,
) -> Result<Identity, RegisterError> {
    state.create()?;
    let _held = state.hold()?;
    check_unregistered(state, registration.force)?;
    let key = durable_key(state)?;
    let pair = crate::state::key_pair(&key)?;
    let dialer = Dialer::default();
    let mut last = RegisterError::Key;
    for round in 0..ROUNDS {
        sleep(Duration::from_secs(u64::from(round))).await;
        for address in &registration.bridges {
            match ask(&dialer, address, registration, &pair).await {
                Ok(issued) => {
                    let identity = issued.into_identity(&registration.bridges, key)?;
                    state.install(&identity)?;
                    return Ok(identity);
                }
                Err(error) if error.may_pass() => {
                    tracing::debug!(%address, error = crate::error::chain(&error), "no reply");
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Err(last)
}

fn check_unregistered(state: &StateDir, force: bool) -> Result<(), RegisterError> {
    match state.identity() {
        Err(StateError::NotRegistered { .. }) => Ok(()),
        Ok(_) if force => Ok(()),
        Ok(identity) => Err(RegisterError::Registered {
            node: identity.node,
        }),
        // A damaged identity can be replaced; one of a newer agent is left for that.
        Err(StateError::Identity { source, .. })
            if force && !matches!(source, IdentityError::Newer { .. }) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn durable_key(state: &StateDir) -> Result<Vec<u8>, RegisterError> {
    // Left behind by a crash after the installation, it is the old node's.
    let in_use = |key: &[u8]| state.identity().is_ok_and(|identity| identity.has_key(key));
    if let Some(key) = state.pending_key(Pending::Registration)?
        && crate::state::key_pair(&key).is_ok()
        && !in_use(&key)
    {
        return Ok(key);
    }
    let key =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| RegisterError::Key)?;
    state.keep_pending_key(Pending::Registration, key.as_ref())?;
    Ok(key.as_ref().to_vec())
}

struct Issued {
    node: NodeId,
    certificate: Vec<u8>,
    root: Vec<u8>,
    unix_ms: u64,
}

impl Issued {
    fn into_identity(self, bridges: &[Address], key: Vec<u8>) -> Result<Identity, IdentityError> {
        Identity::new(
            self.node,
            bridges.to_vec(),
            self.unix_ms,
            self.root,
            self.certificate,
            key,
        )
    }
}

/// Asks one bridge.
async fn ask(
    dialer: &Dialer,
    address: &Address,
    registration: &Registration,
    pair: &Ed25519KeyPair,
) -> Result<Issued, RegisterError> {
    let nonce: Nonce = clock::random()?;
    let tls = Connector::new(
        Root::Hash(registration.root),
        None,
        Floor::new(BUILT_UNIX_MS),
    )?;
    let hail = Hail {
        client_id: format!("enrol-{}", hex::encode(nonce)),
        will: None,
        topics: vec![Topic::EnrolReply(nonce).to_string()],
    };
    let session = dialer.connect(address, &tls, hail).await?;
    let bridge_expires_unix_ms = session.bridge_expires_unix_ms();
    let activate = Activate::new(
        nonce,
        registration.activation,
        &registration.code,
        pair,
        platform::detect(session.local()),
        env!("CARGO_PKG_VERSION"),
    )
    .ok_or(RegisterError::Key)?;
    let request = Up::Enrol(Box::new(Request::Activate(activate))).encode()?;
    let frame = exchange(address, session, nonce, request).await?;
    let root = tls.root().ok_or(RegisterError::RootKey)?;
    let root_key = certificate::read(&root)?
        .ed25519_key
        .ok_or(RegisterError::RootKey)?;
    let key = public_key(pair).ok_or(RegisterError::Key)?;
    match Reply::from_frame(&frame)?.open(&nonce, &key, &root_key)? {
        Outcome::Issued {
            node,
            certificate,
            unix_ms,
        } => Ok(Issued {
            node,
            certificate: certificate.to_vec(),
            root: root.to_vec(),
            unix_ms: first_floor(unix_ms, bridge_expires_unix_ms),
        }),
        Outcome::Refused { reason, detail } => Err(RegisterError::Refused {
            reason,
            detail: detail.as_str().to_owned(),
        }),
    }
}

/// The time that the bridge told, or 0 where its own certificate contradicts it: as a floor it would
/// end the trust in every connection. The node then begins at the date of the agent's build.
fn first_floor(unix_ms: u64, bridge_expires_unix_ms: u64) -> u64 {
    if unix_ms <= bridge_expires_unix_ms {
        return unix_ms;
    }
    tracing::warn!(
        unix_ms,
        bridge_expires_unix_ms,
        "the bridge's time is after the end of its own certificate: it is not taken over; check its clock"
    );
    0
}

/// Publishes the request and waits for the frame that answers it.
async fn exchange(
    address: &Address,
    session: Session,
    nonce: Nonce,
    request: Vec<u8>,
) -> Result<Vec<u8>, RegisterError> {
    let (outgoing, mut wanted) = mpsc::channel(4);
    let (arrived, mut incoming) = mpsc::channel(4);
    let serving = session.serve(&mut wanted, arrived);
    tokio::pin!(serving);
    // Room for it was made above.
    let _ = outgoing.try_send(Outgoing::Publish {
        topic: Topic::EnrolRequest(nonce).to_string(),
        frame: request,
        qos: Qos::AtLeastOnce,
    });
    let reply = Topic::EnrolReply(nonce).to_string();
    let answered = async {
        loop {
            tokio::select! {
                end = &mut serving => return Err(RegisterError::Ended {
                    address: address.clone(),
                    source: end,
                }),
                arrived = incoming.recv() => match arrived {
                    Some(Incoming::Publish { topic, frame, packet }) if topic == reply => {
                        return Ok((packet, frame));
                    }
                    // The transport's acknowledgement, or a topic nobody asked for.
                    Some(_) | None => {}
                },
            }
        }
    };
    let (packet, frame) =
        timeout(REPLY_LIMIT, answered)
            .await
            .map_err(|_| RegisterError::Silent {
                address: address.clone(),
                limit: REPLY_LIMIT,
            })??;
    let _ = outgoing.try_send(Outgoing::Ack(packet));
    let _ = outgoing.try_send(Outgoing::Close("enrolled".into()));
    serving.await;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{A, identity, state};

    fn is_registered(error: &RegisterError) -> bool {
        matches!(error, RegisterError::Registered { node } if node.as_str() == A)
    }

    #[test]
    fn a_node_is_not_replaced_unless_forced_and_a_newer_agents_never() {
        let (_home, state) = state();
        check_unregistered(&state, false).unwrap();
        state.install(&identity(A)).unwrap();
        let refused = check_unregistered(&state, false).unwrap_err();
        assert!(is_registered(&refused) && refused.to_string().contains("--force"));
        check_unregistered(&state, true).unwrap();
        let path = state.path().join("identity.json");
        std::fs::write(&path, "damaged").unwrap();
        assert!(check_unregistered(&state, false).is_err());
        check_unregistered(&state, true).unwrap();
        std::fs::write(&path, r#"{"version": 99}"#).unwrap();
        let refused = check_unregistered(&state, true).unwrap_err();
        assert!(crate::error::chain(&refused).contains("newer agent"));
    }

    #[test]
    fn a_key_that_a_request_may_have_been_sent_for_is_asked_for_again() {
        let (_home, state) = state();
        let key = durable_key(&state).unwrap();
        assert_eq!(durable_key(&state).unwrap(), key);
        // One that cannot be read is no key.
        state
            .keep_pending_key(Pending::Registration, b"damaged")
            .unwrap();
        let other = durable_key(&state).unwrap();
        assert_ne!(other, key);
        assert_eq!(
            state.pending_key(Pending::Registration).unwrap(),
            Some(other)
        );
    }

    #[test]
    fn a_crash_after_the_installation_leaves_no_key_for_another_node() {
        let (_home, state) = state();
        let key = durable_key(&state).unwrap();
        let old = identity(A);
        let certificate = crate::state::tests::certificate_for(&key);
        let installed = old.renewed(certificate, key.clone()).unwrap();
        state.install(&installed).unwrap();
        state.keep_pending_key(Pending::Registration, &key).unwrap();
        assert_ne!(durable_key(&state).unwrap(), key);
    }

    #[test]
    fn a_time_beyond_the_bridges_certificate_is_no_first_floor() {
        let until = holdfast_protocol::limits::CERTIFICATES_END_UNIX_MS;
        assert_eq!(first_floor(until, until), until);
        assert_eq!(first_floor(until + 1, until), 0);
        assert_eq!(first_floor(u64::MAX, until), 0);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = |reason| RegisterError::Refused {
            reason,
            detail: String::new(),
        };
        assert!(refused(EnrolRefusal::Busy).may_pass());
        assert!(!refused(EnrolRefusal::Expired).may_pass());
        let address: Address = "mqtts://bridge.example:8883".parse().unwrap();
        let silent = RegisterError::Silent {
            address,
            limit: REPLY_LIMIT,
        };
        assert!(silent.may_pass());
        assert!(!RegisterError::RootKey.may_pass());
    }
}
