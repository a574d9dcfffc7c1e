//! A hostile broker between the bridge and a real agent: forged, replayed, expired, strangers' and rolled-back
//! frames, acknowledgements among them, under clocks that are wrong. Nothing runs, nothing is forgotten.
//! Never a frame that the real bridge could have sent just then, but for one that shows that frames arrive.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and looks for one packet among all"
)]

#[path = "support/impostor.rs"]
mod impostor;
#[path = "support/wire.rs"]
mod wire;

use holdfast_bridge::pki::Root;
use holdfast_e2e::commands::{self, Gate, Marks, text};
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{Agent, AgentOptions, Node, PATIENCE, Random, World, cases, say, until};
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{Ack, Cancel, Command, Down};
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Hello;
use holdfast_protocol::{CommandId, NodeId};
use impostor::{Impostor, serve, signing_key, unix_ms};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rumqttc::mqttbytes::v4::Packet;
use serde_json::Value;
use std::collections::BTreeMap;
use wire::{Wire, publish};

/// Results that wait in the agent while it is lied to.
const WAITING: usize = 10;
/// Frames on one connection: the next one has the bridge's clock wrong in another way.
const FRAMES_A_CONNECTION: usize = 100;
const DAY_MS: u64 = 86_400_000;

/// What is wrong with a frame.
const LIES: [&str; 9] = [
    "unsigned",
    "signature damaged",
    "sealed by a stranger",
    "key certified by a stranger",
    "older signing key",
    "for another node",
    "for another life of the outbox",
    "counter not above the last",
    "sent again",
];

fn fresh_key() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap()
}

/// Sealers of every kind that an agent must not trust.
struct Hostile {
    bridge: Impostor,
    stranger: Sealer,
    uncertified: Sealer,
    older: Sealer,
    session: Option<(Wire, Hello)>,
    said: usize,
    connections: usize,
    packet: u16,
    /// Frames that were good once.
    spent: Vec<(Topic, Vec<u8>)>,
    by_lie: BTreeMap<&'static str, usize>,
}

impl Hostile {
    fn new(state_dir: &std::path::Path, node: NodeId) -> Self {
        let (serial, real) = signing_key(state_dir);
        let root = Root::open_or_create(state_dir).unwrap();
        let certified = root.certify_signing_key(serial, public(&real));
        let (stranger, older, own_root) = (fresh_key(), fresh_key(), fresh_key());
        let foreign = KeyCertificate::issue(&own_root, serial + 1, public(&stranger));
        let before = root.certify_signing_key(serial - 1, public(&older));
        Self {
            bridge: Impostor::new(state_dir, node),
            stranger: Sealer::new(fresh_key(), certified),
            uncertified: Sealer::new(stranger, foreign),
            older: Sealer::new(older, before),
            session: None,
            said: 0,
            connections: 0,
            packet: 0,
            spent: Vec::new(),
            by_lie: BTreeMap::new(),
        }
    }

    /// The clock in the next reply to a hello: right, 20 years behind, 1970, or a little ahead.
    fn wind_clock(&mut self) {
        self.connections += 1;
        self.bridge.clock = match self.connections % 4 {
            0 => Some(unix_ms() - 20 * 365 * DAY_MS),
            1 => Some(0),
            2 => Some(unix_ms() + DAY_MS),
            _ => None,
        };
    }

    /// Says it and waits until the agent has taken it; `false` when the agent closed.
    fn say(&mut self, topic: Topic, frame: Vec<u8>) -> bool {
        let Some((mut wire, hello)) = self.session.take() else {
            return false;
        };
        self.packet = self.packet % 1000 + 10;
        if wire
            .send(&publish(&topic.to_string(), self.packet, frame))
            .is_none()
        {
            return false;
        }
        while let Some(packet) = wire.receive() {
            if matches!(&packet, Packet::PubAck(ack) if ack.pkid == self.packet) {
                self.session = Some((wire, hello));
                return true;
            }
            let _ = serve(&mut wire, &packet);
        }
        false
    }

    fn hello(&mut self) -> Hello {
        if self.said.is_multiple_of(FRAMES_A_CONNECTION) {
            self.session = None;
        }
        if self.session.is_none() {
            self.wind_clock();
            self.session = Some(self.bridge.accept());
        }
        self.session.as_ref().unwrap().1.clone()
    }

    fn topic(&self, down: &Down) -> Topic {
        match down {
            Down::Command(_) => Topic::Command(self.bridge.node),
            _ => Topic::Control(self.bridge.node),
        }
    }

    /// One lie around a message that would do harm.
    fn lie(&mut self, random: &mut Random, script: &str) {
        let hello = self.hello();
        let down = harmful(random, &hello, script);
        let lie = *random.of_these(&LIES).unwrap();
        let topic = self.topic(&down);
        self.bridge.counter += 1;
        let (own, counter) = (self.bridge.address(&hello), self.bridge.counter);
        let seal = |sealer: &Sealer, address: &Address, counter: u64, certified: bool| {
            sealer.seal(address, counter, certified, &down).unwrap()
        };
        let good = || seal(&self.bridge.sealer, &own, counter, false);
        let elsewhere = |address: Address| seal(&self.bridge.sealer, &address, counter, false);
        let (topic, frame) = match lie {
            "unsigned" => {
                let mut frame = good();
                frame[1] &= !2;
                (topic, frame)
            }
            "signature damaged" => {
                let mut frame = good();
                let at = frame.len() - 1 - random.below(60);
                frame[at] ^= 1 << random.below(8);
                (topic, frame)
            }
            "sealed by a stranger" => (topic, seal(&self.stranger, &own, counter, false)),
            "key certified by a stranger" => (topic, seal(&self.uncertified, &own, counter, true)),
            "older signing key" => (topic, seal(&self.older, &own, counter, true)),
            "for another node" => {
                let node: NodeId = "mi-0123456789abcdef0".parse().unwrap();
                (topic, elsewhere(Address { node, ..own }))
            }
            "for another life of the outbox" => {
                let mut outbox = own.outbox;
                outbox.0 ^= 1 << random.below(32);
                (topic, elsewhere(Address { outbox, ..own }))
            }
            "counter not above the last" => {
                let stale = (1_u64 << 40) - 1 - random.below(1000) as u64;
                (topic, seal(&self.bridge.sealer, &own, stale, false))
            }
            _ => match random.of_these(&self.spent) {
                Some((topic, frame)) => (*topic, frame.clone()),
                None => (topic, good_but_stale(&self.bridge, &own, &down)),
            },
        };
        self.said += 1;
        *self.by_lie.entry(lie).or_default() += 1;
        self.say(topic, frame);
    }

    /// A command under a proper seal whose time has passed.
    fn expired(&mut self, random: &mut Random, script: &str) {
        let hello = self.hello();
        // By a clock that an hour's lead of the bridge's own would not turn round.
        let late = unix_ms() - 2 * DAY_MS - random.below(1 << 30) as u64;
        let down = Down::Command(Box::new(command(random, script, late)));
        self.said += 1;
        *self.by_lie.entry("expired").or_default() += 1;
        let frame = self.sealed(&hello, &down);
        let topic = self.topic(&down);
        self.say(topic, frame);
    }

    /// An acknowledgement of more than was ever sent, under a proper seal.
    fn above(&mut self, random: &mut Random) {
        let hello = self.hello();
        let acks = hello
            .streams
            .map(|_| u64::MAX - random.below(1 << 20) as u64);
        self.said += 1;
        *self
            .by_lie
            .entry("acknowledges what was not sent")
            .or_default() += 1;
        let frame = self.sealed(&hello, &Down::Ack(Ack { acks }));
        self.say(Topic::Control(self.bridge.node), frame);
    }

    fn sealed(&mut self, hello: &Hello, down: &Down) -> Vec<u8> {
        self.bridge.counter += 1;
        let address = self.bridge.address(hello);
        let sealer = &self.bridge.sealer;
        sealer
            .seal(&address, self.bridge.counter, false, down)
            .unwrap()
    }

    /// What the real bridge would say: it shows that frames arrive, and is sent again later.
    fn truth(&mut self, down: &Down) {
        loop {
            let hello = self.hello();
            let frame = self.sealed(&hello, down);
            let topic = self.topic(down);
            if self.say(topic, frame.clone()) {
                self.spent.push((topic, frame));
                return;
            }
        }
    }
}

fn good_but_stale(bridge: &Impostor, own: &Address, down: &Down) -> Vec<u8> {
    bridge.sealer.seal(own, 1, false, down).unwrap()
}

fn command(random: &mut Random, script: &str, expires_unix_ms: u64) -> Command {
    let line = serde_json::to_string(script).unwrap();
    let content = format!(
        r#"{{"schemaVersion": "2.2", "mainSteps": [{{"action": "aws:runShellScript", "name": "s", "inputs": {{"runCommand": [{line}]}}}}]}}"#
    );
    let sha = digest::digest(&digest::SHA256, content.as_bytes());
    let (high, low) = (random.number() >> 16, random.number() & 0xffff_ffff_ffff);
    let id = format!(
        "{:08x}-{:04x}-4000-8000-{low:012x}",
        high >> 16,
        high & 0xffff
    );
    Command {
        id: id.parse::<CommandId>().unwrap(),
        document_name: Text::cut("Hostile"),
        document_version: Text::cut("1"),
        content: Text::cut(&content),
        content_sha256: sha.as_ref().try_into().unwrap(),
        parameters: List::default(),
        expires_unix_ms,
        operator: None,
    }
}

/// What would do harm if it were believed: a command that runs, an acknowledgement of all that waits, a
/// cancel.
fn harmful(random: &mut Random, hello: &Hello, script: &str) -> Down {
    match random.below(5) {
        0 | 1 => Down::Command(Box::new(command(random, script, unix_ms() + DAY_MS))),
        2 | 3 => Down::Ack(Ack {
            acks: hello.streams.map(|stream| stream.head),
        }),
        _ => Down::Cancel(Cancel {
            command: command(random, script, 0).id,
        }),
    }
}

/// Results of the real bridge's commands that ended while the link was cut: they wait.
fn results_wait(world: &World, node: &mut Node) -> Vec<String> {
    let gate = Gate::at(&world.path("gate"));
    let marks = Marks::at(world.path("real"));
    let sent: Vec<String> = (0..WAITING)
        .map(|number| {
            let script = format!("{}; {}", gate.line(), marks.line(&number.to_string()));
            commands::send_script(&world.api, &[&node.id], &script, &Value::Null).unwrap()
        })
        .collect();
    until("the agent holds every command", PATIENCE, || {
        let status = node.agent.status()?;
        let held = status["commands"].as_array().map_or(0, Vec::len);
        Ok((held == WAITING).then_some(()))
    })
    .unwrap();
    world.link.cut();
    gate.open().unwrap();
    until("all results wait", PATIENCE, || {
        let status = node.agent.status()?;
        let all_ended = status["commands"].as_array().is_some_and(Vec::is_empty);
        Ok((all_ended && waiting(&status) >= WAITING as u64).then_some(()))
    })
    .unwrap();
    node.agent.stop().unwrap();
    sent
}

/// Results that the agent keeps until the bridge has acknowledged them.
fn waiting(status: &Value) -> u64 {
    status["queues"][0]["records"].as_u64().unwrap()
}

#[test]
fn hostile_frames_under_wrong_clocks_run_nothing_and_make_nothing_forgotten() {
    let count = cases(1_000, 10_000);
    let test = "hostile_frames_under_wrong_clocks_run_nothing_and_make_nothing_forgotten";
    let mut random = Random::of(test);
    let world = World::start().unwrap();
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    let sent = results_wait(&world, &mut node);
    let mut hostile = Hostile::new(world.bridge.state_dir(), node.id.parse().unwrap());
    let options = AgentOptions {
        more: vec!["--bridge".into(), hostile.bridge.url()],
        log: Some(world.path("deceived.log")),
        ..AgentOptions::default()
    };
    let mut deceived = Agent::new(&world.binaries, node.agent.state_dir(), options);
    let before = waiting(&deceived.status().unwrap());
    deceived.start().unwrap();
    let (evil, good) = (Marks::at(world.path("evil")), Marks::at(world.path("good")));
    let script = evil.line("ran");
    let truth = Down::Command(Box::new(command(
        &mut random,
        &good.line("ran"),
        unix_ms() + 3650 * DAY_MS,
    )));
    hostile.truth(&truth);
    until("what is true runs", PATIENCE, || {
        Ok((good.all()?.len() == 1).then_some(()))
    })
    .unwrap();
    while hostile.said < count {
        match random.below(20) {
            // Nobody acknowledges their results here: there must be fewer than a node remembers (1,024),
            // or it answers that it is full, also to what is true.
            0 => hostile.expired(&mut random, &script),
            1 | 2 => hostile.above(&mut random),
            _ => hostile.lie(&mut random, &script),
        }
    }
    say(format!(
        "{count} hostile frames on {} connections: {:?}",
        hostile.connections, hostile.by_lie
    ));
    let last = Down::Command(Box::new(command(
        &mut random,
        &good.line("last"),
        unix_ms() + 3650 * DAY_MS,
    )));
    hostile.truth(&last);
    until("it still takes what is true", PATIENCE, || {
        Ok((good.all()?.len() >= 2).then_some(()))
    })
    .unwrap();
    let after = waiting(&deceived.status().unwrap());
    deceived.stop().unwrap();
    drop(hostile);
    let executed = evil.all().unwrap().len() + good.all().unwrap().len() - 2;
    // The two true commands have left results besides.
    let forgotten = before.saturating_sub(after);
    world.link.restore();
    node.agent.start().unwrap();
    let mut lost = 0;
    for command in &sent {
        let ended = commands::finished(&world.api, command, &node.id).unwrap();
        lost += usize::from(text(&ended, "Status") != "Success");
    }
    let none = Bound::Exactly(0.0);
    figures::record("hostile frames", count as f64, "", Bound::None);
    figures::record("of them executed", executed as f64, "", none);
    figures::record(
        "records forgotten",
        forgotten as f64 + lost as f64,
        "",
        none,
    );
    assert_eq!((executed, forgotten, lost), (0, 0, 0));
}
