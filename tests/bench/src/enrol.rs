//! Registers nodes over the real protocol: an activation's proof, a reply under the root, a certificate.
//! Never touches a state directory: an identity lives as long as its process.

use crate::client::{Greeting, Place, connect};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use holdfast_agent::tls::{ClientIdentity, Connector, Floor, Root, certificate};
use holdfast_e2e::{Activation, Bridge};
use holdfast_protocol::enrol::{Activate, Outcome, Reply, Request, public_key};
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Platform, Up};
use holdfast_protocol::{NodeId, Nonce};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::Ed25519KeyPair;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Enrolments at once: half of what the endpoint lets in without a certificate.
const AT_ONCE: usize = 32;
/// Nodes of one activation at most, as AWS has it.
const ACTIVATION_MAX: usize = 1000;
/// How often one node asks.
const TRIES: u32 = 10;

/// One registered node.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// The pinned root's key.
    pub root_key: PublicKey,
    /// The bridge's clock when it was registered, milliseconds since 1970.
    pub unix_ms: u64,
    root: CertificateDer<'static>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// The endpoint as this node reaches it.
    ///
    /// # Errors
    /// When key and certificate do not fit together.
    pub fn place(&self, address: SocketAddr) -> Result<Place> {
        let identity = ClientIdentity {
            certificate: self.certificate.clone().into(),
            key: self.key.clone().into(),
        };
        let root = Root::Pinned(self.root.clone());
        let tls = Connector::new(root, Some(identity), Floor::new(self.unix_ms))?;
        Ok(place(address, &tls))
    }

    /// Validity of the certificate, seconds since 1970.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn validity_s(&self) -> Result<(u64, u64)> {
        let facts = certificate::read(&self.certificate)?;
        Ok((facts.not_before_unix_s, facts.not_after_unix_s))
    }
}

fn place(address: SocketAddr, tls: &Connector) -> Place {
    Place {
        address,
        tls: tls.tls(),
        name: Connector::server_name(),
    }
}

/// Registers one node.
///
/// # Errors
/// When the bridge refuses, or cannot be reached again and again.
pub async fn enrol(address: SocketAddr, activation: &Activation) -> Result<Identity> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("no randomness"))?;
    let mut last = None;
    for round in 0..TRIES {
        match ask(address, activation, key.as_ref()).await {
            Ok(identity) => return Ok(identity),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100 << round.min(4))).await;
    }
    Err(last.context("no try was made")?)
}

/// Registers many nodes, with as many activations as that takes; each of them has these tags.
///
/// # Errors
/// As [`enrol`].
pub async fn enrol_fleet(bridge: &Bridge, count: usize, more: &[&str]) -> Result<Vec<Identity>> {
    let mut identities = Vec::with_capacity(count);
    while identities.len() < count {
        let part = (count - identities.len()).min(ACTIVATION_MAX);
        let activation = bridge.activation(&[&["--limit", &part.to_string()], more].concat())?;
        identities.extend(enrol_many(bridge.mqtt, &activation, part).await?);
    }
    Ok(identities)
}

/// Registers many nodes with one activation, some at once.
///
/// # Errors
/// As [`enrol`].
pub async fn enrol_many(
    address: SocketAddr,
    activation: &Activation,
    count: usize,
) -> Result<Vec<Identity>> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = Vec::with_capacity(count);
    for _ in 0..count {
        let permit = Arc::clone(&gate).acquire_owned().await?;
        let activation = activation.clone();
        asking.push(tokio::spawn(async move {
            let _permit = permit;
            enrol(address, &activation).await
        }));
    }
    let mut identities = Vec::with_capacity(count);
    for asked in asking {
        identities.push(asked.await??);
    }
    Ok(identities)
}

async fn ask(address: SocketAddr, activation: &Activation, key: &[u8]) -> Result<Identity> {
    let pair = Ed25519KeyPair::from_pkcs8(key).map_err(|why| anyhow::anyhow!("the key: {why}"))?;
    let mut nonce = Nonce::default();
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| anyhow::anyhow!("no randomness"))?;
    let mut hash = [0; 32];
    hex::decode_to_slice(&activation.ca_sha256, &mut hash)
        .map_err(|why| anyhow::anyhow!("the root's hash: {why}"))?;
    let tls = Connector::new(Root::Hash(hash), None, Floor::new(0))?;
    let greeting = Greeting {
        client_id: format!("enrol-{}", hex::encode(nonce)),
        will: None,
        topics: vec![Topic::EnrolReply(nonce).to_string()],
    };
    let (mut reader, mut writer) = connect(&place(address, &tls), greeting).await?;
    let request = Activate::new(
        nonce,
        activation.id.parse()?,
        &activation.code,
        &pair,
        Platform::default(),
        "0.0.0-bench",
    );
    let request = Request::Activate(request.context("the request")?);
    let frame = Up::Enrol(Box::new(request)).encode()?;
    let topic = Topic::EnrolRequest(nonce).to_string();
    writer.publish(&topic, QoS::AtLeastOnce, Bytes::from(frame))?;
    writer.flush().await?;
    let reply = loop {
        if let Packet::Publish(publish) = reader.next().await? {
            break publish.payload;
        }
    };
    let root = tls.root().context("the root's certificate")?;
    let root_key = certificate::read(&root)?
        .ed25519_key
        .context("the root's key")?;
    let public = public_key(&pair).context("the public key")?;
    match Reply::from_frame(&reply)?.open(&nonce, &public, &root_key)? {
        Outcome::Issued {
            node,
            certificate,
            unix_ms,
        } => Ok(Identity {
            node,
            root_key,
            unix_ms,
            root,
            certificate: certificate.to_vec(),
            key: key.to_vec(),
        }),
        Outcome::Refused { reason, detail } => bail!("refused: {reason:?}: {}", &*detail),
    }
}
