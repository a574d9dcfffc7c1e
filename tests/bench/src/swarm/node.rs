//! One node of the swarm: the agent's core, driven over a real connection.
//! Never decides: it performs the core's effects, and its steps end at once and well.

use super::Counts;
use super::memory::Memory;
use crate::client::{Greeting, KEEP_ALIVE_S, Place, Reader, Writer, connect};
use crate::enrol::Identity;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use holdfast_agent_core::{
    Attempt, CertificateLife, Config, Core, Delivery, Effect, Input, Intervals, Level, Limits,
    LinkFault, LinkIdentity, LinkState, Monotonic, Qos, Restored, Run, StepEnd, StepExit, StoreOp,
};
use holdfast_protocol::bounded::Text;
use holdfast_protocol::limits::CERTIFICATES_END_UNIX_MS;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{OutputStream, Platform};
use holdfast_protocol::{Class, NodeId};
use ring::rand::{SecureRandom as _, SystemRandom};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// What every step of the swarm says.
const OUTPUT: &[u8] = b"done\n";
/// From TCP to the subscriptions.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const PING_AFTER: Duration = Duration::from_secs(KEEP_ALIVE_S as u64 * 2 / 3);

struct Connection {
    attempt: Attempt,
    reader: Reader,
    writer: Writer,
    /// When something was last sent.
    sent: Instant,
}

/// A node.
pub(super) struct Node {
    core: Core,
    memory: Memory,
    place: Place,
    name: NodeId,
    began: Instant,
    connection: Option<Connection>,
    online: bool,
    stopped: bool,
    counts: Arc<Counts>,
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(bytes)
}

/// What a core of the swarm is told; bounds and intervals are the agent's own.
fn config(identity: &Identity) -> Result<Config> {
    let (issued, expires) = identity.validity_s()?;
    Ok(Config {
        node: identity.node,
        root: identity.root_key,
        bridges: 1,
        certificate: CertificateLife {
            issued_unix_ms: issued * 1000,
            expires_unix_ms: expires * 1000,
        },
        agent_version: heapless::String::try_from("0.0.0-swarm").unwrap_or_default(),
        platform: Platform {
            name: Text::cut("Debian GNU/Linux"),
            version: Text::cut("12"),
            computer_name: Text::cut(identity.node.as_str()),
            ip_address: Text::cut("127.0.0.1"),
            architecture: Text::cut("x86_64"),
        },
        document_platform: holdfast_documents::Platform::Linux,
        built_unix_ms: identity.unix_ms,
        registered_unix_ms: identity.unix_ms,
        limits: Limits::default(),
        intervals: Intervals::default(),
    })
}

impl Node {
    pub(super) fn new(identity: &Identity, place: Place, counts: Arc<Counts>) -> Result<Self> {
        let memory = Memory::default();
        let restored = Restored {
            ledger: memory.ledger(),
            streams: memory.figures(),
            secured: true,
            boot_id: random()?,
            random: random()?,
            sequences_lost: false,
            damage: holdfast_agent_core::LedgerDamage::default(),
            now: Monotonic(1),
        };
        Ok(Self {
            core: Core::restore(config(identity)?, restored)?,
            memory,
            place,
            name: identity.node,
            began: Instant::now(),
            connection: None,
            online: false,
            stopped: false,
            counts,
        })
    }

    fn now(&self) -> Monotonic {
        Monotonic(1 + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn step(&mut self, input: Input) {
        self.core.step(self.now(), input);
    }

    /// Lives until it is asked to stop and has.
    pub(super) async fn live(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut asked = false;
        loop {
            self.perform().await?;
            self.count();
            if self.stopped {
                return Ok(());
            }
            let alarm = self.alarm();
            let input = tokio::select! {
                changed = stop.changed(), if !asked => {
                    // A swarm that is gone asks everybody to stop.
                    let _ = changed;
                    asked = true;
                    Some(Input::Stop)
                }
                arrived = next(self.connection.as_mut()) => self.arrived(arrived),
                () = sleep_until(alarm) => Some(Input::Tick),
            };
            if let Some(input) = input {
                self.step(input);
            }
        }
    }

    fn count(&mut self) {
        let online = self.core.status(self.now()).link.state == LinkState::Online;
        if online != self.online {
            self.online = online;
            if online {
                self.counts.online.fetch_add(1, Ordering::Relaxed);
            } else {
                self.counts.online.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn alarm(&self) -> Instant {
        let core = self
            .core
            .next_deadline()
            .map(|at| self.began + Duration::from_millis(at.0.saturating_sub(1)));
        let ping = self.connection.as_ref().map(|at| at.sent + PING_AFTER);
        let never = self.began + Duration::from_secs(365 * 86_400);
        core.into_iter().chain(ping).min().unwrap_or(never)
    }

    /// What a packet means to the core, if anything.
    fn arrived(&mut self, arrived: Result<Packet>) -> Option<Input> {
        let attempt = self.connection.as_ref()?.attempt;
        match arrived {
            Ok(Packet::Publish(publish)) => {
                let delivery = Delivery {
                    attempt,
                    packet: publish.pkid,
                };
                Some(Input::Received {
                    delivery,
                    topic: publish.topic.parse().ok()?,
                    frame: publish.payload.to_vec(),
                })
            }
            Ok(Packet::PubAck(_)) => Some(Input::PubAcked { attempt, count: 1 }),
            Ok(_) => None,
            Err(why) => {
                self.connection = None;
                Some(Input::Disconnected {
                    attempt,
                    fault: LinkFault::Lost,
                    why: why.to_string(),
                })
            }
        }
    }

    async fn perform(&mut self) -> Result<()> {
        loop {
            while let Some(effect) = self.core.poll_effect() {
                self.begin(effect).await?;
            }
            if let Some(why) = self.flush().await.err() {
                self.lost(&why);
                continue;
            }
            return Ok(());
        }
    }

    async fn begin(&mut self, effect: Effect) -> Result<()> {
        match effect {
            Effect::Store(StoreOp::Persist { ticket, writes }) => {
                let answer = self.memory.persist(ticket, writes);
                self.step(answer);
            }
            Effect::Store(StoreOp::Release { class, up_to }) => {
                let released = self.memory.release(class, up_to);
                if class == Class::Result {
                    let acknowledged = &self.counts.acknowledged;
                    acknowledged.fetch_add(released, Ordering::Relaxed);
                }
            }
            Effect::Store(StoreOp::Read {
                class,
                from,
                up_to,
                max_records,
                max_bytes,
            }) => {
                let range = (from, up_to);
                let answer = self.memory.read(class, range, max_records, max_bytes);
                self.step(answer);
            }
            Effect::Store(StoreOp::Checkpoint) => {}
            Effect::Store(StoreOp::Load { key }) => {
                let answer = self.memory.load(key);
                self.step(answer);
            }
            Effect::Connect {
                attempt, identity, ..
            } => self.connect(attempt, identity).await?,
            Effect::Disconnect { attempt, why } => {
                self.connection = None;
                let fault = LinkFault::Asked;
                self.step(Input::Disconnected {
                    attempt,
                    fault,
                    why,
                });
            }
            Effect::Send {
                topic, frame, qos, ..
            } => self.send(&topic, frame, qos),
            Effect::AckTransport { delivery } => self.acknowledge(delivery),
            Effect::Run(run) => self.run(&run),
            Effect::EndRemains => self.step(Input::RemainsEnded),
            Effect::Gather(what) => self.step(Input::Gathered { what, fault: None }),
            Effect::MakeRenewal { .. } | Effect::Install { .. } => {
                let why = "a node of the swarm keeps its certificate".into();
                self.step(Input::RenewalFailed { why });
            }
            Effect::Log {
                level: Level::Warn | Level::Error,
                message,
            } => self.counts.warn(self.name, &message),
            Effect::Stopped => self.stopped = true,
            Effect::Log { .. } | Effect::Kill { .. } | Effect::Reboot { .. } => {}
        }
        Ok(())
    }

    async fn connect(&mut self, attempt: Attempt, identity: LinkIdentity) -> Result<()> {
        let LinkIdentity::Node { will } = identity else {
            let fault = LinkFault::CertificateRefused;
            let why = "a node of the swarm does not enrol again".into();
            self.step(Input::LinkFailed {
                attempt,
                fault,
                why,
            });
            return Ok(());
        };
        let greeting = Greeting {
            client_id: self.name.to_string(),
            will: Some((Topic::Presence(self.name).to_string(), will)),
            topics: vec![
                Topic::Control(self.name).to_string(),
                Topic::Command(self.name).to_string(),
            ],
        };
        let connected = timeout(CONNECT_LIMIT, connect(&self.place, greeting)).await;
        match connected.context("the limit of time").and_then(|made| made) {
            Ok((reader, writer)) => {
                let sent = Instant::now();
                self.connection = Some(Connection {
                    attempt,
                    reader,
                    writer,
                    sent,
                });
                let random = random()?;
                self.step(Input::Connected {
                    attempt,
                    random,
                    bridge_expires_unix_ms: CERTIFICATES_END_UNIX_MS,
                });
            }
            Err(why) => {
                let why = format!("{why:#}");
                let fault = if why.starts_with("TCP") {
                    LinkFault::Tcp
                } else {
                    LinkFault::Mqtt
                };
                self.counts.warn(self.name, &why);
                self.step(Input::LinkFailed {
                    attempt,
                    fault,
                    why,
                });
            }
        }
        Ok(())
    }

    fn send(&mut self, topic: &Topic, frame: Vec<u8>, qos: Qos) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let qos = match qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
        };
        let frame = Bytes::from(frame);
        let pushed = connection.writer.publish(&topic.to_string(), qos, frame);
        if let Err(why) = pushed {
            self.counts.warn(self.name, &why.to_string());
        }
    }

    fn acknowledge(&mut self, delivery: Delivery) {
        if let Some(connection) = self
            .connection
            .as_mut()
            .filter(|at| at.attempt == delivery.attempt && delivery.packet != 0)
        {
            // A PUBACK of four bytes is within every bound.
            let _ = connection
                .writer
                .push(&Packet::PubAck(PubAck::new(delivery.packet)));
        }
    }

    fn run(&mut self, run: &Run) {
        self.counts.runs.fetch_add(1, Ordering::Relaxed);
        let (command, step) = (run.command, run.step);
        self.step(Input::Output {
            command,
            step,
            stream: OutputStream::Stdout,
            bytes: OUTPUT.to_vec(),
        });
        let end = StepEnd {
            exit: StepExit::Code(0),
            stdout_bytes: OUTPUT.len() as u64,
            stderr_bytes: 0,
        };
        self.step(Input::StepEnded { command, step, end });
    }

    async fn flush(&mut self) -> Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if connection.sent.elapsed() >= PING_AFTER {
            connection.writer.push(&Packet::PingReq)?;
        }
        if connection.writer.flush().await? {
            connection.sent = Instant::now();
        }
        Ok(())
    }

    fn lost(&mut self, why: &anyhow::Error) {
        if let Some(connection) = self.connection.take() {
            self.step(Input::Disconnected {
                attempt: connection.attempt,
                fault: LinkFault::Lost,
                why: format!("{why:#}"),
            });
        }
    }
}

async fn next(connection: Option<&mut Connection>) -> Result<Packet> {
    match connection {
        Some(connection) => connection.reader.next().await,
        None => std::future::pending().await,
    }
}
