//! The link: ordered and lossless while a connection lives, silent when it is cut, noticed late; or in
//! the hands of a broker that drops, repeats and reorders what passes.
//! Never looks into a frame.

use super::fault::Fault;
use super::{Event, World};
use crate::Violation;
use crate::bridge::Incoming;
use crate::machine::lost;
use holdfast_agent_core::{Attempt, Delivery, Input, LinkFault, LinkState};
use holdfast_protocol::frame::{Kind, Raw};
use holdfast_protocol::limits::CERTIFICATES_END_UNIX_MS;
use holdfast_protocol::topic::Topic;

/// What crosses the link.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    /// A publish with its packet id, if it is to be acknowledged.
    Publish {
        topic: Topic,
        frame: Vec<u8>,
        packet: Option<u16>,
    },
    PubAck {
        packet: u16,
    },
}

impl Packet {
    fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Publish {
                topic: Topic::Answer(_),
                ..
            }
        )
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) machine: usize,
    life: u32,
    attempt: Attempt,
    /// Whether anything still passes.
    pub(super) passes: bool,
    machine_knows: bool,
    bridge_knows: bool,
    /// When the last packet of each direction arrives: the next is not earlier.
    last_up: u64,
    last_down: u64,
    /// Whether a hostile broker has it.
    hostile: bool,
    /// Highest counter of a sealed frame that the machine was handed.
    counter: u64,
}

/// What a hostile broker does with a packet.
enum Fate {
    Passes,
    Dropped,
    /// Passes, and comes again this many milliseconds later.
    Twice(u64),
    /// What comes after it overtakes it.
    Late(u64),
}

impl World {
    pub(super) fn connect(
        &mut self,
        index: usize,
        life: u32,
        attempt: Attempt,
        enrols: bool,
    ) -> Result<(), Violation> {
        let unix = self.bridge.unix_ms(self.now);
        let certificate = self.machines.get(index).map(|m| m.certificate);
        let link = self.links.get(index).copied().unwrap_or(false);
        let fault = if !link || !self.bridge.up {
            Some(LinkFault::Tcp)
        } else if !enrols
            && certificate
                .is_some_and(|life| !(life.issued_unix_ms..life.expires_unix_ms).contains(&unix))
        {
            Some(LinkFault::CertificateExpired)
        } else if !self.peace && self.random.one_in(30) {
            Some(LinkFault::Tls)
        } else {
            None
        };
        if let Some(fault) = fault {
            let why = "nobody answers".to_owned();
            return self.input(
                index,
                life,
                Input::LinkFailed {
                    attempt,
                    fault,
                    why,
                },
            );
        }
        let Some(machine) = self.machines.get(index) else {
            return Ok(());
        };
        if machine.life != life {
            return Ok(());
        }
        self.next_connection += 1;
        self.summary.connections += 1;
        let (node, key) = (machine.node, machine.public_key());
        let (id, now) = (self.next_connection, self.now);
        let let_in = enrols || self.bridge.arrives(now, id, node, key);
        if !let_in {
            let why = "the bridge does not let it in".to_owned();
            let fault = LinkFault::Mqtt;
            return self.input(
                index,
                life,
                Input::LinkFailed {
                    attempt,
                    fault,
                    why,
                },
            );
        }
        let connection = Connection {
            machine: index,
            life,
            attempt,
            passes: true,
            machine_knows: true,
            bridge_knows: true,
            last_up: self.now,
            last_down: self.now,
            hostile: false,
            counter: 0,
        };
        self.connections.insert(self.next_connection, connection);
        let random = self.random.bytes();
        let out = self.bridge.take_out();
        self.perform_bridge(out);
        let connected = Input::Connected {
            attempt,
            random,
            bridge_expires_unix_ms: CERTIFICATES_END_UNIX_MS,
        };
        self.input(index, life, connected)
    }

    /// The living connection of a machine, as the machine sees it.
    fn connection_of(&self, index: usize) -> Option<u64> {
        let life = self.machines.get(index)?.life;
        let mut found = self.connections.iter();
        found
            .find(|(_, c)| c.machine == index && c.life == life && c.machine_knows)
            .map(|(id, _)| *id)
    }

    fn latency(&mut self) -> u64 {
        if self.random.one_in(20) {
            self.random.between(100, 4_000)
        } else {
            self.random.between(1, 80)
        }
    }

    pub(super) fn publish_up(
        &mut self,
        index: usize,
        topic: Topic,
        frame: Vec<u8>,
        acknowledged: bool,
    ) {
        let packet = Packet::Publish {
            topic,
            frame,
            packet: acknowledged.then_some(0),
        };
        if let Some(connection) = self.connection_of(index) {
            self.send_up(connection, packet);
        }
    }

    pub(super) fn puback_up(&mut self, index: usize, delivery: Delivery) {
        let Some(id) = self.connection_of(index) else {
            return;
        };
        let current = self.connections.get(&id).map(|c| c.attempt);
        if current == Some(delivery.attempt) {
            let packet = delivery.packet;
            if let Some(machine) = self.machines.get_mut(index) {
                let command = self.bridge.awaits(machine.node, id, packet);
                self.witness.acknowledges(machine, command);
            }
            self.send_up(id, Packet::PubAck { packet });
        }
    }

    fn send_up(&mut self, id: u64, packet: Packet) {
        let latency = self.latency();
        let fate = self.fate(id);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.last_up = connection.last_up.max(self.now + latency);
        let at = connection.last_up;
        // Nothing upward is sealed: who changes the order of answers can say what it likes.
        let ordered = packet.is_answer();
        let arrives = |packet| Event::Up {
            connection: id,
            packet,
        };
        match fate {
            Fate::Dropped => {}
            Fate::Twice(ms) if !ordered => {
                self.at(at, arrives(packet.clone()));
                self.at(at + ms, arrives(packet));
            }
            Fate::Late(ms) if !ordered => self.at(at + ms, arrives(packet)),
            Fate::Passes | Fate::Twice(_) | Fate::Late(_) => self.at(at, arrives(packet)),
        }
    }

    /// What becomes of a packet.
    fn fate(&mut self, id: u64) -> Fate {
        if !self.connections.get(&id).is_some_and(|c| c.hostile) {
            return Fate::Passes;
        }
        let ms = self.random.between(1, 20_000);
        match self.random.between(0, 9) {
            0 => Fate::Dropped,
            1 | 2 => Fate::Twice(ms),
            3 | 4 => Fate::Late(ms),
            _ => Fate::Passes,
        }
    }

    /// A machine's connection is in the hands of a hostile broker, until it ends.
    pub(super) fn wire_hostile(&mut self, index: usize, ms: u64) {
        let id = self.connection_of(index).filter(|_| !self.peace);
        if let Some(connection) = id.and_then(|id| self.connections.get_mut(&id)) {
            connection.hostile = true;
            if let Some(machine) = self.machines.get(connection.machine) {
                self.witness.in_hostile_hands(machine.node);
            }
            let machine = index;
            self.after(ms, Event::Fault(Fault::WireEnds { machine }));
            // Whoever sits there may have a new signing key overtake what the old one has signed.
            if self.random.one_in(4) {
                let at = self.random.between(0, ms);
                let then = at + self.random.between(0, 5_000);
                let bare = self.random.one_in(2);
                self.after(at, Event::Submit);
                self.after(then, Event::Fault(Fault::Rotate { bare }));
            }
        }
    }

    pub(super) fn publish_down(&mut self, id: u64, packet: u16, topic: Topic, frame: Vec<u8>) {
        let machine = self.connections.get(&id).map(|c| c.machine);
        if let Some(machine) = machine.and_then(|index| self.machines.get(index))
            && self.captured.len() < 200
        {
            self.captured.push((machine.node, topic, frame.clone()));
        }
        let packet = Packet::Publish {
            topic,
            frame,
            packet: Some(packet),
        };
        self.send_down(id, packet);
    }

    pub(super) fn send_down(&mut self, id: u64, packet: Packet) {
        let latency = self.latency();
        let fate = self.fate(id);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.last_down = connection.last_down.max(self.now + latency);
        let at = connection.last_down;
        let arrives = |packet| Event::Down {
            connection: id,
            packet,
        };
        match fate {
            Fate::Passes => self.at(at, arrives(packet)),
            Fate::Dropped => {}
            Fate::Twice(ms) => {
                self.at(at, arrives(packet.clone()));
                self.at(at + ms, arrives(packet));
            }
            Fate::Late(ms) => self.at(at + ms, arrives(packet)),
        }
    }

    pub(super) fn arrive_up(&mut self, id: u64, packet: Packet) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let Some(machine) = self.machines.get(connection.machine) else {
            return;
        };
        if !connection.passes || !connection.bridge_knows || !self.bridge.up {
            return;
        }
        let node = machine.node;
        match packet {
            Packet::Publish {
                topic,
                frame,
                packet,
            } => {
                self.bridge.receive(Incoming {
                    connection: id,
                    node,
                    topic,
                    frame,
                    acknowledged: packet.is_some(),
                });
            }
            Packet::PubAck { packet } => self.bridge.receive_ack(node, id, packet),
        }
        if !self.commit_due {
            self.commit_due = true;
            let ms = self.random.between(1, 20);
            self.after(ms, Event::Commit);
        }
    }

    pub(super) fn arrive_down(&mut self, id: u64, packet: Packet) -> Result<(), Violation> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        if !connection.passes || !connection.machine_knows {
            return Ok(());
        }
        if let Packet::Publish { frame, .. } = &packet
            && self.is_stale_cancel(id, frame)
        {
            return self.stale_cancel(id, packet);
        }
        self.hand_down(id, packet)
    }

    /// Whether a frame cancels a command under a counter that the machine has seen on this connection;
    /// keeps count of those.
    fn is_stale_cancel(&mut self, id: u64, frame: &[u8]) -> bool {
        let Some((connection, raw)) = self.connections.get_mut(&id).zip(Raw::read(frame).ok())
        else {
            return false;
        };
        let stale = raw.sequence <= connection.counter;
        // A reset of the floor is the root's word, which knows no counter.
        if !matches!(raw.kind, Kind::FloorReset | Kind::EnrolReply) {
            connection.counter = connection.counter.max(raw.sequence);
        }
        stale && raw.kind == Kind::Cancel
    }

    /// A cancel that was overtaken must be answered, as long as the session goes on: the bridge asks
    /// again only then.
    fn stale_cancel(&mut self, id: u64, packet: Packet) -> Result<(), Violation> {
        let online = |world: &Self| {
            let connection = world.connections.get(&id);
            let machine = connection.and_then(|c| world.machines.get(c.machine))?;
            let core = machine.core.as_ref()?;
            (core.link_state() == LinkState::Online).then_some(machine.node)
        };
        let before = online(self).map(|node| self.witness.stale(node));
        self.hand_down(id, packet)?;
        match online(self).zip(before) {
            Some((node, before)) if self.witness.stale(node) == before => Err(self.violation(
                format!("{node} drops a cancel that came late without a word"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Hands a machine what has come for it.
    fn hand_down(&mut self, id: u64, packet: Packet) -> Result<(), Violation> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let (index, life, attempt) = (connection.machine, connection.life, connection.attempt);
        let input = match packet {
            Packet::PubAck { .. } => Input::PubAcked { attempt, count: 1 },
            Packet::Publish {
                topic,
                frame,
                packet,
            } => Input::Received {
                delivery: Delivery {
                    attempt,
                    packet: packet.unwrap_or(0),
                },
                topic,
                frame,
            },
        };
        self.input(index, life, input)
    }

    /// The machine closes its connection, or gives up an attempt.
    pub(super) fn hang_up(&mut self, index: usize, attempt: Attempt) {
        // A rolled-back disk counts its attempts anew: only the living connection is meant.
        let Some(id) = self.connection_of(index) else {
            return;
        };
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|c| c.attempt == attempt)
        else {
            return;
        };
        connection.passes = false;
        self.after(5, Event::MachineLost { connection: id });
        let ms = self.random.between(5, 500);
        self.after(ms, Event::BridgeLost { connection: id });
    }

    /// The bridge closes a connection.
    pub(super) fn close(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.bridge_knows = false;
            // What was sent before is on its way.
            let at = connection.last_down.max(self.now + 20) + 1;
            self.at(at, Event::MachineLost { connection: id });
        }
    }

    /// Nothing passes any more; each side learns of it in its own time.
    pub(super) fn cut(&mut self, index: usize) {
        let cut: Vec<u64> = self
            .connections
            .iter_mut()
            .filter(|(_, c)| c.machine == index && c.passes)
            .map(|(id, c)| {
                c.passes = false;
                *id
            })
            .collect();
        for id in cut {
            let ms = self.random.between(1, 30_000);
            self.after(ms, Event::MachineLost { connection: id });
            let ms = self.random.between(1, 90_000);
            self.after(ms, Event::BridgeLost { connection: id });
        }
    }

    pub(super) fn machine_lost(&mut self, id: u64) -> Result<(), Violation> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        let (index, life, attempt) = (connection.machine, connection.life, connection.attempt);
        connection.passes = false;
        if !std::mem::take(&mut connection.machine_knows) {
            return Ok(());
        }
        self.forget(id);
        self.input(index, life, lost(attempt))
    }

    pub(super) fn bridge_lost(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.bridge_knows = false;
        connection.passes = false;
        let node = self.machines.get(connection.machine).map(|m| m.node);
        if let Some(node) = node {
            self.bridge.closed(self.now, node, id);
            let out = self.bridge.take_out();
            self.perform_bridge(out);
        }
        self.forget(id);
    }

    /// A connection of which neither side knows any more is gone.
    fn forget(&mut self, id: u64) {
        let gone = |c: &Connection| !c.machine_knows && !c.bridge_knows;
        if self.connections.get(&id).is_some_and(gone) {
            self.connections.remove(&id);
        }
    }

    /// A frame that was seen before is put onto a machine's connection again.
    pub(super) fn replay(&mut self, index: usize, pick: usize) -> Result<(), Violation> {
        let Some((node, topic, frame)) = self.captured.get(pick % self.captured.len().max(1))
        else {
            return Ok(());
        };
        let (node, topic, frame) = (*node, *topic, frame.clone());
        self.say(|| format!("a frame for {node} is replayed to machine {index}"));
        self.inject(index, topic, frame)
    }

    /// Somebody on the wire hands a frame to a machine.
    pub(super) fn inject(
        &mut self,
        index: usize,
        topic: Topic,
        frame: Vec<u8>,
    ) -> Result<(), Violation> {
        let id = self.connection_of(index);
        let Some(connection) = id.and_then(|id| self.connections.get(&id)) else {
            return Ok(());
        };
        let (life, attempt) = (connection.life, connection.attempt);
        // No packet id of the bridge's own is that high.
        let delivery = Delivery {
            attempt,
            packet: u16::MAX,
        };
        let input = Input::Received {
            delivery,
            topic,
            frame,
        };
        self.input(index, life, input)
    }
}
