//! The root: an Ed25519 key with its self-signed certificate, and what it certifies.
//! Never certifies a bridge's usage for a node, or a node's for the bridge.

use super::{PkiError, SERVER_NAME};
use crate::files::{FileError, create_private, make_private_dir, read_private};
use holdfast_protocol::NodeId;
use holdfast_protocol::limits::CERTIFICATE_BYTES_MAX;
use holdfast_protocol::seal::{KeyCertificate, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    SigningKey, date_time_ymd,
};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls_pki_types::CertificateDer;
use std::borrow::Borrow;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

const ROOT_NAME: &str = "Holdfast root";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate begins this long before it is issued, so that a clock that is set back a little
/// does not make it one that is not good yet. Nodes take its begin for its issue, and renew at
/// two thirds of its life: so it must not begin much earlier.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// An Ed25519 key pair, owned or borrowed, as rcgen wants to see it.
struct Signer<K>(K);

impl<K: Borrow<Ed25519KeyPair>> PublicKeyData for Signer<K> {
    fn der_bytes(&self) -> &[u8] {
        self.0.borrow().public_key().as_ref()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl<K: Borrow<Ed25519KeyPair>> SigningKey for Signer<K> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.borrow().sign(message).as_ref().to_vec())
    }
}

/// A public key that somebody else holds the private half of.
struct Subject<'a>(&'a PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// A certificate issued to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The certificate, DER, at most `CERTIFICATE_BYTES_MAX`.
    pub der: Vec<u8>,
    /// Its serial number, big-endian.
    pub serial: [u8; 16],
    /// End of its validity, milliseconds since 1970.
    pub not_after_unix_ms: u64,
}

/// The root's key and certificate.
pub struct Root {
    issuer: Issuer<'static, Signer<Ed25519KeyPair>>,
    certificate: CertificateDer<'static>,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Root({})", self.ca_sha256())
    }
}

impl Root {
    /// Reads the root of a state directory, and makes it where there is none.
    ///
    /// # Errors
    /// [`PkiError`]; a root that cannot be read is never replaced by a new one.
    pub fn open_or_create(state_dir: &Path) -> Result<Self, PkiError> {
        make_private_dir(state_dir)?;
        let pair = open_or_create_key(&state_dir.join("ca.key"))?;
        let path = state_dir.join("ca.der");
        // A crash between the two files leaves a key whose certificate nobody has seen yet.
        let mut found = read_private(&path)?;
        if found.is_none() {
            let certificate = self_signed(&pair)?;
            keep_first(create_private(&path, &certificate))?;
            found = read_private(&path)?;
        }
        let certificate = CertificateDer::from(found.map(|der| der.to_vec()).unwrap_or_default());
        let mismatch = || PkiError::RootMismatch { path: path.clone() };
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|_| mismatch())?;
        if *parsed.public_key().subject_public_key.data != *pair.public_key().as_ref() {
            return Err(mismatch());
        }
        Ok(Self {
            issuer: Issuer::new(root_params(), Signer(pair)),
            certificate,
        })
    }

    /// The root's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What an agent is told to pin: SHA-256 of the certificate, 64 lower-case digits.
    #[must_use]
    pub fn ca_sha256(&self) -> String {
        hex::encode(digest(&SHA256, &self.certificate))
    }

    /// The root's public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut key = PublicKey::default();
        for (to, from) in key.iter_mut().zip(self.issuer.key().der_bytes()) {
            *to = *from;
        }
        key
    }

    /// Certifies a frame-signing key.
    #[must_use]
    pub fn certify_signing_key(&self, serial: u32, key: PublicKey) -> KeyCertificate {
        KeyCertificate::issue(&self.issuer.key().0, serial, key)
    }

    /// Issues a node's certificate: its id as common name and as `urn:holdfast:node:<id>`, for TLS
    /// clients only, good for `days` from `now_unix_ms`.
    ///
    /// # Errors
    /// [`PkiError::Random`], [`PkiError::Issue`] or [`PkiError::TooLong`].
    pub fn issue_node(
        &self,
        node: &NodeId,
        key: &PublicKey,
        now_unix_ms: u64,
        days: u32,
    ) -> Result<NodeCertificate, PkiError> {
        let now = Duration::from_millis(now_unix_ms);
        let not_after = now + DAY * days;
        let serial = random_serial()?;
        let fault = issue_fault(node.as_str());
        let name = format!("urn:holdfast:node:{node}");
        let mut params = leaf_params(node.as_str(), serial, now, not_after);
        params.subject_alt_names = vec![SanType::URI(name.try_into().map_err(&fault)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params
            .signed_by(&Subject(key), &self.issuer)
            .map_err(&fault)?;
        let der = certificate.der().to_vec();
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(PkiError::TooLong {
                subject: node.to_string(),
                bytes: der.len(),
                max: CERTIFICATE_BYTES_MAX,
            });
        }
        Ok(NodeCertificate {
            der,
            serial,
            // Whole seconds, as the certificate has it.
            not_after_unix_ms: not_after.as_secs() * 1000,
        })
    }

    /// Makes the endpoint's key and certificate; the key is returned as PKCS#8 DER.
    ///
    /// # Errors
    /// [`PkiError::Random`] or [`PkiError::Issue`].
    pub(super) fn issue_server(
        &self,
        now_unix_ms: u64,
    ) -> Result<(CertificateDer<'static>, Zeroizing<Vec<u8>>), PkiError> {
        let (pkcs8, pair) = generate()?;
        let fault = issue_fault(SERVER_NAME);
        let now = Duration::from_millis(now_unix_ms);
        let mut params = leaf_params(SERVER_NAME, random_serial()?, now, now);
        // Its key lives as long as this process. An end would only shut out a node whose floor of
        // time a wrong clock pushed ahead, before the root can set it back.
        params.not_after = date_time_ymd(9999, 12, 31);
        params.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into().map_err(&fault)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params
            .signed_by(&Signer(pair), &self.issuer)
            .map_err(&fault)?;
        Ok((certificate.der().clone(), pkcs8))
    }
}

/// A file that another process made first is as good as ours.
pub(super) fn keep_first(created: Result<(), FileError>) -> Result<(), PkiError> {
    match created {
        Err(error) if error.source.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn open_or_create_key(path: &Path) -> Result<Ed25519KeyPair, PkiError> {
    if read_private(path)?.is_none() {
        let (pkcs8, _) = generate()?;
        keep_first(create_private(path, &pkcs8))?;
    }
    open_key(path)
}

/// Reads an Ed25519 key that must be there.
pub(super) fn open_key(path: &Path) -> Result<Ed25519KeyPair, PkiError> {
    let wrong = || PkiError::Key {
        path: path.to_owned(),
    };
    let bytes = read_private(path)?.ok_or_else(wrong)?;
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| wrong())
}

/// A fresh Ed25519 key, as PKCS#8 DER and ready to use.
pub(super) fn generate() -> Result<(Zeroizing<Vec<u8>>, Ed25519KeyPair), PkiError> {
    let document =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| PkiError::Random)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| PkiError::Random)?;
    Ok((pkcs8, pair))
}

fn issue_fault(subject: &str) -> impl Fn(rcgen::Error) -> PkiError + use<> {
    let subject = subject.to_owned();
    move |source| PkiError::Issue {
        subject: subject.clone(),
        source,
    }
}

/// Sixteen random bytes that make a positive number of full length (RFC 5280, 4.1.2.2).
fn random_serial() -> Result<[u8; 16], PkiError> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| PkiError::Random)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

fn root_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, ROOT_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Agents pin this very certificate: its dates say nothing, and no clock must end it.
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

fn self_signed(pair: &Ed25519KeyPair) -> Result<Vec<u8>, PkiError> {
    root_params()
        .self_signed(&Signer(pair))
        .map(|certificate| certificate.der().to_vec())
        .map_err(issue_fault(ROOT_NAME))
}

fn leaf_params(
    common_name: &str,
    serial: [u8; 16],
    now: Duration,
    not_after: Duration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(BACKDATED);
    params.not_after = date_time_ymd(1970, 1, 1) + not_after;
    params
}
