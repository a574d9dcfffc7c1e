//! Enrolment: a node proves that it knows an activation's code without sending it, and the bridge
//! answers under the pinned root. Never makes a key or a certificate.
//!
//! The bridge keeps [`derive_key`]'s result, not the code. The request's MAC and the new key's own
//! signature cover the same transcript, so neither can be moved to another request.

use crate::bounded::{Bytes, Text};
use crate::frame::{self, FrameError, Kind, Raw};
use crate::id::{ActivationId, NodeId, Nonce};
use crate::limits::{CERTIFICATE_BYTES_MAX, EVENT_BYTES_MAX};
use crate::seal::{self, KeyCertificate, PublicKey, Sealer, length_prefixed};
use crate::up::Platform;
use ring::hmac;
use ring::signature::Ed25519KeyPair;
use serde::{Deserialize, Serialize};

const CODE_DOMAIN: &[u8] = b"holdfast activation v1";
const REQUEST_DOMAIN: &[u8] = b"holdfast enrolment v1";
const RENEWAL_DOMAIN: &[u8] = b"holdfast renewal v1";
const REPLY_DOMAIN: &[u8] = b"holdfast enrolment reply v1";

/// What the bridge keeps of an activation's code.
pub type ActivationKey = [u8; 32];
/// Ed25519 signature as it travels here.
pub type Proof = Bytes<64>;

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, key),
        &length_prefixed(parts),
    );
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    bytes
}

/// Derives what is kept of an activation's code: HMAC-SHA-256 keyed by the code. The code has at
/// least 128 random bits, so that guessing needs no slowing down.
#[must_use]
pub fn derive_key(activation: &ActivationId, code: &str) -> ActivationKey {
    mac(code.as_bytes(), &[CODE_DOMAIN, activation.as_bytes()])
}

/// A node asks for its identity, on `enroll/<nonce>/request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// With an activation, for the first time or again after a lost reply.
    Activate(Activate),
    /// With a key whose certificate has expired, for a fresh one.
    Renew(Renewal),
}

/// First enrolment. Idempotent by `key`: a repeat is answered with the same node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activate {
    /// Nonce of the topic.
    pub nonce: Nonce,
    /// The activation.
    pub activation: ActivationId,
    /// The node's new public key, durable on the node before this is sent.
    pub key: PublicKey,
    /// What the node is.
    pub platform: Platform,
    /// Version of the agent.
    pub agent_version: heapless::String<32>,
    mac: [u8; 32],
    proof: Proof,
}

impl Activate {
    /// Makes the request. `code` leaves this function only as a MAC.
    #[must_use]
    pub fn new(
        nonce: Nonce,
        activation: ActivationId,
        code: &str,
        pair: &Ed25519KeyPair,
        platform: Platform,
        agent_version: &str,
    ) -> Option<Self> {
        let agent_version = heapless::String::try_from(agent_version).ok()?;
        let mut request = Self {
            nonce,
            activation,
            key: public_key(pair)?,
            platform,
            agent_version,
            mac: [0; 32],
            proof: Proof::default(),
        };
        let transcript = request.transcript();
        request.mac = mac(&derive_key(&activation, code), &[&transcript]);
        request.proof = Proof::new(seal::sign(pair, &transcript)).ok()?;
        Some(request)
    }

    fn transcript(&self) -> Vec<u8> {
        length_prefixed(&[
            REQUEST_DOMAIN,
            &self.nonce,
            self.activation.as_bytes(),
            &self.key,
            self.agent_version.as_bytes(),
            self.platform.name.as_bytes(),
            self.platform.version.as_bytes(),
            self.platform.computer_name.as_bytes(),
            self.platform.ip_address.as_bytes(),
            self.platform.architecture.as_bytes(),
        ])
    }

    /// Whether the sender knows the activation's code and holds the new key.
    #[must_use]
    pub fn verify(&self, kept: &ActivationKey) -> bool {
        let transcript = self.transcript();
        let key = hmac::Key::new(hmac::HMAC_SHA256, kept);
        hmac::verify(&key, &length_prefixed(&[&transcript]), &self.mac).is_ok()
            && seal::verifies(&self.key, &transcript, &self.proof)
    }
}

/// A fresh key for a known node: on the node's own topic while its certificate is good, on
/// `enroll/…` once it has expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Of the topic, or fresh.
    pub nonce: Nonce,
    /// The node.
    pub node: NodeId,
    /// The key that is certified now, expired or not.
    pub old_key: PublicKey,
    /// The fresh key, durable on the node before this is sent.
    pub key: PublicKey,
    old_proof: Proof,
    proof: Proof,
}

impl Renewal {
    /// Makes the request, signed by both keys.
    #[must_use]
    pub fn new(
        nonce: Nonce,
        node: NodeId,
        old: &Ed25519KeyPair,
        fresh: &Ed25519KeyPair,
    ) -> Option<Self> {
        let (old_key, key) = (public_key(old)?, public_key(fresh)?);
        let mut renewal = Self {
            nonce,
            node,
            old_key,
            key,
            old_proof: Proof::default(),
            proof: Proof::default(),
        };
        let transcript = renewal.transcript();
        renewal.old_proof = Proof::new(seal::sign(old, &transcript)).ok()?;
        renewal.proof = Proof::new(seal::sign(fresh, &transcript)).ok()?;
        Some(renewal)
    }

    fn transcript(&self) -> Vec<u8> {
        length_prefixed(&[
            RENEWAL_DOMAIN,
            &self.nonce,
            self.node.as_str().as_bytes(),
            &self.old_key,
            &self.key,
        ])
    }

    /// Whether the sender holds both keys. That `old_key` is the node's is the bridge's to know.
    #[must_use]
    pub fn verify(&self) -> bool {
        let transcript = self.transcript();
        seal::verifies(&self.old_key, &transcript, &self.old_proof)
            && seal::verifies(&self.key, &transcript, &self.proof)
    }
}

/// The public half of a key pair.
#[must_use]
pub fn public_key(pair: &Ed25519KeyPair) -> Option<PublicKey> {
    use ring::signature::KeyPair;
    pair.public_key().as_ref().try_into().ok()
}

/// What the bridge decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Enrolled, or enrolled before with the same key.
    Issued {
        /// The node.
        node: NodeId,
        /// Its certificate, DER.
        certificate: Bytes<CERTIFICATE_BYTES_MAX>,
        /// The bridge's clock, milliseconds since 1970: the node's first floor of time.
        unix_ms: u64,
    },
    /// Not enrolled.
    Refused {
        /// Why, for a program.
        reason: EnrolRefusal,
        /// Why and what to do, for a person.
        detail: Text<EVENT_BYTES_MAX>,
    },
}

/// Why an enrolment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EnrolRefusal {
    /// No such activation, or the code is wrong: the two are not told apart.
    Activation,
    /// The activation has expired.
    Expired,
    /// The activation's limit is used up.
    UsedUp,
    /// The node is unknown, revoked, or was certified for another key.
    Node,
    /// Quarantined: see the bridge's `node list`.
    Quarantined,
    /// Too many requests at once; try again later.
    Busy,
}

/// The bridge's answer, signed under the pinned root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's nonce.
    pub nonce: Nonce,
    /// The key that was asked for.
    pub key: PublicKey,
    body: Bytes<{ CERTIFICATE_BYTES_MAX + EVENT_BYTES_MAX }>,
    certificate: Bytes<100>,
    proof: Proof,
}

/// A reply was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It answers another request.
    #[error("the reply answers another request")]
    Mismatch,
    /// It is not signed under the pinned root.
    #[error("the reply is not signed under the pinned root")]
    Signature,
    /// Its body cannot be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Reply {
    fn transcript(nonce: &Nonce, key: &PublicKey, body: &[u8]) -> Vec<u8> {
        length_prefixed(&[REPLY_DOMAIN, nonce, key, body])
    }

    /// Signs an outcome. `sealer` must be a certified signing key.
    ///
    /// # Errors
    /// [`FrameError::Encode`] when the outcome breaks a bound or the sealer has no certificate.
    pub fn new(
        nonce: Nonce,
        key: PublicKey,
        outcome: &Outcome,
        sealer: &Sealer,
    ) -> Result<Self, FrameError> {
        let fault = |why: String| FrameError::Encode {
            kind: Kind::EnrolReply,
            why,
        };
        let body = frame::encode(Kind::EnrolReply, outcome)?;
        let certificate = sealer
            .certificate()
            .ok_or_else(|| fault("the sealer has no certificate".into()))?;
        let proof = sealer.sign(&Self::transcript(&nonce, &key, &body));
        Ok(Self {
            nonce,
            key,
            body: Bytes::new(body).map_err(|why| fault(why.to_string()))?,
            certificate: Bytes::new(certificate.to_bytes())
                .map_err(|why| fault(why.to_string()))?,
            proof: Proof::new(proof).map_err(|why| fault(why.to_string()))?,
        })
    }

    /// Verifies the reply to the request of `nonce` and `key`.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn open(
        &self,
        nonce: &Nonce,
        key: &PublicKey,
        root: &PublicKey,
    ) -> Result<Outcome, ReplyError> {
        if self.nonce != *nonce || self.key != *key {
            return Err(ReplyError::Mismatch);
        }
        let certificate = (&*self.certificate)
            .try_into()
            .ok()
            .and_then(KeyCertificate::from_bytes)
            .ok_or(ReplyError::Signature)?;
        let transcript = Self::transcript(nonce, key, &self.body);
        if !certificate.verify(root) || !seal::verifies(&certificate.key, &transcript, &self.proof)
        {
            return Err(ReplyError::Signature);
        }
        Ok(frame::decode(Kind::EnrolReply, &self.body)?)
    }

    /// Writes the frame for `enroll/<nonce>/reply`.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn to_frame(&self) -> Result<Vec<u8>, FrameError> {
        frame::write(
            0,
            (Kind::EnrolReply, Kind::EnrolReply.revision()),
            0,
            &[&frame::encode(Kind::EnrolReply, self)?],
        )
    }

    /// Reads the frame of `enroll/<nonce>/reply`.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn from_frame(bytes: &[u8]) -> Result<Self, FrameError> {
        let raw = Raw::read(bytes)?;
        if raw.kind != Kind::EnrolReply {
            return Err(FrameError::Misplaced { kind: raw.kind });
        }
        if raw.flags != 0 {
            return Err(FrameError::Flags { found: raw.flags });
        }
        frame::decode(raw.kind, raw.body)
    }
}
