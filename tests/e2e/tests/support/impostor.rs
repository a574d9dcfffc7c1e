//! A bridge of the test's own, with the real bridge's keys: it greets properly, by the clock that it is given.
//! Never keeps anything of what a node reports to it.

use crate::wire::{Wire, publish};
use holdfast_bridge::pki::{Root, server_config};
use holdfast_protocol::NodeId;
use holdfast_protocol::bounded::List;
use holdfast_protocol::down::{Down, HelloReply};
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Hello, Token, Up};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, SubAck, SubscribeReasonCode,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// Serial and pair of the bridge's only signing key.
pub(crate) fn signing_key(state_dir: &Path) -> (u32, Ed25519KeyPair) {
    let serial = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let digits = name.strip_prefix("signing-")?.strip_suffix(".key")?;
        Some(digits.parse().unwrap())
    };
    let mut entries = std::fs::read_dir(state_dir).unwrap();
    let serial: u32 = entries.find_map(serial).unwrap();
    let pkcs8 = std::fs::read(state_dir.join(format!("signing-{serial}.key"))).unwrap();
    (serial, Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap())
}

/// The bridge of the test.
pub(crate) struct Impostor {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    pub(crate) sealer: Sealer,
    pub(crate) node: NodeId,
    pub(crate) counter: u64,
    /// How far its clock stands ahead.
    pub(crate) ahead_ms: u64,
    /// What its clock says instead, milliseconds since 1970.
    pub(crate) clock: Option<u64>,
}

impl Impostor {
    pub(crate) fn new(state_dir: &Path, node: NodeId) -> Self {
        let root = Root::open_or_create(state_dir).unwrap();
        let (serial, pair) = signing_key(state_dir);
        let public = pair.public_key().as_ref().try_into().unwrap();
        let certificate: KeyCertificate = root.certify_signing_key(serial, public);
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: server_config(&root, unix_ms()).unwrap(),
            sealer: Sealer::new(pair, certificate),
            node,
            counter: 1 << 40,
            ahead_ms: 0,
            clock: None,
        }
    }

    /// Where an agent reaches it.
    pub(crate) fn url(&self) -> String {
        format!("mqtts://{}", self.listener.local_addr().unwrap())
    }

    pub(crate) fn address(&self, hello: &Hello) -> Address {
        Address {
            node: self.node,
            outbox: hello.outbox,
        }
    }

    /// The reply to a hello. The node's token stays the one that the real bridge gave it.
    pub(crate) fn reply(&self, hello: &Hello) -> Down {
        let fresh = || Token::new([5; 56]).unwrap();
        Down::HelloReply(HelloReply {
            nonce: hello.nonce,
            unix_ms: self
                .clock
                .unwrap_or_else(|| unix_ms().saturating_add(self.ahead_ms)),
            revision: 1,
            token: hello.token.clone().unwrap_or_else(fresh),
            acks: hello.streams.map(|stream| stream.acked),
            resync: List::default(),
        })
    }

    /// Takes the agent's next connection and answers its hello.
    pub(crate) fn accept(&mut self) -> (Wire, Hello) {
        loop {
            let (tcp, _) = self.listener.accept().unwrap();
            tcp.set_nodelay(true).unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let session = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
            let mut wire = Wire::over(StreamOwned::new(session, tcp));
            while let Some(packet) = wire.receive() {
                if let Some(hello) = serve(&mut wire, &packet) {
                    self.counter += 1;
                    let down = self.reply(&hello);
                    let frame = self
                        .sealer
                        .seal(&self.address(&hello), self.counter, true, &down);
                    wire.send(&publish(
                        &Topic::Control(self.node).to_string(),
                        1,
                        frame.unwrap(),
                    ));
                    return (wire, hello);
                }
            }
        }
    }
}

/// Answers what MQTT wants answered; the agent's hello, when it came.
pub(crate) fn serve(wire: &mut Wire, packet: &Packet) -> Option<Hello> {
    match packet {
        Packet::Connect(_) => {
            wire.send(&Packet::ConnAck(ConnAck::new(
                ConnectReturnCode::Success,
                false,
            )));
        }
        Packet::Subscribe(subscribe) => {
            let codes =
                vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
            wire.send(&Packet::SubAck(SubAck::new(subscribe.pkid, codes)));
        }
        Packet::PingReq => drop(wire.send(&Packet::PingResp)),
        Packet::Publish(publish) => {
            if publish.pkid > 0 {
                wire.send(&Packet::PubAck(PubAck::new(publish.pkid)));
            }
            if let Ok(Up::Hello(hello)) = Up::decode(&publish.payload) {
                return Some(*hello);
            }
        }
        _ => {}
    }
    None
}
