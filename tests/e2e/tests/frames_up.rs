//! Mutated frames from a node with a valid certificate, over a real TLS connection to the real bridge.
//! Never lets a mutation be the only thing that is wrong with a session: hello and sequences are right.
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

use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{AgentOptions, Random, World, cases, mutate, resident_bytes, say};
use holdfast_protocol::bounded::{Bytes, List, Text};
use holdfast_protocol::down::{Down, HelloRefusalReason};
use holdfast_protocol::report::{Content, Report, Table};
use holdfast_protocol::seal::{Address, Opener};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{
    Answer, Class, Event, Gap, GapReason, Hello, InvocationState, InvocationUpdate, OutputChunk,
    OutputStream, Platform, Presence, Record, Stamp, StepResult, StepState, StreamHead, Token, Up,
};
use holdfast_protocol::{CommandId, OutboxId};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Subscribe};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use wire::{Wire, publish};

const MEBIBYTE: u64 = 1 << 20;
const GROWTH_MAX: u64 = 8 * MEBIBYTE;
const STAMP: Stamp = Stamp {
    boot: 1,
    uptime_ms: 5_000,
    unix_ms: None,
};

/// What `register` left in a state directory.
struct Identity {
    node: holdfast_protocol::NodeId,
    root: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    fn read(state_dir: &std::path::Path) -> Self {
        let text = std::fs::read(state_dir.join("identity.json")).unwrap();
        let json: Value = serde_json::from_slice(&text).unwrap();
        let bytes = |member: &str| hex::decode(json[member].as_str().unwrap()).unwrap();
        Self {
            node: json["node"].as_str().unwrap().parse().unwrap(),
            root: bytes("root_der"),
            certificate: bytes("certificate_der"),
            key: bytes("key_pkcs8"),
        }
    }

    /// Connects as this node.
    fn dial(&self, bridge: SocketAddr) -> Wire {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.root.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from(self.certificate.clone())],
                PrivatePkcs8KeyDer::from(self.key.clone()).into(),
            )
            .unwrap();
        let name = ServerName::try_from("holdfast-bridge").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(bridge).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Wire::over(StreamOwned::new(session, tcp))
    }
}

/// A node that greets properly and then says anything.
struct Impostor<'a> {
    world: &'a World,
    identity: Identity,
    address: Address,
    opener: Opener,
    token: Option<Token>,
    sequences: [u64; 4],
    wire: Option<Wire>,
    packet: u16,
    connections: usize,
    releases: usize,
}

impl<'a> Impostor<'a> {
    fn new(world: &'a World, identity: Identity, root: [u8; 32]) -> Self {
        let address = Address {
            node: identity.node,
            outbox: OutboxId(77),
        };
        Self {
            world,
            identity,
            address,
            opener: Opener::new(root, 0),
            token: None,
            sequences: [0; 4],
            wire: None,
            packet: 0,
            connections: 0,
            releases: 0,
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            agent_version: "0.1.0".try_into().unwrap(),
            revisions: (1, 1),
            stamp: STAMP,
            outbox: self.address.outbox,
            streams: self.sequences.map(|head| StreamHead { head, acked: 0 }),
            counter: 0,
            signing_serial: 0,
            token: self.token.clone(),
            nonce: [9; 16],
            bases: List::default(),
            platform: Platform::default(),
        }
    }

    /// Connects and greets until the bridge accepts; a node that a mutated hello has put into
    /// quarantine is released first.
    fn greet(&mut self) -> Wire {
        loop {
            self.connections += 1;
            let mut wire = self.identity.dial(self.world.bridge.mqtt);
            let node = self.identity.node;
            wire.send(&Packet::Connect(Connect::new(node.as_str())));
            assert!(
                matches!(wire.receive(), Some(Packet::ConnAck(_))),
                "no CONNACK"
            );
            for (packet, topic) in [(1, Topic::Control(node)), (2, Topic::Command(node))] {
                let mut subscribe = Subscribe::new(topic.to_string(), QoS::AtLeastOnce);
                subscribe.pkid = packet;
                wire.send(&Packet::Subscribe(subscribe));
                assert!(
                    matches!(wire.receive(), Some(Packet::SubAck(_))),
                    "no SUBACK"
                );
            }
            let hello = Up::Hello(Box::new(self.hello())).encode().unwrap();
            wire.send(&publish(&Topic::Hello(node).to_string(), 3, hello));
            let reply = loop {
                let packet = wire.receive().expect("a reply to a proper hello");
                if let Packet::Publish(publish) = packet {
                    break publish;
                }
            };
            let opened = self.opener.open(&self.address, &reply.payload).unwrap();
            match opened.down {
                Down::HelloReply(accepted) => {
                    self.token = Some(accepted.token);
                    for (sequence, ack) in self.sequences.iter_mut().zip(accepted.acks) {
                        *sequence = (*sequence).max(ack);
                    }
                    return wire;
                }
                Down::HelloRefusal(refusal) => {
                    assert_eq!(
                        refusal.reason,
                        HelloRefusalReason::Quarantined,
                        "{refusal:?}"
                    );
                    let verb = ["node", "release", node.as_str()];
                    self.world.bridge.verb(&verb).unwrap().success().unwrap();
                    self.releases += 1;
                    self.token = None;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Publishes one frame and waits until the bridge has taken it or closed the connection.
    fn say(&mut self, topic: &str, frame: Vec<u8>) {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.greet(),
        };
        self.packet = self.packet % 1000 + 10;
        if wire.send(&publish(topic, self.packet, frame)).is_none() {
            return;
        }
        while let Some(packet) = wire.receive() {
            if matches!(&packet, Packet::PubAck(ack) if ack.pkid == self.packet) {
                self.wire = Some(wire);
                return;
            }
        }
    }

    /// One valid frame of each kind, with its topic.
    fn valid(&self) -> Vec<(String, Vec<u8>)> {
        let node = self.identity.node;
        let mut frames = vec![
            (Topic::Hello(node), Up::Hello(Box::new(self.hello()))),
            (
                Topic::Answer(node),
                Up::Answer(Answer::Known {
                    command: command(),
                    state: InvocationState::Success,
                }),
            ),
            (
                Topic::Presence(node),
                Up::Presence(Presence {
                    online: true,
                    connection: 3,
                }),
            ),
        ];
        for record in records() {
            let class = record.class().unwrap_or(Class::State);
            let up = Up::Record {
                outbox: self.address.outbox,
                sequence: self.sequences[class.index()] + 1,
                record: Box::new(record),
            };
            frames.push((Topic::Stream(node, class), up));
        }
        let encoded = frames.into_iter();
        encoded
            .map(|(topic, up)| (topic.to_string(), up.encode().unwrap()))
            .collect()
    }

    fn storm(&mut self, random: &mut Random, count: usize) {
        for _ in 0..count {
            let valid = self.valid();
            let frames: Vec<Vec<u8>> = valid.iter().map(|(_, frame)| frame.clone()).collect();
            // A hello that is refused for good would leave little else to see.
            let at = if random.below(40) == 0 {
                0
            } else {
                1 + random.below(valid.len() - 1)
            };
            let (topic, frame) = &valid[at];
            let mutated = mutate::bytes(random, frame, &frames);
            if let Ok(Up::Record {
                sequence, record, ..
            }) = Up::decode(&mutated)
                && let Some(class) = record.class()
                && sequence == self.sequences[class.index()] + 1
            {
                // It is still a record, and the next: the bridge may take it.
                self.sequences[class.index()] = sequence;
            }
            self.say(topic, mutated);
        }
    }
}

fn command() -> CommandId {
    "11111111-2222-4333-8444-555555555555".parse().unwrap()
}

fn records() -> Vec<Record> {
    let step = StepResult {
        name: Text::cut("step"),
        action: Text::cut("aws:runShellScript"),
        state: StepState::Success,
        exit_code: 0,
        started: Some(STAMP),
        ended: Some(STAMP),
        stdout_bytes: 10,
        stderr_bytes: 0,
        detail: Text::cut(""),
    };
    let update = InvocationUpdate {
        command: command(),
        state: InvocationState::Success,
        stamp: STAMP,
        steps: List::new(vec![step]).unwrap(),
        detail: Text::cut("detail"),
    };
    let chunk = OutputChunk {
        command: command(),
        step: 0,
        stream: OutputStream::Stdout,
        offset: 0,
        bytes: Bytes::new(vec![b'x'; 300]).unwrap(),
    };
    let event = Event {
        stamp: STAMP,
        name: "an-event".try_into().unwrap(),
        detail: Text::cut("what happened"),
    };
    let row = |name: &str| List::new(vec![Text::cut(name), Text::cut("1.0")]).unwrap();
    let table = Table::new(1, &["Name", "Version"], vec![row("a"), row("b")]).unwrap();
    let report = Report {
        type_name: "AWS:Application".try_into().unwrap(),
        captured: STAMP,
        content: Content::Whole(table),
    };
    vec![
        Record::Invocation(update),
        Record::Output(chunk),
        Record::Audit(event.clone()),
        Record::Log(event),
        Record::Report(report),
        Record::Gap(Gap {
            first: 1,
            reason: GapReason::Evicted,
        }),
    ]
}

#[test]
fn mutated_frames_leave_the_bridge_serving_and_no_larger() {
    let count = cases(3_000, 100_000);
    let mut random = Random::of("mutated_frames_leave_the_bridge_serving_and_no_larger");
    let world = World::start().unwrap();
    let mut nodes = world.nodes(2, &AgentOptions::default()).unwrap();
    let root = holdfast_bridge::pki::Root::open_or_create(world.bridge.state_dir()).unwrap();
    let identity = Identity::read(nodes[0].agent.state_dir());
    let mut impostor = Impostor::new(&world, identity, root.public_key());
    // What is mutated is right: the bridge takes it and the connection goes on.
    impostor.wire = Some(impostor.greet());
    for (topic, frame) in impostor.valid().into_iter().skip(1) {
        impostor.say(&topic, frame);
        assert!(
            impostor.wire.is_some(),
            "a valid frame on {topic} ended the connection"
        );
    }
    impostor.storm(&mut random, (count / 4).max(1000));
    let bridge = world.bridge.id();
    let before = resident_bytes(bridge).unwrap();
    impostor.storm(&mut random, count);
    let after = resident_bytes(bridge).unwrap();
    say(format!(
        "{count} mutated frames to the bridge: {} connections, {} quarantines; resident {:.1} MiB, then {:.1} MiB",
        impostor.connections,
        impostor.releases,
        before as f64 / MEBIBYTE as f64,
        after as f64 / MEBIBYTE as f64
    ));
    assert!(
        after.saturating_sub(before) < GROWTH_MAX,
        "{before} to {after} bytes"
    );
    // A real agent is served as if nothing had been.
    let node = &mut nodes[1];
    node.agent.start().unwrap();
    world.until_online(&node.id, true).unwrap();
    let command = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    let invocation = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&invocation, "Status"), "Success", "{invocation}");
}
