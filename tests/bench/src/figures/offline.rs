//! An hour without a link by an injected clock: the agent's core, a link with a round trip, a bridge's pen.
//! Never touches a clock or a socket: each run is its seed.

use crate::ground::Ground;
use crate::measure::{largest, median};
use crate::swarm::memory::Memory;
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result, ensure};
use holdfast_agent_core::{
    Attempt, CertificateLife, Config, Core, Delivery, Effect, Input, Intervals, Limits, LinkFault,
    Monotonic, Qos, Restored, Run, StepEnd, StepExit, StoreOp,
};
use holdfast_documents::library;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{Ack, Command, Down, HelloReply};
use holdfast_protocol::enrol::public_key;
use holdfast_protocol::limits::{CERTIFICATES_END_UNIX_MS, REVISION};
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{OutputStream, Platform, Token, Up};
use holdfast_protocol::{Class, CommandId, NodeId, OutboxId};
use ring::signature::Ed25519KeyPair;
use std::collections::BTreeMap;

const COMMANDS: u8 = 26;
const RECORDS: u64 = 100;
/// Length of the cut.
const CUT_MS: u64 = 3_600_000;
/// Round trip of the link once it is back: that of a mobile network.
const ROUND_TRIP_MS: u64 = 100;
/// A durable write, on either side.
const COMMIT_MS: u64 = 5;
/// When Linux sends a SYN again, after the first.
const SYN_AGAIN_MS: [u64; 3] = [0, 1_000, 3_000];
/// How long the shell gives TCP.
const TCP_LIMIT_MS: u64 = 4_000;
const UNIX_MS: u64 = 1_750_000_000_000;

/// What a link that is down does to a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhileDown {
    /// Somebody on the way refuses it at once.
    Refuses,
    /// It vanishes.
    Swallows,
}

struct World {
    core: Core,
    memory: Memory,
    now: u64,
    /// What will happen, by time and then in the order in which it was caused.
    events: BTreeMap<(u64, u64), Input>,
    caused: u64,
    node: NodeId,
    outbox: OutboxId,
    sealer: Sealer,
    counter: u64,
    attempt: Attempt,
    packet: u16,
    acked: [u64; 4],
    /// Steps that were begun and have not ended.
    running: Vec<Run>,
    /// When the link is down: from, to.
    down: (u64, u64),
    while_down: WhileDown,
}

fn pair(seed: u8) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).map_err(|why| anyhow::anyhow!("{why}"))
}

fn config(node: NodeId) -> Result<Config> {
    Ok(Config {
        node,
        root: public_key(&pair(1)?).context("the root's key")?,
        bridges: 1,
        certificate: CertificateLife {
            issued_unix_ms: UNIX_MS,
            expires_unix_ms: UNIX_MS + 30 * 86_400_000,
        },
        agent_version: heapless::String::try_from("0.0.0-bench").unwrap_or_default(),
        platform: Platform::default(),
        document_platform: holdfast_documents::Platform::Linux,
        built_unix_ms: UNIX_MS - 1,
        registered_unix_ms: UNIX_MS - 1,
        limits: Limits::default(),
        intervals: Intervals::default(),
    })
}

fn command(number: u8) -> Result<Command> {
    let document = library::find("AWS-RunShellScript").context("AWS-RunShellScript")?;
    let version = document.latest_version();
    Ok(Command {
        id: CommandId::from_random([number; 16]),
        document_name: Text::cut("AWS-RunShellScript"),
        document_version: Text::cut("1"),
        content: Text::new(version.content())?,
        content_sha256: *version.hash().as_bytes(),
        parameters: List::new(vec![(
            Text::cut("commands"),
            List::new(vec![Text::cut("true")])?,
        )])?,
        expires_unix_ms: UNIX_MS + 30 * 86_400_000,
        operator: None,
    })
}

impl World {
    fn new(seed: u64, down: (u64, u64), while_down: WhileDown) -> Result<Self> {
        let node = NodeId::from_random([7; 9]);
        let memory = Memory::default();
        let mut random = [0x5a; 32];
        for (to, from) in random.iter_mut().zip(seed.to_le_bytes()) {
            *to = from;
        }
        let restored = Restored {
            ledger: memory.ledger(),
            streams: memory.figures(),
            secured: true,
            boot_id: [1; 16],
            random,
            sequences_lost: false,
            damage: holdfast_agent_core::LedgerDamage::default(),
            now: Monotonic(1),
        };
        let signing = pair(2)?;
        let key = public_key(&signing).context("the signing key")?;
        let certificate = KeyCertificate::issue(&pair(1)?, 1, key);
        Ok(Self {
            core: Core::restore(config(node)?, restored)?,
            memory,
            now: 1,
            events: BTreeMap::new(),
            caused: 0,
            node,
            outbox: OutboxId(0),
            sealer: Sealer::new(signing, certificate),
            counter: 0,
            attempt: Attempt(0),
            packet: 0,
            acked: [0; 4],
            running: Vec::new(),
            down,
            while_down,
        })
    }

    fn is_up(&self, at: u64) -> bool {
        !(self.down.0..self.down.1).contains(&at)
    }

    fn cause(&mut self, after_ms: u64, input: Input) {
        self.caused += 1;
        self.events
            .insert((self.now + after_ms, self.caused), input);
    }

    /// Goes on until `done`, or until the moment `end`.
    fn go_on(&mut self, end: u64, done: impl Fn(&Self) -> bool) -> Result<()> {
        self.perform()?;
        while !done(self) {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let tick = self.core.next_deadline().map(|at| at.0.max(self.now));
            let Some(at) = event.into_iter().chain(tick).min().filter(|at| *at <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = at;
            let due = self
                .events
                .first_entry()
                .filter(|entry| entry.key().0 <= at);
            let input = due.map_or(Input::Tick, |entry| entry.remove());
            self.core.step(Monotonic(at), input);
            self.perform()?;
        }
        Ok(())
    }

    fn perform(&mut self) -> Result<()> {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Store(StoreOp::Persist { ticket, writes }) => {
                    let answer = self.memory.persist(ticket, writes);
                    self.cause(COMMIT_MS, answer);
                }
                Effect::Store(StoreOp::Release { class, up_to }) => {
                    self.memory.release(class, up_to);
                }
                Effect::Store(StoreOp::Read {
                    class,
                    from,
                    up_to,
                    max_records,
                    max_bytes,
                }) => {
                    let answer = self
                        .memory
                        .read(class, (from, up_to), max_records, max_bytes);
                    self.cause(0, answer);
                }
                Effect::Store(StoreOp::Checkpoint) => {}
                Effect::Store(StoreOp::Load { key }) => {
                    let answer = self.memory.load(key);
                    self.cause(0, answer);
                }
                Effect::Connect { attempt, .. } => self.connect(attempt),
                Effect::Disconnect { attempt, why } => {
                    let fault = LinkFault::Asked;
                    self.cause(
                        0,
                        Input::Disconnected {
                            attempt,
                            fault,
                            why,
                        },
                    );
                }
                Effect::Send { frame, qos, .. } => self.take(&frame, qos)?,
                Effect::Run(run) => self.running.push(*run),
                Effect::EndRemains => self.cause(0, Input::RemainsEnded),
                Effect::Gather(what) => self.cause(0, Input::Gathered { what, fault: None }),
                Effect::MakeRenewal { .. }
                | Effect::Install { .. }
                | Effect::AckTransport { .. }
                | Effect::Kill { .. }
                | Effect::Reboot { .. }
                | Effect::Log { .. }
                | Effect::Stopped => {}
            }
        }
        Ok(())
    }

    /// TCP as Linux does it, then a round trip each for TLS, CONNECT and SUBSCRIBE.
    fn connect(&mut self, attempt: Attempt) {
        let refuses = self.while_down == WhileDown::Refuses && !self.is_up(self.now);
        let arrives = SYN_AGAIN_MS
            .into_iter()
            .find(|after| self.is_up(self.now + after));
        match arrives.filter(|_| !refuses) {
            Some(after) => {
                self.attempt = attempt;
                let mut random = [3; 32];
                for (to, from) in random.iter_mut().zip(self.now.to_le_bytes()) {
                    *to = from;
                }
                let after = after + 4 * ROUND_TRIP_MS;
                let connected = Input::Connected {
                    attempt,
                    random,
                    bridge_expires_unix_ms: CERTIFICATES_END_UNIX_MS,
                };
                self.cause(after, connected);
            }
            None => {
                let after = if refuses { 1 } else { TCP_LIMIT_MS };
                let (fault, why) = (LinkFault::Tcp, "the link is down".into());
                self.cause(
                    after,
                    Input::LinkFailed {
                        attempt,
                        fault,
                        why,
                    },
                );
            }
        }
    }

    /// The bridge: commits what arrives, then answers.
    fn take(&mut self, frame: &[u8], qos: Qos) -> Result<()> {
        if !self.is_up(self.now) {
            return Ok(());
        }
        let after = ROUND_TRIP_MS + COMMIT_MS;
        match Up::decode(frame)? {
            Up::Hello(hello) => {
                self.outbox = hello.outbox;
                let reply = HelloReply {
                    nonce: hello.nonce,
                    unix_ms: UNIX_MS + self.now,
                    revision: REVISION,
                    token: Token::new(self.now.to_le_bytes().to_vec())?,
                    acks: self.acked,
                    resync: List::default(),
                };
                self.tell(after, &Down::HelloReply(reply))?;
            }
            Up::Record {
                sequence, record, ..
            } => {
                let class = record.class().unwrap_or(Class::Result);
                if let Some(acked) = self.acked.get_mut(class.index()) {
                    ensure!(sequence == *acked + 1, "{sequence} after {acked}");
                    *acked = sequence;
                }
                let attempt = self.attempt;
                self.cause(after, Input::PubAcked { attempt, count: 1 });
                let acks = self.acked;
                self.tell(after, &Down::Ack(Ack { acks }))?;
            }
            Up::Answer(_) | Up::Presence(_) | Up::Renewal(_) | Up::Enrol(_) => {
                ensure!(qos == Qos::AtMostOnce, "only records are acknowledged");
            }
        }
        Ok(())
    }

    fn tell(&mut self, after: u64, down: &Down) -> Result<()> {
        self.counter += 1;
        self.packet = self.packet.wrapping_add(1);
        let address = Address {
            node: self.node,
            outbox: self.outbox,
        };
        let frame = self.sealer.seal(&address, self.counter, true, down)?;
        let topic = if matches!(down, Down::Command(_)) {
            Topic::Command(self.node)
        } else {
            Topic::Control(self.node)
        };
        let delivery = Delivery {
            attempt: self.attempt,
            packet: self.packet,
        };
        self.cause(
            after,
            Input::Received {
                delivery,
                topic,
                frame,
            },
        );
        Ok(())
    }

    /// Every running step says something on both outputs and ends; whether there was one.
    fn end_steps(&mut self) -> bool {
        let running = std::mem::take(&mut self.running);
        let any = !running.is_empty();
        for run in running {
            let (command, step) = (run.command, run.step);
            for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                let bytes = b"some\n".to_vec();
                self.cause(
                    0,
                    Input::Output {
                        command,
                        step,
                        stream,
                        bytes,
                    },
                );
            }
            let end = StepEnd {
                exit: StepExit::Code(0),
                stdout_bytes: 5,
                stderr_bytes: 5,
            };
            self.cause(0, Input::StepEnded { command, step, end });
        }
        any
    }

    fn head(&self) -> u64 {
        let [results, ..] = self.memory.figures();
        results.head
    }

    fn is_drained(&self) -> bool {
        let [results, ..] = self.memory.figures();
        results.released == results.head
    }
}

/// One hour's cut; seconds from the link's return until all is acknowledged.
fn run(seed: u64, while_down: WhileDown) -> Result<f64> {
    let cut_at = 60_000 + seed % 997;
    let back_at = cut_at + CUT_MS + seed * 37 % 4_001;
    let mut world = World::new(seed, (cut_at, back_at), while_down)?;
    world.go_on(30_000, |_| false)?;
    for number in 1..=COMMANDS {
        let command = Box::new(command(number)?);
        world.tell(ROUND_TRIP_MS, &Down::Command(command))?;
    }
    world.go_on(cut_at, |_| false)?;
    let attempt = world.attempt;
    let lost = Input::Disconnected {
        attempt,
        fault: LinkFault::Lost,
        why: "cut".into(),
    };
    world.cause(0, lost);
    world.go_on(cut_at + CUT_MS / 2, |_| false)?;
    while world.end_steps() {
        world.go_on(world.now + 1_000, |_| false)?;
    }
    let waiting = world.head() - world.acked.first().copied().unwrap_or_default();
    // Each command leaves four; the first four were told to have begun before the cut.
    ensure!(waiting == RECORDS, "{waiting} records wait");
    world.go_on(back_at, |_| false)?;
    world.go_on(back_at + 600_000, World::is_drained)?;
    ensure!(world.is_drained(), "not drained within ten minutes");
    Ok((world.now - back_at) as f64 / 1000.0)
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let runs: u64 = ground.or_quick(200, 20);
    let mut rows = Vec::new();
    for (while_down, how) in [
        (WhileDown::Refuses, "refuses"),
        (WhileDown::Swallows, "swallows"),
    ] {
        let took: Vec<f64> = (1..=runs)
            .map(|seed| run(seed, while_down))
            .collect::<Result<_>>()?;
        rows.push(
            Row::new(
                format!("drained after 1 h, a link that {how}"),
                "s",
                median(&took)?,
            )
            .within(Budget::AtMost(5.0))
            .noted(format!(
                "injected clock, {runs} seeds, round trip {ROUND_TRIP_MS} ms; longest {:.2} s",
                largest(&took)
            )),
        );
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_offline_is_drained_within_the_probes_and_round_trips_and_is_its_seed() {
        for while_down in [WhileDown::Refuses, WhileDown::Swallows] {
            let first = run(7, while_down).unwrap();
            assert!(first > 0.4 && first < 15.0, "{first}");
            assert_eq!(first, run(7, while_down).unwrap());
        }
    }
}
