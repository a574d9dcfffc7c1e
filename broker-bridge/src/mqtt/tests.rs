//! The endpoint over real TLS on loopback: a real client, and raw bytes where no client would
//! send them. Never sleeps: each test waits for what must come.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets another message than it waits for has failed"
)]

use super::sessions::ready;
use super::*;
use crate::pki::{Root, server_config};
use holdfast_protocol::NodeId;
use holdfast_protocol::topic::Topic;
use ring::signature::Ed25519KeyPair;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

mod abuse;
mod nodes;

/// TLS compares certificates with the OS clock, so these begin now.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap()
}

/// What the endpoint told the hub of these tests.
#[derive(Debug)]
enum Told {
    Connect(Arrival),
    Publish(Topic, Vec<u8>, oneshot::Sender<Verdict>),
    Delivered(DeliveryId),
    Disconnect(ConnectionId, Departure),
}

/// A hub that tells the test everything and lets the test decide.
struct Hub {
    told: mpsc::UnboundedSender<Told>,
    refusals: Mutex<HashMap<NodeId, ConnectRefusal>>,
}

impl Sessions for Hub {
    fn connect(&self, arrival: Arrival) -> oneshot::Receiver<Result<(), ConnectRefusal>> {
        let node = arrival.identity.as_ref().map(|identity| identity.node);
        let refusal = node.and_then(|node| self.refusals.lock().unwrap().get(&node).copied());
        let _ = self.told.send(Told::Connect(arrival));
        ready(refusal.map_or(Ok(()), Err))
    }
    fn publish(&self, _: ConnectionId, topic: Topic, payload: &[u8]) -> oneshot::Receiver<Verdict> {
        let (sender, receiver) = oneshot::channel();
        let _ = self
            .told
            .send(Told::Publish(topic, payload.to_vec(), sender));
        receiver
    }
    fn delivered(&self, _: ConnectionId, delivery: DeliveryId) {
        let _ = self.told.send(Told::Delivered(delivery));
    }
    fn disconnect(&self, connection: ConnectionId, departure: Departure) {
        let _ = self.told.send(Told::Disconnect(connection, departure));
    }
}

/// A running endpoint and the test's end of its hub.
struct World {
    root: Root,
    address: SocketAddr,
    hub: Arc<Hub>,
    told: mpsc::UnboundedReceiver<Told>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// Nothing here takes long: what does not come within this is missing.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it did not come")
}

impl World {
    async fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_or_create(dir.path()).unwrap();
        let (sender, told) = mpsc::unbounded_channel();
        let hub = Arc::new(Hub {
            told: sender,
            refusals: Mutex::default(),
        });
        let tls = server_config(&root, now()).unwrap();
        let sessions = Arc::clone(&hub) as Arc<dyn Sessions>;
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), tls, limits, sessions)
            .await
            .unwrap();
        let address = endpoint.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(endpoint.run(async {
            let _ = stopped.await;
        }));
        Self {
            root,
            address,
            hub,
            told,
            stop: Some(stop),
            running,
            _dir: dir,
        }
    }

    /// TLS as an agent has it, with the certificate of a node or without one.
    fn client_config(&self, node: Option<NodeId>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some(node) = node else {
            return builder.with_no_client_auth();
        };
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let key = holdfast_protocol::enrol::public_key(&pair).unwrap();
        let issued = self.root.issue_node(&node, &key, now(), 90).unwrap();
        let key = PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec());
        builder
            .with_client_auth_cert(vec![CertificateDer::from(issued.der)], key.into())
            .unwrap()
    }

    async fn tls(&self, node: Option<NodeId>) -> Raw {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.client_config(node)));
        let name = ServerName::try_from(crate::pki::SERVER_NAME).unwrap();
        let socket = TcpStream::connect(self.address).await.unwrap();
        Raw(soon(connector.connect(name, socket)).await.unwrap())
    }

    /// Connects a node by hand, up to the hub's word and CONNACK.
    async fn node(&mut self, node: NodeId) -> (Raw, Arrival) {
        let mut raw = self.tls(Some(node)).await;
        raw.send(&connect(node.as_str(), 60)).await;
        let arrival = self.arrival().await;
        raw.expect(b"\x20\x02\0\0").await;
        (raw, arrival)
    }

    async fn told(&mut self) -> Told {
        soon(self.told.recv()).await.unwrap()
    }

    async fn arrival(&mut self) -> Arrival {
        match self.told().await {
            Told::Connect(arrival) => arrival,
            other => panic!("{other:?}"),
        }
    }

    async fn published(&mut self) -> (Topic, Vec<u8>, oneshot::Sender<Verdict>) {
        match self.told().await {
            Told::Publish(topic, payload, verdict) => (topic, payload, verdict),
            other => panic!("{other:?}"),
        }
    }
}

/// A client that says what the test says, byte by byte.
struct Raw(TlsStream<TcpStream>);

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }
    async fn expect(&mut self, bytes: &[u8]) {
        let mut found = vec![0; bytes.len()];
        soon(self.0.read_exact(&mut found)).await.unwrap();
        assert_eq!(found, bytes);
    }
    /// Waits for the end; what came before it.
    async fn end(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = soon(self.0.read_to_end(&mut rest)).await;
        rest
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_random([number; 9])
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = length > 0x7f;
        packet.push(u8::try_from(length & 0x7f).unwrap() | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn connect(client_id: &str, keep_alive: u16) -> Vec<u8> {
    let fixed = b"\0\x04MQTT\x04\x02";
    packet(0x10, &[fixed, &keep_alive.to_be_bytes(), &text(client_id)])
}

fn publish(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    packet(0x32, &[&text(topic), &id.to_be_bytes(), payload])
}

fn subscribe(id: u16, filter: &str) -> Vec<u8> {
    packet(0x82, &[&id.to_be_bytes(), &text(filter), &[1]])
}
