//! Mutated messages inside properly sealed frames, sent to a real agent by a bridge of the test's own
//! that holds the real bridge's keys. Never mutates what the seal would refuse anyway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and looks for one packet among all"
)]

#[path = "support/wire.rs"]
mod wire;

use holdfast_bridge::pki::{Root, server_config};
use holdfast_e2e::{AgentOptions, Node, Random, World, cases, mutate, resident_bytes, say};
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{
    Ack, Cancel, Command, Down, HelloRefusal, HelloRefusalReason, HelloReply, Resync, Rotation,
};
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Hello, Token, Up};
use holdfast_protocol::{CommandId, NodeId};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, SubAck, SubscribeReasonCode,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::{Wire, publish};

const MEBIBYTE: u64 = 1 << 20;
const GROWTH_MAX: u64 = 8 * MEBIBYTE;
/// Bytes of a seal: serial and signature.
const SEAL_BYTES: usize = 4 + 64;

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// Serial of the bridge's only signing key.
fn signing_serial(state_dir: &std::path::Path) -> u32 {
    let serial = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let digits = name.strip_prefix("signing-")?.strip_suffix(".key")?;
        Some(digits.parse().unwrap())
    };
    let mut entries = std::fs::read_dir(state_dir).unwrap();
    entries.find_map(serial).unwrap()
}

/// A bridge that greets properly and then says anything, under a proper seal.
struct Impostor {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    key: Ed25519KeyPair,
    serial: u32,
    sealer: Sealer,
    node: NodeId,
    counter: u64,
    session: Option<(Wire, Hello)>,
    connections: usize,
    packet: u16,
}

impl Impostor {
    fn new(state_dir: &std::path::Path, node: NodeId) -> Self {
        let root = Root::open_or_create(state_dir).unwrap();
        let serial = signing_serial(state_dir);
        let pkcs8 = std::fs::read(state_dir.join(format!("signing-{serial}.key"))).unwrap();
        let pair = || Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
        let public = pair().public_key().as_ref().try_into().unwrap();
        let certificate: KeyCertificate = root.certify_signing_key(serial, public);
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: server_config(&root, unix_ms()).unwrap(),
            key: pair(),
            serial,
            sealer: Sealer::new(pair(), certificate),
            node,
            counter: 1 << 40,
            session: None,
            connections: 0,
            packet: 0,
        }
    }

    fn address(&self, hello: &Hello) -> Address {
        Address {
            node: self.node,
            outbox: hello.outbox,
        }
    }

    fn reply(hello: &Hello) -> Down {
        Down::HelloReply(HelloReply {
            nonce: hello.nonce,
            unix_ms: unix_ms(),
            revision: 1,
            token: Token::new([5; 56]).unwrap(),
            acks: hello.streams.map(|stream| stream.acked),
            resync: List::default(),
        })
    }

    /// Takes the agent's next connection and answers its hello.
    fn accept(&mut self) -> (Wire, Hello) {
        loop {
            let (tcp, _) = self.listener.accept().unwrap();
            tcp.set_nodelay(true).unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let session = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
            let mut wire = Wire::over(StreamOwned::new(session, tcp));
            self.connections += 1;
            while let Some(packet) = wire.receive() {
                if let Some(hello) = serve(&mut wire, &packet) {
                    self.counter += 1;
                    let down = Self::reply(&hello);
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

    /// Seals a mutated message and waits until the agent has taken it or closed.
    fn say(&mut self, random: &mut Random, at: usize) {
        let (mut wire, hello) = self.session.take().unwrap_or_else(|| self.accept());
        self.counter += 1;
        let bodies: Vec<_> = downs(&hello)
            .iter()
            .map(|down| self.body(&hello, down))
            .collect();
        let down = &downs(&hello)[at % bodies.len()];
        let (kind, body) = &bodies[at % bodies.len()];
        let others: Vec<Vec<u8>> = bodies.iter().map(|(_, body)| body.clone()).collect();
        let frame = self.seal(&hello, *kind, &mutate::bytes(random, body, &others));
        let topic = match down {
            Down::Command(_) => Topic::Command(self.node),
            _ => Topic::Control(self.node),
        };
        self.packet = self.packet % 1000 + 10;
        if wire
            .send(&publish(&topic.to_string(), self.packet, frame))
            .is_none()
        {
            return;
        }
        while let Some(packet) = wire.receive() {
            if matches!(&packet, Packet::PubAck(ack) if ack.pkid == self.packet) {
                self.session = Some((wire, hello));
                return;
            }
            let _ = serve(&mut wire, &packet);
        }
    }

    /// Kind and plain body of a message.
    fn body(&self, hello: &Hello, down: &Down) -> (u8, Vec<u8>) {
        let frame = self
            .sealer
            .seal(&self.address(hello), 1, false, down)
            .unwrap();
        // Version, flags, kind, revision and counter are a byte each here.
        let (flags, kind, body) = (frame[1], frame[2], &frame[5 + SEAL_BYTES..]);
        let body = if flags & 1 == 0 {
            body.to_vec()
        } else {
            miniz_oxide::inflate::decompress_to_vec(body).unwrap()
        };
        (kind, body)
    }

    /// Seals bytes as `holdfast_protocol::seal` seals a message.
    fn seal(&self, hello: &Hello, kind: u8, body: &[u8]) -> Vec<u8> {
        const SIGNED: u8 = 2;
        let parts: [&[u8]; 9] = [
            b"holdfast frame v1",
            &[SIGNED],
            &[kind],
            &1_u16.to_le_bytes(),
            self.node.as_str().as_bytes(),
            &hello.outbox.0.to_le_bytes(),
            &self.counter.to_le_bytes(),
            &self.serial.to_le_bytes(),
            body,
        ];
        let mut message = Vec::new();
        for part in parts {
            message.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            message.extend_from_slice(part);
        }
        let signature = self.key.sign(&message);
        let mut frame = vec![1, SIGNED, kind, 1];
        let mut counter = self.counter;
        while counter >= 0x80 {
            frame.push((counter & 0x7f) as u8 | 0x80);
            counter >>= 7;
        }
        frame.push(counter as u8);
        frame.extend_from_slice(&self.serial.to_le_bytes());
        frame.extend_from_slice(signature.as_ref());
        frame.extend_from_slice(body);
        frame
    }
}

/// Answers what MQTT wants answered; the agent's hello, when it came.
fn serve(wire: &mut Wire, packet: &Packet) -> Option<Hello> {
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

/// One valid message of each kind. The command's script is a comment, and its document is not what
/// its hash says: however it is damaged, nothing of it runs.
fn downs(hello: &Hello) -> Vec<Down> {
    let id: CommandId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let parameter = (
        Text::cut("commands"),
        List::new(vec![Text::cut("#")]).unwrap(),
    );
    let command = Command {
        id,
        document_name: Text::cut("AWS-RunShellScript"),
        document_version: Text::cut("1"),
        content: Text::cut(&"# no document ".repeat(30)),
        content_sha256: [0; 32],
        parameters: List::new(vec![parameter]).unwrap(),
        expires_unix_ms: unix_ms() + 600_000,
        operator: None,
    };
    vec![
        Down::Command(Box::new(command)),
        Down::Cancel(Cancel { command: id }),
        Down::Ack(Ack {
            acks: hello.streams.map(|stream| stream.acked),
        }),
        Down::Rotation(Rotation { serial: 1 }),
        Down::Resync(Resync {
            reports: List::new(vec!["AWS:Network".try_into().unwrap()]).unwrap(),
        }),
        Impostor::reply(hello),
        // Of another hello: a refusal of this one keeps the agent away for as long as it says.
        Down::HelloRefusal(HelloRefusal {
            nonce: [0; 16],
            reason: HelloRefusalReason::Later(1),
            detail: Text::cut("later"),
        }),
    ]
}

#[test]
fn mutated_sealed_frames_leave_the_agent_working_and_no_larger() {
    let count = cases(3_000, 100_000);
    let mut random = Random::of("mutated_sealed_frames_leave_the_agent_working_and_no_larger");
    let world = World::start().unwrap();
    let node: Node = world.nodes(1, &AgentOptions::default()).unwrap().remove(0);
    let mut impostor = Impostor::new(world.bridge.state_dir(), node.id.parse().unwrap());
    let address = format!("mqtts://{}", impostor.listener.local_addr().unwrap());
    let options = AgentOptions {
        more: vec!["--bridge".into(), address],
        ..AgentOptions::default()
    };
    let mut deceived = world.stranger("agent-1", options);
    deceived.start().unwrap();
    let mut storm = |count: usize| {
        for _ in 0..count {
            let at = random.below(64);
            impostor.say(&mut random, at);
        }
    };
    storm((count / 4).max(1000));
    let agent = deceived.id().unwrap();
    let before = resident_bytes(agent).unwrap();
    storm(count);
    let after = resident_bytes(agent).unwrap();
    say(format!(
        "{count} mutated sealed frames to the agent: {} connections; resident {:.1} MiB, then {:.1} MiB",
        impostor.connections,
        before as f64 / MEBIBYTE as f64,
        after as f64 / MEBIBYTE as f64
    ));
    assert!(
        after.saturating_sub(before) < GROWTH_MAX,
        "{before} to {after} bytes"
    );
    assert_eq!(deceived.ended().unwrap(), None, "the agent has ended");
    // It answers, and is online at the bridge that said all that.
    let status = deceived.status().unwrap();
    assert_eq!(status["link"]["state"], "Online", "{status}");
    deceived.stop().unwrap();
}
