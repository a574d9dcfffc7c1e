//! TLS to the bridge: the pinned root, the bridge's fixed name, and a durable floor in place of a clock.
//! Never reads the OS clock, and never trusts a public authority or the address it connects to.

pub mod certificate;
mod suite;
#[cfg(test)]
mod tests;

use ring::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore};
use rustls::{SignatureScheme, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The name in the bridge's certificate, at whatever address it is reached.
pub const BRIDGE_NAME: &str = "holdfast-bridge";

/// SHA-256 of a certificate's DER, as `--ca-sha256` takes it.
pub type Fingerprint = [u8; 32];

/// SHA-256 of a certificate's DER.
#[must_use]
pub fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut hash = Fingerprint::default();
    let digest = digest::digest(&digest::SHA256, der);
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}

/// The durable floor of signed time: real time is not below it. All of TLS reads time from here.
#[derive(Debug, Clone, Default)]
pub struct Floor(Arc<AtomicU64>);

impl Floor {
    /// A floor of this many milliseconds since 1970.
    #[must_use]
    pub fn new(unix_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(unix_ms)))
    }

    /// Sets the floor; whether it may go down is the core's decision.
    pub fn set(&self, unix_ms: u64) {
        self.0.store(unix_ms, Ordering::Relaxed);
    }

    /// The floor in milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct FloorTime(Floor);

impl TimeProvider for FloorTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.0.unix_ms(),
        )))
    }
}

/// Why the server at the other end is not taken for the bridge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// No certificate that it presents is the root that was asked for.
    #[error(
        "no certificate that the server presents has the SHA-256 {expected}: it presents {found}; compare --ca-sha256 with the line that `activation create` printed"
    )]
    WrongRoot {
        /// Hexadecimal, as given.
        expected: String,
        /// Hexadecimal, of each certificate presented.
        found: String,
    },
    /// Its certificate is not signed by the pinned root.
    #[error(
        "the server's certificate is not signed by the pinned root: another bridge, or something between; this node trusts only the bridge it registered with"
    )]
    Untrusted,
    /// Its certificate is the root's, but not for the bridge.
    #[error(
        "the server's certificate is not that of a bridge: it needs the name {BRIDGE_NAME} and server usage"
    )]
    NotABridge,
    /// Its certificate ended before the floor of time.
    #[error(
        "the server's certificate ended at {not_after_unix_s} s since 1970, and signed time has reached {floor_unix_s} s: renew the bridge's certificate"
    )]
    Expired {
        /// End of its validity, seconds since 1970.
        not_after_unix_s: u64,
        /// The floor, seconds since 1970.
        floor_unix_s: u64,
    },
    /// Its certificate cannot be read.
    #[error("the server's certificate: {0}")]
    Malformed(#[from] certificate::Malformed),
}

impl From<Distrust> for rustls::Error {
    fn from(distrust: Distrust) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
    }
}

/// The reason of a failed handshake, when it was distrust.
#[must_use]
pub fn distrust_of(error: &io::Error) -> Option<&Distrust> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error
    else {
        return None;
    };
    inner.downcast_ref()
}

/// A key or certificate cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The root certificate.
    #[error("the pinned root certificate cannot be used")]
    Root(#[source] rustls::Error),
    /// The node's key or certificate.
    #[error("the node's key and certificate cannot be used together")]
    Identity(#[source] rustls::Error),
    /// TLS itself.
    #[error("TLS 1.3 cannot be set up")]
    Protocol(#[source] rustls::Error),
}

/// What the node knows of the root when it connects.
#[derive(Debug, Clone)]
pub enum Root {
    /// Its certificate, pinned since registration.
    Pinned(CertificateDer<'static>),
    /// Its hash alone: registration takes the certificate from the server's chain.
    Hash(Fingerprint),
}

/// Certificate and key with which a node shows who it is.
#[derive(Debug)]
pub struct ClientIdentity {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// PKCS#8.
    pub key: PrivatePkcs8KeyDer<'static>,
}

/// TLS towards one bridge. Made anew when the identity changes.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    verifier: Arc<BridgeVerifier>,
}

impl Connector {
    /// Makes the configuration; `identity` is `None` before there is one, and for re-enrolment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(
        root: Root,
        identity: Option<ClientIdentity>,
        floor: Floor,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(suite::provider());
        let verifier = Arc::new(BridgeVerifier::new(root, floor.clone(), &provider)?);
        let builder = ClientConfig::builder_with_details(provider, Arc::new(FloorTime(floor)))
            .with_protocol_versions(&[&TLS13])
            .map_err(ConfigError::Protocol)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>);
        let mut config = match identity {
            Some(ClientIdentity { certificate, key }) => builder
                .with_client_auth_cert(vec![certificate], key.into())
                .map_err(ConfigError::Identity)?,
            None => builder.with_no_client_auth(),
        };
        // A resumed session would skip the check against the floor, and keep tickets in memory.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            verifier,
        })
    }

    /// For the handshake.
    #[must_use]
    pub fn tls(&self) -> tokio_rustls::TlsConnector {
        Arc::clone(&self.config).into()
    }

    /// The name to ask for, whatever the address.
    #[must_use]
    pub fn server_name() -> ServerName<'static> {
        // A constant that is a name; the other branch only spares an unwrap.
        ServerName::try_from(BRIDGE_NAME)
            .unwrap_or_else(|_| ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()))
    }

    /// The root: the pinned one, or the one that a handshake found by its hash.
    #[must_use]
    pub fn root(&self) -> Option<CertificateDer<'static>> {
        self.verifier.known.get().map(|known| known.root.clone())
    }
}

#[derive(Debug)]
struct KnownRoot {
    root: CertificateDer<'static>,
    not_before_unix_s: u64,
    verifier: Arc<WebPkiServerVerifier>,
}

impl KnownRoot {
    fn new(
        root: CertificateDer<'static>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let facts = certificate::read(&root).map_err(Distrust::from)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|why| rustls::Error::General(why.to_string()))?;
        Ok(Self {
            root,
            not_before_unix_s: facts.not_before_unix_s,
            verifier,
        })
    }
}

#[derive(Debug)]
struct BridgeVerifier {
    known: OnceLock<KnownRoot>,
    wanted: Fingerprint,
    floor: Floor,
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl BridgeVerifier {
    fn new(root: Root, floor: Floor, provider: &Arc<CryptoProvider>) -> Result<Self, ConfigError> {
        let known = OnceLock::new();
        let wanted = match root {
            Root::Hash(hash) => hash,
            Root::Pinned(root) => {
                let hash = fingerprint(&root);
                let root = KnownRoot::new(root, provider).map_err(ConfigError::Root)?;
                known.get_or_init(|| root);
                hash
            }
        };
        Ok(Self {
            known,
            wanted,
            floor,
            provider: Arc::clone(provider),
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// The root by its hash among what the server presents.
    fn root(&self, presented: &[CertificateDer<'_>]) -> Result<&KnownRoot, rustls::Error> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let root = presented
            .iter()
            .find(|der| fingerprint(der) == self.wanted)
            .ok_or_else(|| Distrust::WrongRoot {
                expected: hex::encode(self.wanted),
                found: presented
                    .iter()
                    .map(|der| hex::encode(fingerprint(der)))
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        let known = KnownRoot::new(root.clone().into_owned(), &self.provider)?;
        Ok(self.known.get_or_init(|| known))
    }
}

impl ServerCertVerifier for BridgeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let known = self.root(intermediates)?;
        let leaf = certificate::read(end_entity).map_err(Distrust::from)?;
        let floor_unix_s = self.floor.unix_ms() / 1000;
        // `notBefore` proves nothing to a node without a clock; `notAfter` is held against the floor.
        let now_unix_s = floor_unix_s
            .max(leaf.not_before_unix_s)
            .max(known.not_before_unix_s);
        let checked = known.verifier.verify_server_cert(
            end_entity,
            intermediates,
            &Connector::server_name(),
            ocsp_response,
            UnixTime::since_unix_epoch(Duration::from_secs(now_unix_s)),
        );
        checked.map_err(|error| distrust(error, leaf.not_after_unix_s, floor_unix_s))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other fault of a chain means the same here: not under the pinned root"
)]
fn distrust(error: rustls::Error, not_after_unix_s: u64, floor_unix_s: u64) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Distrust::Expired {
                    not_after_unix_s,
                    floor_unix_s,
                }
            }
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. } => Distrust::NotABridge,
            _ => Distrust::Untrusted,
        }
        .into(),
        other => other,
    }
}
