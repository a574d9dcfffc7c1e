//! The real hub behind the face of the model: what came in goes to it, what it says comes out.
//! Never decides: of each record the database's own position tells whether it was taken.

use super::Real;
use crate::bridge::{Arrived, Bridge, Heard, Incoming, NodeRow, Out};
use holdfast_bridge::mqtt::Verdict;
use holdfast_bridge_core::rate::Limits;
use holdfast_protocol::down::Down;
use holdfast_protocol::seal::{PublicKey, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Class, Hello, Record, Up};
use holdfast_protocol::{CommandId, NodeId, OutboxId};
use std::collections::BTreeMap;

type Life = (NodeId, OutboxId);

impl Bridge {
    /// The real hub does everything from here on.
    pub(crate) fn make_real(
        &mut self,
        seed: u64,
        root: (Sealer, PublicKey),
        sealer: Sealer,
        nodes: &[(NodeId, PublicKey)],
    ) -> Result<(), String> {
        let mut real = Real::new(seed, root, sealer)?;
        real.set_clock(self.unix_ms(0));
        real.start()?;
        real.register(nodes)?;
        for (node, _) in nodes {
            self.store.nodes.insert(*node, NodeRow::default());
        }
        self.real = Some(Box::new(real));
        Ok(())
    }

    pub(crate) fn is_real(&self) -> bool {
        self.real.is_some()
    }

    /// Asks the hub for something, and copies what its database then holds.
    pub(in crate::bridge) fn ask_real(
        &mut self,
        now: u64,
        ask: impl FnOnce(&mut Real) -> Result<(), String>,
    ) -> Vec<Out> {
        let unix_ms = self.unix_ms(now);
        let up = self.up;
        let Some(real) = self.real.as_mut().filter(|_| up) else {
            return Vec::new();
        };
        real.set_clock(unix_ms);
        let nodes: Vec<NodeId> = self.store.nodes.keys().copied().collect();
        let done = ask(real)
            .and_then(|()| real.drain())
            .and_then(|out| Ok((out, real.copy(&nodes, false)?)));
        match done {
            Ok((out, store)) => {
                self.store = store;
                out
            }
            Err(why) => {
                let node = nodes.first().copied();
                let node = node.unwrap_or_else(|| NodeId::from_random([0; 9]));
                self.failed.get_or_insert(format!("{node}: {why}"));
                Vec::new()
            }
        }
    }

    pub(in crate::bridge) fn commit_real(&mut self, now: u64) -> Vec<Out> {
        let arrived = std::mem::take(&mut self.incoming);
        let mut heard = Vec::new();
        let mut acknowledged = Vec::new();
        let mut wrong = Vec::new();
        let mut out = self.ask_real(now, |real| {
            let mut arrived = arrived.into_iter().peekable();
            while let Some(next) = arrived.next() {
                match next {
                    Arrived::PubAck {
                        connection, packet, ..
                    } => real.delivered(connection, packet)?,
                    Arrived::Frame(first) => {
                        // Records that came together share a commit; a hello stands alone.
                        let mut group = vec![first];
                        while group.iter().all(is_record)
                            && let Some(Arrived::Frame(next)) = arrived.next_if(
                                |next| matches!(next, Arrived::Frame(frame) if is_record(frame)),
                            )
                        {
                            group.push(next);
                        }
                        acknowledged.extend(real.take(&group, &mut heard, &mut wrong)?);
                    }
                }
            }
            Ok(())
        });
        self.heard.extend(heard);
        self.contradictions.extend(wrong);
        let told = acknowledged.into_iter();
        out.extend(told.map(|connection| Out::PubAck { connection }));
        out
    }

    /// Whether the hub lets a connection in.
    pub(crate) fn arrives(
        &mut self,
        now: u64,
        connection: u64,
        node: NodeId,
        key: PublicKey,
    ) -> bool {
        let mut let_in = true;
        let out = self.ask_real(now, |real| {
            let_in = real.connect(connection, node, key)?;
            Ok(())
        });
        self.out.extend(out);
        let_in
    }

    /// A command comes through the API; `None` when the hub refuses it.
    pub(crate) fn submit_real(
        &mut self,
        now: u64,
        nodes: &[NodeId],
        limits: Limits,
        seconds: u32,
    ) -> (Option<CommandId>, Vec<Out>) {
        let mut sent = None;
        let out = self.ask_real(now, |real| {
            sent = Some(real.send(nodes, limits, seconds)?);
            Ok(())
        });
        (sent, out)
    }

    pub(crate) fn back_up_real(&mut self) {
        if self.up
            && let Some(real) = &mut self.real
            && let Err(why) = real.back_up()
        {
            self.failed.get_or_insert(why);
        }
    }

    /// The program begins again, on its backup where `restored`.
    pub(crate) fn start_real(&mut self, now: u64, restored: bool) {
        let unix_ms = self.unix_ms(now);
        let Some(real) = &mut self.real else {
            return;
        };
        real.set_clock(unix_ms);
        let done = if restored { real.restore() } else { Ok(()) };
        if let Err(why) = done.and_then(|()| real.start()) {
            self.failed.get_or_insert(why);
        }
    }

    /// Copies what only the end asks for, too.
    pub(crate) fn look_closely(&mut self) {
        let nodes: Vec<NodeId> = self.store.nodes.keys().copied().collect();
        let Some(real) = &self.real else {
            return;
        };
        match real.copy(&nodes, true) {
            Ok(store) => self.store = store,
            Err(why) => drop(self.failed.get_or_insert(why)),
        }
    }
}

fn is_record(frame: &Incoming) -> bool {
    matches!(frame.topic, Topic::Stream(..))
}

impl Real {
    fn set_clock(&self, unix_ms: u64) {
        let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        self.clock
            .store(unix_ms, std::sync::atomic::Ordering::SeqCst);
    }

    /// Publishes a group; whom to acknowledge, in order.
    fn take(
        &mut self,
        group: &[Incoming],
        heard: &mut Vec<Heard>,
        wrong: &mut Vec<(NodeId, String)>,
    ) -> Result<Vec<u64>, String> {
        let mut before = BTreeMap::new();
        for frame in group {
            self.before(frame, &mut before)?;
        }
        let frames: Vec<_> = group
            .iter()
            .map(|frame| (frame.connection, frame.topic, frame.frame.clone()))
            .collect();
        let verdicts = self.publish(&frames)?;
        for frame in group {
            self.hear(frame, &mut before, heard, wrong)?;
        }
        let mut acknowledged = Vec::new();
        for (frame, verdict) in group.iter().zip(verdicts) {
            match verdict {
                Verdict::Accepted | Verdict::Discarded if frame.acknowledged => {
                    acknowledged.push(frame.connection);
                }
                Verdict::Accepted | Verdict::Discarded => {}
                Verdict::Close(reason) => {
                    if let Some(wire) = self.wires.get(&frame.connection) {
                        wire.mailbox.close(reason);
                    }
                }
            }
        }
        Ok(acknowledged)
    }

    /// Where the database stands in the streams of which a frame speaks.
    fn before(
        &mut self,
        frame: &Incoming,
        before: &mut BTreeMap<Life, [u64; 4]>,
    ) -> Result<(), String> {
        let life = match Up::decode(&frame.frame) {
            Ok(Up::Record { outbox, .. }) => (frame.node, outbox),
            Ok(Up::Hello(hello)) => {
                if let Some(wire) = self.wires.get_mut(&frame.connection) {
                    wire.outbox = hello.outbox;
                    wire.nonce = hello.nonce;
                    wire.greeted = false;
                }
                (frame.node, hello.outbox)
            }
            Ok(Up::Answer(_) | Up::Presence(_) | Up::Renewal(_) | Up::Enrol(_)) | Err(_) => {
                return Ok(());
            }
        };
        if let std::collections::btree_map::Entry::Vacant(vacant) = before.entry(life) {
            vacant.insert(self.heads(life)?);
        }
        Ok(())
    }

    fn heads(&self, (node, outbox): Life) -> Result<[u64; 4], String> {
        let running = self.running()?;
        let heads = running.hub.store().stream_heads(node, outbox);
        running.runtime.block_on(heads).map_err(super::said)
    }

    /// What the hub made of a frame, as the database now stands.
    fn hear(
        &mut self,
        frame: &Incoming,
        before: &mut BTreeMap<Life, [u64; 4]>,
        heard: &mut Vec<Heard>,
        wrong: &mut Vec<(NodeId, String)>,
    ) -> Result<(), String> {
        let (node, connection) = (frame.node, frame.connection);
        match Up::decode(&frame.frame) {
            Ok(Up::Presence(presence)) if presence.online => {
                heard.push(Heard::Greeted { node, connection });
            }
            Ok(Up::Hello(hello)) => self.opened(node, connection, &hello, heard)?,
            Ok(Up::Record {
                outbox,
                sequence,
                record,
            }) => {
                let Topic::Stream(_, class) = frame.topic else {
                    return Ok(());
                };
                let mut ends = None;
                let gap_from = match *record {
                    Record::Gap(gap) => Some(gap.first),
                    Record::Invocation(update) => {
                        ends = update.state.is_terminal().then_some(update.command);
                        None
                    }
                    Record::Output(_) | Record::Audit(_) | Record::Report(_) | Record::Log(_) => {
                        None
                    }
                };
                let after = self.heads((node, outbox))?;
                let reached = after.get(class.index()).copied().unwrap_or(0);
                let at = before.get_mut(&(node, outbox));
                let Some(at) = at.and_then(|heads| heads.get_mut(class.index())) else {
                    return Ok(());
                };
                if sequence > *at && sequence <= reached && gap_from.unwrap_or(sequence) <= *at + 1
                {
                    *at = sequence;
                    self.followed.ended.extend(ends.map(|id| (node, id)));
                    let stream = (node, outbox, class);
                    heard.push(Heard::Record {
                        stream,
                        gap_from,
                        last: sequence,
                    });
                }
            }
            Ok(Up::Answer(_) | Up::Presence(_) | Up::Renewal(_) | Up::Enrol(_)) => {}
            Err(why) => wrong.push((node, format!("sent what cannot be read: {why}"))),
        }
        Ok(())
    }

    /// A hello that was accepted: from where each stream goes on.
    fn opened(
        &mut self,
        node: NodeId,
        connection: u64,
        hello: &Hello,
        heard: &mut Vec<Heard>,
    ) -> Result<(), String> {
        if !self.is_greeted(connection) {
            return Ok(());
        }
        let older = match self.followed.lives.insert(node, hello.outbox) {
            Some(life) if life != hello.outbox => self.heads((node, life))?,
            Some(_) | None => [0; 4],
        };
        let after = self.heads((node, hello.outbox))?;
        for ((class, before), last) in Class::ALL.into_iter().zip(older).zip(after) {
            heard.push(Heard::Opened {
                stream: (node, hello.outbox, class),
                before,
                last,
            });
        }
        Ok(())
    }

    /// Whether what waits for a connection begins with the reply to its hello.
    fn is_greeted(&mut self, connection: u64) -> bool {
        self.collect(connection);
        self.wires.get(&connection).is_some_and(|wire| wire.greeted)
    }

    /// Takes what waits in a connection's mailbox.
    fn collect(&mut self, connection: u64) {
        let Some(wire) = self.wires.get_mut(&connection) else {
            return;
        };
        while let Some(outbound) = wire.mailbox.pop() {
            let down = Self::open(wire, &outbound.payload);
            wire.next_packet = wire.next_packet % (u16::MAX - 1) + 1;
            match (&down, outbound.delivery) {
                (Some(Down::Command(command)), Some(delivery)) => {
                    let unacked = (delivery, command.id);
                    wire.unacked.insert(wire.next_packet, unacked);
                }
                (Some(Down::HelloReply(reply)), _) if reply.nonce == wire.nonce => {
                    wire.greeted = true;
                }
                _ => {}
            }
            wire.leaving.push(Out::Publish {
                connection,
                packet: wire.next_packet,
                topic: outbound.topic,
                frame: outbound.payload.to_vec(),
            });
        }
    }

    /// All that waits for the nodes; connections that the hub has ended are closed after it.
    fn drain(&mut self) -> Result<Vec<Out>, String> {
        let mut out = Vec::new();
        let mut ended = Vec::new();
        for connection in self.wires.keys().copied().collect::<Vec<_>>() {
            self.collect(connection);
            if let Some(wire) = self.wires.get_mut(&connection) {
                out.append(&mut wire.leaving);
                if wire.mailbox.closed().is_some() {
                    ended.push(connection);
                }
            }
        }
        for connection in &ended {
            out.push(Out::Close {
                connection: *connection,
            });
            self.disconnect(*connection)?;
        }
        if !ended.is_empty() {
            out.extend(self.drain()?);
        }
        Ok(out)
    }
}
