//! A root, and under it the certificates of a server and a client, for peers that Holdfast does not enrol.
//! Never kept: each caller makes its own.

use anyhow::Result;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier, client::ClientConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;

/// What both sides of a connection show, and what they trust.
pub(crate) struct Papers {
    pub(crate) root: CertifiedIssuer<'static, KeyPair>,
    pub(crate) server: (Certificate, KeyPair),
    client: (Certificate, KeyPair),
}

impl Papers {
    /// Makes them all; `server` is the name that the server's certificate bears.
    pub(crate) fn new(server: &str) -> Result<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "bench");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let issue = |name: &str, usage| -> Result<_> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages.push(usage);
            Ok((params.signed_by(&key, &root)?, key))
        };
        Ok(Self {
            server: issue(server, ExtendedKeyUsagePurpose::ServerAuth)?,
            client: issue("client", ExtendedKeyUsagePurpose::ClientAuth)?,
            root,
        })
    }

    /// What trusts the root and nothing else.
    pub(crate) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone())?;
        Ok(roots)
    }

    /// A client's TLS, of the versions that `builder` was given.
    pub(crate) fn client(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    ) -> Result<ClientConfig> {
        let (certificate, key) = &self.client;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(builder
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(vec![certificate.der().clone()], key.into())?)
    }
}
