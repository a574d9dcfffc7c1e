//! Seals downward frames: Ed25519 over everything a replay or a forger could change, under a
//! signing key that the pinned root certifies. Never decides whether a counter is stale.
//!
//! A sealed body is `[certificate, if flagged][serial u32 LE][signature 64][body]`. The signature
//! covers, each prefixed with its length as u32 LE: the domain, flags, kind, revision, node,
//! outbox id, counter, serial, and the body as it travels; so nothing is inflated or decoded
//! before it is known to be meant for this node.

use crate::down::Down;
use crate::frame::{self, CERTIFIED, FrameError, Kind, Raw, SIGNED};
use crate::id::{NodeId, OutboxId};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

const FRAME_DOMAIN: &[u8] = b"holdfast frame v1";
const KEY_DOMAIN: &[u8] = b"holdfast signing key v1";
const SIGNATURE: usize = 64;
const CERTIFICATE: usize = 4 + 32 + SIGNATURE;

/// An Ed25519 public key (RFC 8032).
pub type PublicKey = [u8; 32];
/// An Ed25519 signature.
pub type Signature = [u8; SIGNATURE];

/// The serial under which the root itself seals ([`Down::FloorReset`]).
pub const ROOT_SERIAL: u32 = 0;

/// Why a sealed frame was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The envelope or the body is not well formed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// No seal.
    #[error("{kind:?} is not signed")]
    Unsigned {
        /// Kind found.
        kind: Kind,
    },
    /// The signing key's certificate is not the pinned root's.
    #[error("the certificate of signing key {serial} is not signed by the pinned root")]
    Certificate {
        /// Serial claimed.
        serial: u32,
    },
    /// The signing key is older than one that was already accepted.
    #[error("signing key {serial} was replaced by {newest}")]
    Superseded {
        /// Serial found.
        serial: u32,
        /// Newest serial accepted.
        newest: u32,
    },
    /// The signing key is not known here: its certificate comes with the next hello.
    #[error("signing key {serial} is not known")]
    UnknownKey {
        /// Serial found.
        serial: u32,
    },
    /// The seal does not fit frame, node or outbox.
    #[error(
        "the signature of {kind:?} is wrong: forged, damaged, or meant for another node or outbox"
    )]
    Signature {
        /// Kind found.
        kind: Kind,
    },
    /// Sealed by a key that may not seal this kind.
    #[error("{kind:?} may not be sealed by key {serial}")]
    Key {
        /// Kind found.
        kind: Kind,
        /// Serial found.
        serial: u32,
    },
}

/// Writes the parts, each behind its length.
pub(crate) fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        message.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        message.extend_from_slice(part);
    }
    message
}

pub(crate) fn sign(key: &Ed25519KeyPair, message: &[u8]) -> Signature {
    let mut signature = [0; SIGNATURE];
    for (to, from) in signature.iter_mut().zip(key.sign(message).as_ref()) {
        *to = *from;
    }
    signature
}

pub(crate) fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key)
        .verify(message, signature)
        .is_ok()
}

/// A signing key's certificate: the root's word that this key may seal frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCertificate {
    /// Grows with each rotation, from 1; an older key is refused once a newer one was seen.
    pub serial: u32,
    /// The signing key.
    pub key: PublicKey,
    /// The root's signature.
    pub signature: Signature,
}

impl KeyCertificate {
    /// Certifies a signing key.
    #[must_use]
    pub fn issue(root: &Ed25519KeyPair, serial: u32, key: PublicKey) -> Self {
        Self {
            serial,
            key,
            signature: sign(root, &Self::message(serial, &key)),
        }
    }

    fn message(serial: u32, key: &PublicKey) -> Vec<u8> {
        length_prefixed(&[KEY_DOMAIN, &serial.to_le_bytes(), key])
    }

    /// Whether the root signed it.
    #[must_use]
    pub fn verify(&self, root: &PublicKey) -> bool {
        self.serial != ROOT_SERIAL
            && verifies(
                root,
                &Self::message(self.serial, &self.key),
                &self.signature,
            )
    }

    /// The form in which it travels and is stored: serial, key, signature.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CERTIFICATE] {
        let mut bytes = [0; CERTIFICATE];
        let parts = self
            .serial
            .to_le_bytes()
            .into_iter()
            .chain(self.key)
            .chain(self.signature);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes
    }

    /// Reads [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8; CERTIFICATE]) -> Option<Self> {
        let (serial, rest) = bytes.split_first_chunk()?;
        let (key, signature) = rest.split_first_chunk()?;
        Some(Self {
            serial: u32::from_le_bytes(*serial),
            key: *key,
            signature: signature.try_into().ok()?,
        })
    }
}

/// Whom a frame is for, and its place in the order of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The node.
    pub node: NodeId,
    /// Life of its outbox, as its hello named it.
    pub outbox: OutboxId,
}

fn message(address: &Address, raw: &Raw<'_>, serial: u32, body: &[u8]) -> Vec<u8> {
    length_prefixed(&[
        FRAME_DOMAIN,
        &[raw.flags],
        &[raw.kind as u8],
        &raw.revision.to_le_bytes(),
        address.node.as_str().as_bytes(),
        &address.outbox.0.to_le_bytes(),
        &raw.sequence.to_le_bytes(),
        &serial.to_le_bytes(),
        body,
    ])
}

/// The bridge's side: a signing key with its certificate, or the root itself.
#[derive(Debug)]
pub struct Sealer {
    key: Ed25519KeyPair,
    serial: u32,
    certificate: Option<KeyCertificate>,
}

impl Sealer {
    /// Seals with a certified signing key.
    #[must_use]
    pub fn new(key: Ed25519KeyPair, certificate: KeyCertificate) -> Self {
        Self {
            key,
            serial: certificate.serial,
            certificate: Some(certificate),
        }
    }

    /// Seals with the root; only [`Down::FloorReset`] is accepted so.
    #[must_use]
    pub fn root(key: Ed25519KeyPair) -> Self {
        Self {
            key,
            serial: ROOT_SERIAL,
            certificate: None,
        }
    }

    /// The certificate of the signing key; `None` for the root.
    #[must_use]
    pub fn certificate(&self) -> Option<&KeyCertificate> {
        self.certificate.as_ref()
    }

    /// Signs a message outside of a frame, for [`crate::enrol`].
    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        sign(&self.key, message)
    }

    /// Seals a message for a node. `certified` adds the key's certificate, for the reply to a
    /// hello and after a rotation.
    ///
    /// # Errors
    /// [`FrameError::Encode`] or [`FrameError::TooLarge`].
    pub fn seal(
        &self,
        address: &Address,
        counter: u64,
        certified: bool,
        down: &Down,
    ) -> Result<Vec<u8>, FrameError> {
        let body = down.encode_body()?;
        let (flags, body) = frame::pack(&body);
        let certificate = self
            .certificate
            .filter(|_| certified)
            .map(|certificate| certificate.to_bytes());
        let flags = flags | SIGNED | if certificate.is_some() { CERTIFIED } else { 0 };
        let kind = down.kind();
        let raw = Raw {
            flags,
            kind,
            revision: kind.revision(),
            sequence: counter,
            body: &[],
        };
        let signature = sign(&self.key, &message(address, &raw, self.serial, &body));
        let certificate = certificate.as_ref().map_or(&[][..], |bytes| bytes);
        frame::write(
            flags,
            (kind, raw.revision),
            counter,
            &[certificate, &self.serial.to_le_bytes(), &signature, &body],
        )
    }
}

/// The node's side: the pinned root and the newest signing key it has accepted.
#[derive(Debug, Clone)]
pub struct Opener {
    root: PublicKey,
    newest_serial: u32,
    current: Option<KeyCertificate>,
}

/// An opened frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The message.
    pub down: Down,
    /// Its counter; the caller refuses one that is not above the highest seen.
    pub counter: u64,
}

impl Opener {
    /// `newest_serial`: that of the newest signing key ever accepted, from the journal.
    #[must_use]
    pub fn new(root: PublicKey, newest_serial: u32) -> Self {
        Self {
            root,
            newest_serial,
            current: None,
        }
    }

    /// Serial of the newest signing key accepted; persist it when it grows.
    #[must_use]
    pub fn newest_serial(&self) -> u32 {
        self.newest_serial
    }

    /// Verifies and decodes a frame. A new signing key's certificate that comes along is taken
    /// over only when the whole frame proves good.
    ///
    /// # Errors
    /// [`SealError`]; the opener is then unchanged.
    pub fn open(&mut self, address: &Address, bytes: &[u8]) -> Result<Opened, SealError> {
        let raw = Raw::read(bytes)?;
        let kind = raw.kind;
        if raw.flags & SIGNED == 0 {
            return Err(SealError::Unsigned { kind });
        }
        let truncated = || FrameError::Truncated { part: "seal" };
        let (certificate, rest) = if raw.flags & CERTIFIED == 0 {
            (None, raw.body)
        } else {
            let (bytes, rest) = raw.body.split_first_chunk().ok_or_else(truncated)?;
            (KeyCertificate::from_bytes(bytes), rest)
        };
        let (serial, rest) = rest.split_first_chunk().ok_or_else(truncated)?;
        let serial = u32::from_le_bytes(*serial);
        let (signature, body) = rest
            .split_first_chunk::<SIGNATURE>()
            .ok_or_else(truncated)?;
        let (key, certificate) = self.key(serial, kind, certificate)?;
        if !verifies(&key, &message(address, &raw, serial, body), signature) {
            return Err(SealError::Signature { kind });
        }
        let down = Down::decode_body(kind, &frame::inflate(kind, raw.flags, body)?)?;
        if let Some(certificate) = certificate {
            self.newest_serial = certificate.serial;
            self.current = Some(certificate);
        }
        Ok(Opened {
            down,
            counter: raw.sequence,
        })
    }

    /// The key of that serial, and the certificate to take over when the frame proves good.
    fn key(
        &self,
        serial: u32,
        kind: Kind,
        carried: Option<KeyCertificate>,
    ) -> Result<(PublicKey, Option<KeyCertificate>), SealError> {
        if (serial == ROOT_SERIAL) != (kind == Kind::FloorReset) {
            return Err(SealError::Key { kind, serial });
        }
        if serial == ROOT_SERIAL {
            return Ok((self.root, None));
        }
        if serial < self.newest_serial {
            return Err(SealError::Superseded {
                serial,
                newest: self.newest_serial,
            });
        }
        match (self.current, carried) {
            (Some(current), _) if current.serial == serial => Ok((current.key, None)),
            (_, Some(new)) if new.serial == serial && new.verify(&self.root) => {
                Ok((new.key, Some(new)))
            }
            (_, Some(_)) => Err(SealError::Certificate { serial }),
            (_, None) => Err(SealError::UnknownKey { serial }),
        }
    }
}
