//! Who this node is: its id, its key and certificate, its bridges and the root that it pinned.
//! Never shows the key: `Debug` leaves it out.

use crate::link::address::{Address, InvalidAddress};
use crate::tls::certificate::{self, Facts, Malformed};
use crate::tls::{ClientIdentity, Root};
use holdfast_protocol::NodeId;
use holdfast_protocol::enrol::public_key;
use holdfast_protocol::id::InvalidId;
use ring::signature::Ed25519KeyPair;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Layout of `identity.json` that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// An identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Written by a newer agent.
    #[error(
        "it has layout {found}, and this agent reads up to {FORMAT_VERSION}: install the newer agent again, or register anew in another --state-dir"
    )]
    Newer {
        /// Layout found.
        found: u32,
    },
    /// Not the JSON that it should be.
    #[error("it is damaged: restore it from a backup, or register anew with --force")]
    Json(#[from] serde_json::Error),
    /// A value in it.
    #[error("its {0} is damaged: restore it from a backup, or register anew with --force")]
    Value(&'static str),
    /// The node id.
    #[error(transparent)]
    Node(#[from] InvalidId),
    /// A bridge address.
    #[error(transparent)]
    Bridge(#[from] InvalidAddress),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] Malformed),
    /// The certificate is for another key.
    #[error("its certificate belongs to another key")]
    Mismatch,
}

/// The node's identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Addresses of the bridge, tried in turn; at least one.
    pub bridges: Vec<Address>,
    /// The bridge's clock at registration, milliseconds since 1970: real time is not below it.
    pub registered_unix_ms: u64,
    root: Vec<u8>,
    root_key: [u8; 32],
    certificate: Vec<u8>,
    life: Facts,
    key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", &self.node)
            .field("bridges", &self.bridges)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    node: String,
    bridges: Vec<String>,
    registered_unix_ms: u64,
    root_der: String,
    certificate_der: String,
    key_pkcs8: String,
}

impl Identity {
    /// Puts an identity together from its parts; each is checked.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        node: NodeId,
        bridges: Vec<Address>,
        registered_unix_ms: u64,
        root: Vec<u8>,
        certificate: Vec<u8>,
        key: Vec<u8>,
    ) -> Result<Self, IdentityError> {
        if bridges.is_empty() {
            return Err(IdentityError::Value("list of bridges"));
        }
        let pair = key_pair(&key)?;
        let life = certificate::read(&certificate)?;
        if life.ed25519_key.is_none() || life.ed25519_key != public_key(&pair) {
            return Err(IdentityError::Mismatch);
        }
        let root_key = certificate::read(&root)?
            .ed25519_key
            .ok_or(IdentityError::Value("root certificate"))?;
        Ok(Self {
            node,
            bridges,
            registered_unix_ms,
            root,
            root_key,
            certificate,
            life,
            key,
        })
    }

    /// The same node with a fresh key and certificate.
    ///
    /// # Errors
    /// [`IdentityError::Mismatch`] when the two do not belong together.
    pub fn renewed(&self, certificate: Vec<u8>, key: Vec<u8>) -> Result<Self, IdentityError> {
        Self::new(
            self.node,
            self.bridges.clone(),
            self.registered_unix_ms,
            self.root.clone(),
            certificate,
            key,
        )
    }

    /// Whether this key is the one in use, and so nothing that waits for a certificate: a crash
    /// between the installation and the removal of the waiting key leaves it behind.
    #[must_use]
    pub fn has_key(&self, pkcs8: &[u8]) -> bool {
        self.key == pkcs8
    }

    /// Public key of the pinned root.
    #[must_use]
    pub fn root_key(&self) -> [u8; 32] {
        self.root_key
    }

    /// The pinned root, for TLS.
    #[must_use]
    pub fn root(&self) -> Root {
        Root::Pinned(CertificateDer::from(self.root.clone()))
    }

    /// Validity of the node's certificate.
    #[must_use]
    pub fn life(&self) -> Facts {
        self.life
    }

    /// Certificate and key, for TLS.
    #[must_use]
    pub fn client(&self) -> ClientIdentity {
        ClientIdentity {
            certificate: CertificateDer::from(self.certificate.clone()),
            key: PrivatePkcs8KeyDer::from(self.key.clone()),
        }
    }

    /// The node's key.
    ///
    /// # Errors
    /// [`IdentityError::Value`]; not after [`Self::new`] has accepted it.
    pub fn key_pair(&self) -> Result<Ed25519KeyPair, IdentityError> {
        key_pair(&self.key)
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, IdentityError> {
        let Version { version } = serde_json::from_slice(bytes)?;
        if version > FORMAT_VERSION {
            return Err(IdentityError::Newer { found: version });
        }
        let stored: Stored = serde_json::from_slice(bytes)?;
        let decode = |text: &str, what| hex::decode(text).map_err(|_| IdentityError::Value(what));
        let bridges = stored.bridges.iter().map(|text| text.parse());
        Self::new(
            stored.node.parse()?,
            bridges.collect::<Result<_, _>>()?,
            stored.registered_unix_ms,
            decode(&stored.root_der, "root certificate")?,
            decode(&stored.certificate_der, "certificate")?,
            decode(&stored.key_pkcs8, "key")?,
        )
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let stored = Stored {
            version: FORMAT_VERSION,
            node: self.node.to_string(),
            bridges: self.bridges.iter().map(Address::to_string).collect(),
            registered_unix_ms: self.registered_unix_ms,
            root_der: hex::encode(&self.root),
            certificate_der: hex::encode(&self.certificate),
            key_pkcs8: hex::encode(&self.key),
        };
        // Text members alone: this cannot fail.
        serde_json::to_vec_pretty(&stored).unwrap_or_default()
    }
}

/// Reads a PKCS#8 Ed25519 key.
///
/// # Errors
/// [`IdentityError::Value`].
pub(crate) fn key_pair(pkcs8: &[u8]) -> Result<Ed25519KeyPair, IdentityError> {
    Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| IdentityError::Value("key"))
}
