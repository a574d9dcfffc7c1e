//! A shell for tests: a journal in memory, a bridge's pen, and a clock that stands still until it is moved.
//! Never decides anything that a real shell would not.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part of this one"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "what is not as a test expects must end the test"
)]

use holdfast_agent_core::LedgerDamage;
use holdfast_agent_core::{
    Attempt, CertificateLife, Config, Core, Delivery, Effect, Entry, Input, Intervals, Limits,
    Monotonic, PersistRefusal, Restored, StoreOp, StreamFigures, Ticket, Write,
};
use holdfast_documents::DocumentHash;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{Ack, Command, Down, HelloReply};
use holdfast_protocol::enrol::public_key;
use holdfast_protocol::frame::Raw;
use holdfast_protocol::limits::{CERTIFICATES_END_UNIX_MS, REVISION};
use holdfast_protocol::report::TypeName;
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Class, Hello, Platform, Record, Up};
use holdfast_protocol::{CommandId, NodeId, OutboxId};
use ring::signature::Ed25519KeyPair;
use std::collections::{BTreeMap, VecDeque};

pub const BUILT: u64 = 1_700_000_000_000;
pub const NOW: u64 = BUILT + 86_400_000;
pub const DAY: u64 = 86_400_000;
pub const CAP: u64 = 16 << 20;

pub fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

pub fn id(n: u8) -> CommandId {
    CommandId::from_random([n; 16])
}

/// A document with a step for each of these options, all `aws:runShellScript`.
pub fn document(steps: &[&str]) -> String {
    let steps: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(at, options)| {
            let comma = if options.is_empty() { "" } else { "," };
            format!(
                r#"{{"action":"aws:runShellScript","name":"step{at}","inputs":{{"runCommand":["true"],"timeoutSeconds":"60"}}{comma}{options}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":"2.2","description":"","mainSteps":[{}]}}"#,
        steps.join(",")
    )
}

pub fn command(n: u8, content: &str) -> Command {
    Command {
        id: id(n),
        document_name: Text::cut("test"),
        document_version: Text::cut("1"),
        content: Text::new(content).unwrap(),
        content_sha256: *DocumentHash::of(content.as_bytes()).as_bytes(),
        parameters: List::default(),
        expires_unix_ms: NOW + 3_600_000,
        operator: None,
    }
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub ledger: BTreeMap<String, Vec<u8>>,
    pub streams: [Vec<Vec<u8>>; 4],
    pub released: [u64; 4],
    pub cap_bytes: [u64; 4],
    /// What the medium damaged, told at each start.
    pub damage: LedgerDamage,
    /// What the last process wrote at the end may still be lost with the power.
    pub unsecured: bool,
    /// The journal cannot say which sequences it has given out.
    pub sequences_lost: bool,
    /// Checkpoints asked for.
    pub checkpoints: u32,
}

impl Disk {
    pub fn new() -> Self {
        Self {
            cap_bytes: [CAP; 4],
            ..Self::default()
        }
    }

    pub fn figures(&self) -> [StreamFigures; 4] {
        let mut figures = [StreamFigures::default(); 4];
        for (class, figures) in figures.iter_mut().enumerate() {
            let released = self.released[class];
            let records = &self.streams[class][released as usize..];
            *figures = StreamFigures {
                head: self.streams[class].len() as u64,
                released,
                used_bytes: records.iter().map(|record| record.len() as u64 + 28).sum(),
                reserved_bytes: 0,
                cap_bytes: self.cap_bytes[class],
                records: records.len() as u64,
                lost: 0,
            };
        }
        figures
    }

    pub fn records(&self, class: Class) -> Vec<Record> {
        let stream = &self.streams[class.index()];
        stream
            .iter()
            .map(|stored| Record::from_stored(stored).unwrap())
            .collect()
    }
}

pub struct Node {
    pub core: Core,
    pub disk: Disk,
    pub now: Monotonic,
    pub boot: u8,
    pub sealer: Sealer,
    pub counter: u64,
    pub outbox: OutboxId,
    /// Effects that the harness does not perform by itself.
    pub seen: Vec<Effect>,
    /// Frames published, with their topics.
    pub sent: Vec<(Topic, Up)>,
    /// Revision of each of them.
    pub written_as: Vec<u16>,
    /// Writes wait here while `hold` is set.
    pub writes: VecDeque<(Ticket, Vec<Write>)>,
    pub hold: bool,
    pub attempt: Option<Attempt>,
    pub packets: u16,
    pub limits: Limits,
    /// Whether steps of the last process cannot be ended until the test says so.
    pub remains: bool,
    /// Newest that the bridge reads.
    pub revision: u16,
}

pub fn node_id() -> NodeId {
    NodeId::from_random([7; 9])
}

pub fn config(limits: Limits) -> Config {
    Config {
        node: node_id(),
        root: public_key(&pair(1)).unwrap(),
        bridges: 2,
        certificate: CertificateLife {
            issued_unix_ms: NOW - DAY,
            expires_unix_ms: NOW + 29 * DAY,
        },
        agent_version: heapless::String::try_from("0.1.0").unwrap(),
        platform: Platform::default(),
        document_platform: holdfast_documents::Platform::Linux,
        built_unix_ms: BUILT,
        registered_unix_ms: BUILT,
        limits,
        intervals: Intervals::default(),
    }
}

pub fn restore(disk: &Disk, boot: u8, now: Monotonic, limits: Limits) -> Core {
    let ledger = disk.ledger.iter();
    let restored = Restored {
        ledger: ledger
            .filter(|(key, _)| holdfast_agent_core::is_restored(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        streams: disk.figures(),
        secured: !disk.unsecured,
        boot_id: [boot; 16],
        random: [boot; 32],
        sequences_lost: disk.sequences_lost,
        damage: disk.damage.clone(),
        now,
    };
    Core::restore(config(limits), restored).unwrap()
}

/// A connection to a bridge whose certificate has no end, as the bridge makes it.
pub fn connected(attempt: Attempt, random: [u8; 32]) -> Input {
    Input::Connected {
        attempt,
        random,
        bridge_expires_unix_ms: CERTIFICATES_END_UNIX_MS,
    }
}

impl Node {
    /// A fresh node, started, nothing connected.
    pub fn new() -> Self {
        Self::on(Disk::new(), 1, Monotonic(1_000), Limits::default())
    }

    pub fn on(disk: Disk, boot: u8, now: Monotonic, limits: Limits) -> Self {
        let signing = pair(2);
        let certificate = KeyCertificate::issue(&pair(1), 1, public_key(&signing).unwrap());
        let mut node = Self {
            core: restore(&disk, boot, now, limits),
            disk,
            now,
            boot,
            sealer: Sealer::new(signing, certificate),
            counter: 0,
            outbox: OutboxId(0),
            seen: Vec::new(),
            sent: Vec::new(),
            written_as: Vec::new(),
            writes: VecDeque::new(),
            hold: false,
            attempt: None,
            packets: 0,
            limits,
            remains: false,
            revision: REVISION,
        };
        node.perform();
        node
    }

    /// Accepted by the bridge, streams open.
    pub fn online() -> Self {
        let mut node = Self::new();
        node.connect();
        node.accept_hello([0; 4]);
        node
    }

    pub fn step(&mut self, input: Input) {
        self.core.step(self.now, input);
        self.perform();
    }

    /// Performs what needs no decision of the test.
    pub fn perform(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Store(StoreOp::Persist { ticket, writes }) => {
                    self.writes.push_back((ticket, writes))
                }
                Effect::Store(StoreOp::Release { class, up_to }) => {
                    self.disk.released[class.index()] = up_to;
                    let streams = self.disk.figures();
                    self.core.step(self.now, Input::Released { streams });
                }
                Effect::Store(StoreOp::Read {
                    class,
                    from,
                    up_to,
                    max_records,
                    ..
                }) => {
                    let stream = &self.disk.streams[class.index()];
                    let entries = (from..=up_to)
                        .take(max_records)
                        .map(|sequence| Entry::Record {
                            sequence,
                            stored: stream[sequence as usize - 1].clone(),
                        })
                        .collect();
                    let input = Input::Records {
                        class,
                        from,
                        entries,
                    };
                    self.core.step(self.now, input);
                }
                Effect::Store(StoreOp::Checkpoint) => self.disk.checkpoints += 1,
                Effect::Store(StoreOp::Load { key }) => {
                    let value = self.disk.ledger.get(&key).cloned();
                    self.core.step(self.now, Input::Loaded { key, value });
                }
                Effect::Send { topic, frame, .. } => {
                    self.written_as.push(Raw::read(&frame).unwrap().revision);
                    self.sent.push((topic, Up::decode(&frame).unwrap()));
                }
                Effect::EndRemains if self.remains => {}
                Effect::EndRemains => self.core.step(self.now, Input::RemainsEnded),
                other => self.seen.push(other),
            }
            if !self.hold {
                self.persist();
            }
        }
    }

    /// Makes the oldest waiting write durable.
    pub fn persist_one(&mut self) {
        if let Some((ticket, writes)) = self.writes.pop_front() {
            let appended = self.write(writes);
            let streams = self.disk.figures();
            self.step(Input::Persisted {
                ticket,
                appended,
                streams,
            });
        }
    }

    /// The power fails in the oldest waiting write: its streams are durable, its ledger is not.
    pub fn tear(&mut self) {
        if let Some((_, mut writes)) = self.writes.pop_front() {
            writes.retain(|write| matches!(write, Write::Append { .. }));
            self.write(writes);
        }
    }

    /// Makes every waiting write durable.
    pub fn persist(&mut self) {
        while let Some((ticket, writes)) = self.writes.pop_front() {
            let appended = self.write(writes);
            let input = Input::Persisted {
                ticket,
                appended,
                streams: self.disk.figures(),
            };
            self.core.step(self.now, input);
        }
    }

    pub fn let_go(&mut self) {
        self.hold = false;
        self.persist();
        self.perform();
    }

    fn write(&mut self, writes: Vec<Write>) -> Vec<u64> {
        let mut appended = Vec::new();
        for write in writes {
            match write {
                Write::Put { key, value } => {
                    assert!(key.len() <= 64 && value.len() <= 256 << 10);
                    self.disk.ledger.insert(key, value);
                }
                Write::Remove { key } => {
                    self.disk.ledger.remove(&key);
                }
                Write::Append { class, stored, .. } => {
                    self.disk.streams[class.index()].push(stored);
                    appended.push(self.disk.streams[class.index()].len() as u64);
                }
                Write::Reserve { .. } | Write::Unreserve { .. } => {}
            }
        }
        appended
    }

    /// Refuses the oldest waiting write.
    pub fn refuse(&mut self, why: PersistRefusal) {
        let (ticket, _) = self.writes.pop_front().unwrap();
        self.step(Input::PersistFailed { ticket, why });
    }

    /// The process dies: what was not durable is gone. `boot`: the machine with it.
    pub fn crash(&mut self, boot: bool) {
        self.fall(boot, false);
    }

    /// The machine goes down and comes up with a disk that takes nothing until it is let go.
    pub fn boot_held(&mut self) {
        self.fall(true, true);
    }

    fn fall(&mut self, boot: bool, hold: bool) {
        if boot {
            self.boot += 1;
            self.now = Monotonic(500);
        }
        self.writes.clear();
        self.seen.clear();
        self.hold = hold;
        self.attempt = None;
        self.core = restore(&self.disk, self.boot, self.now, self.limits);
        self.perform();
    }

    pub fn wait(&mut self, ms: u64) {
        let end = self.now.after(ms);
        let mut ticks = 0;
        while let Some(at) = self.core.next_deadline().filter(|at| *at <= end) {
            assert!(
                at > self.now || ticks < 100,
                "the deadline stands still at {at:?}"
            );
            ticks += 1;
            self.now = self.now.max(at);
            self.step(Input::Tick);
        }
        self.now = end;
        self.step(Input::Tick);
    }

    /// The newest attempt to connect succeeds; the hello is out.
    pub fn connect(&mut self) -> Hello {
        self.wait(1);
        let attempt = self.connecting().expect("no attempt to connect");
        self.attempt = Some(attempt);
        let random = [self.counter as u8; 32];
        self.step(connected(attempt, random));
        self.hello()
    }

    /// As [`Self::connect`], after the pause that follows a lost connection.
    pub fn connect_again(&mut self) -> Hello {
        self.wait(2_000);
        self.connect()
    }

    pub fn connecting(&mut self) -> Option<Attempt> {
        let is_connect = |effect: &Effect| matches!(effect, Effect::Connect { .. });
        let at = self.seen.iter().position(is_connect)?;
        match self.seen.remove(at) {
            Effect::Connect { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    pub fn hello(&mut self) -> Hello {
        let hello = self.sent.iter().rev().find_map(|(_, up)| match up {
            Up::Hello(hello) => Some((**hello).clone()),
            _ => None,
        });
        let hello = hello.expect("no hello");
        self.outbox = hello.outbox;
        self.counter = self.counter.max(hello.counter);
        hello
    }

    pub fn accept_hello(&mut self, acks: [u64; 4]) {
        let reply = self.hello_reply(acks, self.now.0 + NOW - 1_000);
        self.receive(&Down::HelloReply(reply));
    }

    pub fn hello_reply(&mut self, acks: [u64; 4], unix_ms: u64) -> HelloReply {
        HelloReply {
            nonce: self.hello().nonce,
            unix_ms,
            revision: self.revision,
            token: holdfast_protocol::up::Token::new(vec![self.counter as u8; 8]).unwrap(),
            acks,
            resync: List::default(),
        }
    }

    /// Seals a message under the next counter and delivers it.
    pub fn receive(&mut self, down: &Down) -> Delivery {
        self.counter += 1;
        self.receive_under(self.counter, down)
    }

    pub fn receive_under(&mut self, counter: u64, down: &Down) -> Delivery {
        let address = Address {
            node: node_id(),
            outbox: self.outbox,
        };
        let frame = self.sealer.seal(&address, counter, true, down).unwrap();
        self.deliver(frame, matches!(down, Down::Command(_)))
    }

    pub fn deliver(&mut self, frame: Vec<u8>, is_command: bool) -> Delivery {
        self.packets += 1;
        let delivery = Delivery {
            attempt: self.attempt.unwrap(),
            packet: self.packets,
        };
        let topic = if is_command {
            Topic::Command(node_id())
        } else {
            Topic::Control(node_id())
        };
        self.step(Input::Received {
            delivery,
            topic,
            frame,
        });
        delivery
    }

    pub fn send_command(&mut self, command: Command) -> Delivery {
        self.receive(&Down::Command(Box::new(command)))
    }

    /// Acknowledges all that is durable.
    pub fn acknowledge(&mut self) {
        let acks = self.disk.figures().map(|figures| figures.head);
        self.receive(&Down::Ack(Ack { acks }));
    }

    pub fn disconnect(&mut self, fault: holdfast_agent_core::LinkFault) {
        let attempt = self.attempt.take().unwrap();
        self.step(Input::Disconnected {
            attempt,
            fault,
            why: "test".into(),
        });
    }

    /// Whether the publish was acknowledged on the transport.
    pub fn is_acked(&self, delivery: Delivery) -> bool {
        self.seen.contains(&Effect::AckTransport { delivery })
    }

    /// Steps begun, in order.
    pub fn runs(&self) -> Vec<(CommandId, u8)> {
        let run = |effect: &Effect| match effect {
            Effect::Run(run) => Some((run.command, run.step)),
            _ => None,
        };
        self.seen.iter().filter_map(run).collect()
    }

    pub fn answers(&self) -> Vec<holdfast_protocol::up::Answer> {
        let answer = |(_, up): &(Topic, Up)| match up {
            Up::Answer(answer) => Some(*answer),
            _ => None,
        };
        self.sent.iter().filter_map(answer).collect()
    }

    pub fn end(&mut self, n: u8, step: u8, code: i32) {
        self.step(Input::StepEnded {
            command: id(n),
            step,
            end: holdfast_agent_core::StepEnd {
                exit: holdfast_agent_core::StepExit::Code(code),
                stdout_bytes: 0,
                stderr_bytes: 0,
            },
        });
    }

    /// Updates of a command in stream *result*, in order.
    pub fn updates(&self, n: u8) -> Vec<holdfast_protocol::up::InvocationUpdate> {
        let update = |record| match record {
            Record::Invocation(update) if update.command == id(n) => Some(update),
            _ => None,
        };
        let records = self.disk.records(Class::Result);
        records.into_iter().filter_map(update).collect()
    }

    pub fn states(&self, n: u8) -> Vec<holdfast_protocol::up::InvocationState> {
        self.updates(n).iter().map(|update| update.state).collect()
    }

    /// Records sent of a class, by sequence.
    pub fn sequences(&self, class: Class) -> Vec<u64> {
        let record = |(topic, up): &(Topic, Up)| match up {
            Up::Record { sequence, .. } if *topic == Topic::Stream(node_id(), class) => {
                Some(*sequence)
            }
            _ => None,
        };
        self.sent.iter().filter_map(record).collect()
    }
}

pub fn type_name(name: &str) -> TypeName {
    TypeName::try_from(name).unwrap()
}
