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

#[path = "support/impostor.rs"]
mod impostor;
#[path = "support/wire.rs"]
mod wire;

use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{AgentOptions, Node, Random, World, cases, mutate, resident_bytes, say};
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{
    Ack, Cancel, Command, Down, HelloRefusal, HelloRefusalReason, Resync, Rotation,
};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Hello;
use holdfast_protocol::{CommandId, NodeId};
use impostor::{Impostor, serve, signing_key, unix_ms};
use ring::signature::Ed25519KeyPair;
use rumqttc::mqttbytes::v4::Packet;
use wire::{Wire, publish};

const MEBIBYTE: u64 = 1 << 20;
const GROWTH_MAX: u64 = 8 * MEBIBYTE;
/// Bytes of a seal: serial and signature.
const SEAL_BYTES: usize = 4 + 64;

/// A bridge that greets properly and then says anything, under a proper seal.
struct Liar {
    bridge: Impostor,
    key: Ed25519KeyPair,
    serial: u32,
    session: Option<(Wire, Hello)>,
    connections: usize,
    packet: u16,
}

impl Liar {
    fn new(state_dir: &std::path::Path, node: NodeId) -> Self {
        let (serial, key) = signing_key(state_dir);
        Self {
            bridge: Impostor::new(state_dir, node),
            key,
            serial,
            session: None,
            connections: 0,
            packet: 0,
        }
    }

    fn accept(&mut self) -> (Wire, Hello) {
        self.connections += 1;
        self.bridge.accept()
    }

    /// Seals a mutated message and waits until the agent has taken it or closed.
    fn say(&mut self, random: &mut Random, at: usize) {
        let (mut wire, hello) = self.session.take().unwrap_or_else(|| self.accept());
        self.bridge.counter += 1;
        let bodies: Vec<_> = downs(&self.bridge, &hello)
            .iter()
            .map(|down| self.body(&hello, down))
            .collect();
        let down = &downs(&self.bridge, &hello)[at % bodies.len()];
        let (kind, body) = &bodies[at % bodies.len()];
        let others: Vec<Vec<u8>> = bodies.iter().map(|(_, body)| body.clone()).collect();
        let frame = self.seal(&hello, *kind, &mutate::bytes(random, body, &others));
        let topic = match down {
            Down::Command(_) => Topic::Command(self.bridge.node),
            _ => Topic::Control(self.bridge.node),
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
        let bridge = &self.bridge;
        let frame = bridge
            .sealer
            .seal(&bridge.address(hello), 1, false, down)
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
            self.bridge.node.as_str().as_bytes(),
            &hello.outbox.0.to_le_bytes(),
            &self.bridge.counter.to_le_bytes(),
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
        let mut counter = self.bridge.counter;
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

/// One valid message of each kind. The command's script is a comment, and its document is not what
/// its hash says: however it is damaged, nothing of it runs.
fn downs(bridge: &Impostor, hello: &Hello) -> Vec<Down> {
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
        bridge.reply(hello),
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
    let mut liar = Liar::new(world.bridge.state_dir(), node.id.parse().unwrap());
    let options = AgentOptions {
        more: vec!["--bridge".into(), liar.bridge.url()],
        ..AgentOptions::default()
    };
    let mut deceived = world.stranger("agent-1", options);
    deceived.start().unwrap();
    let mut storm = |count: usize| {
        for _ in 0..count {
            let at = random.below(64);
            liar.say(&mut random, at);
        }
    };
    storm((count / 4).max(1000));
    let agent = deceived.id().unwrap();
    let before = resident_bytes(agent).unwrap();
    storm(count);
    let after = resident_bytes(agent).unwrap();
    say(format!(
        "{count} mutated sealed frames to the agent: {} connections; resident {:.1} MiB, then {:.1} MiB",
        liar.connections,
        before as f64 / MEBIBYTE as f64,
        after as f64 / MEBIBYTE as f64
    ));
    let growth = after.saturating_sub(before) as f64 / MEBIBYTE as f64;
    let most = Bound::AtMost(GROWTH_MAX as f64 / MEBIBYTE as f64);
    figures::record("mutated sealed frames", count as f64, "", Bound::None);
    figures::record("the agent grew by", growth, "MiB", most);
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
