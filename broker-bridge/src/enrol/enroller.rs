//! Judges requests to enrol and to renew, records what they change, and signs the answers.
//! Never tells an unknown activation from a wrong code, neither by its words nor by its work.

use super::refusals::Refusals;
use crate::pki::{PkiError, Root, Signing};
use crate::store::{
    Enrolled, NewNode, Node, NodeCertificate, RegisterRefusal, Store, StoreError, UnixMs,
};
use holdfast_protocol::bounded::{Bytes, Text, TooLong};
use holdfast_protocol::enrol::{
    Activate, ActivationKey, EnrolRefusal, Outcome, Renewal, Reply, Request,
};
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::{FrameError, NodeId, Nonce};
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests judged in one second; each costs signatures and a commit.
const REQUESTS_PER_SECOND: u32 = 100;

/// A request could not be judged; nothing was told, and the client asks again.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The database failed.
    #[error("the registration could not be stored")]
    Store(#[from] StoreError),
    /// A certificate could not be made.
    #[error("no certificate could be issued")]
    Pki(#[from] PkiError),
    /// The reply does not fit its frame.
    #[error("the reply could not be written")]
    Frame(#[from] FrameError),
    /// A certificate does not fit the reply.
    #[error("the certificate does not fit the reply")]
    Certificate(#[from] TooLong),
}

/// A refusal that is told to the node.
struct Refused(EnrolRefusal, String);

/// Either kind of failure while a request is judged.
enum Stop {
    Refused(Refused),
    Failed(EnrolError),
}

impl<E: Into<EnrolError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn refuse(reason: EnrolRefusal, detail: impl Into<String>) -> Stop {
    Stop::Refused(Refused(reason, detail.into()))
}

/// Requests of one kind within the current second.
#[derive(Debug, Default)]
struct Rate(Mutex<(u64, u32)>);

impl Rate {
    fn admit(&self, now_unix_ms: u64) -> Result<(), Stop> {
        let mut rate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_unix_ms / 1000;
        if rate.0 != second {
            *rate = (second, 0);
        }
        rate.1 = rate.1.saturating_add(1);
        if rate.1 > REQUESTS_PER_SECOND {
            let why = format!(
                "the bridge enrols up to {REQUESTS_PER_SECOND} nodes a second; try again later"
            );
            return Err(refuse(EnrolRefusal::Busy, why));
        }
        Ok(())
    }
}

/// Judges requests. One for the whole bridge.
#[derive(Debug)]
pub struct Enroller {
    store: Store,
    root: Arc<Root>,
    signing: Arc<Signing>,
    certificate_days: u32,
    /// Stands in for the key of an activation that does not exist.
    decoy: ActivationKey,
    /// Of clients without a certificate: anybody who can reach the endpoint.
    strangers: Rate,
    /// Of connected nodes, whom no flood of strangers may keep from their renewals.
    nodes: Rate,
    /// What the log is told of all that is refused.
    refusals: Refusals,
}

impl Enroller {
    /// An enroller that issues certificates for `certificate_days`, within `pki::NODE_DAYS`.
    ///
    /// # Errors
    /// [`PkiError::Random`].
    pub fn new(
        store: Store,
        root: Arc<Root>,
        signing: Arc<Signing>,
        certificate_days: u32,
    ) -> Result<Self, PkiError> {
        let mut decoy = ActivationKey::default();
        fill(&mut decoy)?;
        Ok(Self {
            store,
            root,
            signing,
            certificate_days,
            decoy,
            strangers: Rate::default(),
            nodes: Rate::default(),
            refusals: Refusals::default(),
        })
    }

    /// Answers a request of a client without a certificate. What it grants is committed.
    ///
    /// # Errors
    /// [`EnrolError`]; the client is not answered then.
    pub async fn answer(&self, request: &Request, now_unix_ms: u64) -> Result<Reply, EnrolError> {
        match request {
            Request::Activate(activate) => {
                let outcome = match self.strangers.admit(now_unix_ms) {
                    Ok(()) => self.activate(activate, now_unix_ms).await,
                    Err(busy) => Err(busy),
                };
                self.reply(activate.nonce, activate.key, outcome, now_unix_ms)
            }
            Request::Renew(renewal) => {
                self.renew_within(&self.strangers, renewal, now_unix_ms)
                    .await
            }
        }
    }

    /// Says in the log, at a bounded rate, that a request was none.
    pub(super) fn unreadable(&self, now_unix_ms: u64, error: &dyn std::error::Error) {
        if let Some(left_out) = self.refusals.tell(now_unix_ms) {
            let source = error.source().map(ToString::to_string);
            tracing::info!(%error, source, left_out, "a request to enrol is not answered");
        }
    }

    /// Answers a connected node's request for a fresh certificate. What it grants is committed.
    ///
    /// # Errors
    /// [`EnrolError`]; the node is not answered then.
    pub async fn renew(&self, renewal: &Renewal, now_unix_ms: u64) -> Result<Reply, EnrolError> {
        self.renew_within(&self.nodes, renewal, now_unix_ms).await
    }

    async fn renew_within(
        &self,
        rate: &Rate,
        renewal: &Renewal,
        now_unix_ms: u64,
    ) -> Result<Reply, EnrolError> {
        let outcome = match rate.admit(now_unix_ms) {
            Ok(()) => self.renewed(renewal, now_unix_ms).await,
            Err(busy) => Err(busy),
        };
        self.reply(renewal.nonce, renewal.key, outcome, now_unix_ms)
    }

    async fn activate(&self, request: &Activate, now: u64) -> Result<Issued, Stop> {
        let activation = self.store.activation(request.activation).await?;
        let key = activation
            .as_ref()
            .map_or(&self.decoy, |activation| &activation.code_key);
        // The decoy's key never verifies, yet takes as long as another.
        let proven = request.verify(key);
        if !proven || activation.is_none() {
            return Err(refuse(
                EnrolRefusal::Activation,
                "no activation has this id and code; check both, or create another with `holdfast-bridge activation create`",
            ));
        }
        let known = self.store.node_by_key(&request.key).await?;
        let node = match known {
            Some(known) => {
                refuse_quarantined(&known)?;
                known.id
            }
            None => fresh_node()?,
        };
        let (node, certificate) = self.register(request, node, now).await?;
        Ok(Issued { node, certificate })
    }

    /// Records the node with its certificate. Of two requests with one key at the same time the
    /// later finds the node of the earlier, and gets a certificate in that name.
    async fn register(
        &self,
        request: &Activate,
        node: NodeId,
        now: u64,
    ) -> Result<(NodeId, Vec<u8>), Stop> {
        let mut node = node;
        loop {
            let (der, certificate) = self.issue(&node, &request.key, now)?;
            let new = NewNode {
                node,
                activation: request.activation,
                key: request.key,
                platform: request.platform.clone(),
                agent_version: request.agent_version.as_str().to_owned(),
                certificate,
            };
            let enrolled = self.store.register_node(new, store_time(now)).await;
            match enrolled.map_err(register_stop)? {
                Enrolled::New(registered) | Enrolled::Known(registered) if registered == node => {
                    return Ok((node, der));
                }
                Enrolled::New(registered) | Enrolled::Known(registered) => node = registered,
            }
        }
    }

    async fn renewed(&self, renewal: &Renewal, now: u64) -> Result<Issued, Stop> {
        let unknown = || {
            let why = "no node of this id is registered with this key; register it again with an activation";
            refuse(EnrolRefusal::Node, why)
        };
        if !renewal.verify() {
            return Err(unknown());
        }
        let node = self.store.node(renewal.node).await?.ok_or_else(unknown)?;
        let holds = node.key == renewal.old_key || node.previous_key == Some(renewal.old_key);
        if !holds || node.deregistered.is_some() {
            return Err(unknown());
        }
        refuse_quarantined(&node)?;
        let (der, certificate) = self.issue(&node.id, &renewal.key, now)?;
        let recorded = self
            .store
            .renew_node(node.id, renewal.old_key, renewal.key, certificate)
            .await?;
        if !recorded {
            return Err(unknown());
        }
        Ok(Issued {
            node: node.id,
            certificate: der,
        })
    }

    fn issue(
        &self,
        node: &NodeId,
        key: &PublicKey,
        now: u64,
    ) -> Result<(Vec<u8>, NodeCertificate), PkiError> {
        let issued = self
            .root
            .issue_node(node, key, now, self.certificate_days)?;
        let record = NodeCertificate {
            serial: hex::encode(issued.serial),
            expires: store_time(issued.not_after_unix_ms),
        };
        Ok((issued.der, record))
    }

    fn reply(
        &self,
        nonce: Nonce,
        key: PublicKey,
        outcome: Result<Issued, Stop>,
        unix_ms: u64,
    ) -> Result<Reply, EnrolError> {
        let outcome = match outcome {
            Ok(issued) => {
                tracing::info!(node_id = %issued.node, "certificate issued");
                Outcome::Issued {
                    node: issued.node,
                    certificate: Bytes::new(issued.certificate)?,
                    unix_ms,
                }
            }
            Err(Stop::Refused(Refused(reason, detail))) => {
                if let Some(left_out) = self.refusals.tell(unix_ms) {
                    tracing::info!(?reason, detail, left_out, "enrolment refused");
                }
                Outcome::Refused {
                    reason,
                    detail: Text::cut(&detail),
                }
            }
            Err(Stop::Failed(error)) => return Err(error),
        };
        Ok(Reply::new(nonce, key, &outcome, &self.signing.sealer())?)
    }
}

/// What was granted.
struct Issued {
    node: NodeId,
    certificate: Vec<u8>,
}

fn refuse_quarantined(node: &Node) -> Result<(), Stop> {
    let Some(reason) = &node.quarantine else {
        return Ok(());
    };
    let why = format!(
        "{} is quarantined ({reason}); release it with `holdfast-bridge node release {}`",
        node.id, node.id
    );
    Err(refuse(EnrolRefusal::Quarantined, why))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the store's refusals may grow; an unknown one is told as what it says"
)]
fn register_stop(refusal: RegisterRefusal) -> Stop {
    let why = refusal.to_string();
    match refusal {
        RegisterRefusal::Store(StoreError::Busy { .. }) => refuse(EnrolRefusal::Busy, why),
        RegisterRefusal::Store(error) => Stop::Failed(error.into()),
        RegisterRefusal::Expired { .. } => refuse(EnrolRefusal::Expired, why),
        RegisterRefusal::Exhausted { .. } => refuse(EnrolRefusal::UsedUp, why),
        _ => refuse(EnrolRefusal::Activation, why),
    }
}

fn store_time(unix_ms: u64) -> UnixMs {
    UnixMs::try_from(unix_ms).unwrap_or(UnixMs::MAX)
}

fn fill(bytes: &mut [u8]) -> Result<(), PkiError> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| PkiError::Random)
}

fn fresh_node() -> Result<NodeId, PkiError> {
    let mut random = [0; 9];
    fill(&mut random)?;
    Ok(NodeId::from_random(random))
}
