//! What nodes say, applied once and in order by the bridge's real core.
//! Never applies a record of a session that is not open.

use super::{BUSY_MS, Bridge, Ended, Heard, Incoming, Out, Session};
use holdfast_bridge_core::invocation::{Event, Stage};
use holdfast_bridge_core::report::{self, Applied, BASES_MAX};
use holdfast_bridge_core::stream::{self, Acceptance};
use holdfast_bridge_core::token::Verdict;
use holdfast_protocol::bounded::{Bytes, List, Text};
use holdfast_protocol::down::{
    Ack, Cancel, Down, HelloRefusal, HelloRefusalReason, HelloReply, Resync,
};
use holdfast_protocol::enrol::{Outcome, Renewal, Reply, Request};
use holdfast_protocol::limits::REVISION;
use holdfast_protocol::report::{Content, Report};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{
    Answer, Class, GapReason, Hello, InvocationUpdate, OutputChunk, Record, Up,
};
use holdfast_protocol::{CommandId, NodeId, OutboxId};
use std::collections::{BTreeMap, BTreeSet};

impl Bridge {
    pub(super) fn ingest(&mut self, now: u64, incoming: &Incoming, random: [u8; 16]) {
        let node = incoming.node;
        match Up::decode(&incoming.frame) {
            Ok(Up::Hello(hello)) => self.hello(now, incoming, &hello, random),
            Ok(Up::Record {
                outbox,
                sequence,
                record,
            }) if self.is_open(incoming, outbox) => {
                // A gap does not say whose it is: its topic does.
                if let Topic::Stream(_, class) = incoming.topic {
                    self.record(node, outbox, class, sequence, *record);
                }
            }
            Ok(Up::Answer(answer)) => self.answer(now, node, answer),
            Ok(Up::Renewal(renewal)) => {
                if let Some(reply) = self.issue(now, &renewal) {
                    self.send(node, &Down::Renewed(reply), None);
                }
            }
            Ok(Up::Enrol(request)) => self.enrol(now, incoming, &request),
            // Its first word once its new token is durable.
            Ok(Up::Presence(presence)) if presence.online => {
                let connection = incoming.connection;
                self.heard.push(Heard::Greeted { node, connection });
            }
            Ok(Up::Record { .. } | Up::Presence(_)) => {}
            Err(why) => self
                .contradictions
                .push((node, format!("sent what cannot be read: {why}"))),
        }
    }

    /// A certificate for a fresh key, which both keys have asked for.
    fn issue(&self, now: u64, renewal: &Renewal) -> Option<Reply> {
        if !renewal.verify() {
            return None;
        }
        let unix = self.unix_ms(now);
        let life = [unix.to_le_bytes(), (unix + self.life_ms).to_le_bytes()];
        let outcome = Outcome::Issued {
            node: renewal.node,
            certificate: Bytes::new(life.concat()).ok()?,
            unix_ms: unix,
        };
        Reply::new(renewal.nonce, renewal.key, &outcome, &self.sealer).ok()
    }

    /// Who comes without a good certificate is answered on the topic of the request.
    fn enrol(&mut self, now: u64, incoming: &Incoming, request: &Request) {
        let Request::Renew(renewal) = request else {
            return;
        };
        let reply = self.issue(now, renewal);
        if let Some(frame) = reply.and_then(|reply| reply.to_frame().ok()) {
            self.out.push(Out::Publish {
                connection: incoming.connection,
                packet: 0,
                topic: Topic::EnrolReply(renewal.nonce),
                frame,
            });
        }
    }

    fn is_open(&self, incoming: &Incoming, outbox: OutboxId) -> bool {
        self.sessions.get(&incoming.node).is_some_and(|session| {
            session.open && session.connection == incoming.connection && session.outbox == outbox
        })
    }

    fn hello(&mut self, now: u64, incoming: &Incoming, hello: &Hello, random: [u8; 16]) {
        let node = incoming.node;
        let old = self.sessions.remove(&node);
        let next_packet = match old {
            Some(old) if old.connection == incoming.connection => old.next_packet,
            Some(old) => {
                let connection = old.connection;
                self.out.push(Out::Close { connection });
                0
            }
            None => 0,
        };
        self.sessions.insert(
            node,
            Session {
                connection: incoming.connection,
                outbox: hello.outbox,
                nonce: hello.nonce,
                open: false,
                next_packet,
                certified: 0,
                unacked: BTreeMap::new(),
                asked: BTreeSet::new(),
                busy_until: now,
                owes: false,
            },
        );
        let row = self.store.nodes.entry(node).or_default();
        row.counter = row.counter.max(hello.counter);
        let verdict = self
            .tokens
            .judge(node, row.chain.as_ref(), hello.token.as_ref());
        if matches!(verdict, Verdict::Quarantine(_)) {
            row.quarantined = true;
        }
        if row.quarantined {
            let refusal = HelloRefusal {
                nonce: hello.nonce,
                reason: HelloRefusalReason::Quarantined,
                detail: Text::cut("its token was used before"),
            };
            return self.send(node, &Down::HelloRefusal(refusal), None);
        }
        self.accept(now, incoming, hello, random);
    }

    fn accept(&mut self, now: u64, incoming: &Incoming, hello: &Hello, random: [u8; 16]) {
        let node = incoming.node;
        let unix = self.unix_ms(now);
        let row = self.store.nodes.entry(node).or_default();
        let chain = self
            .tokens
            .extend(node, row.chain.as_ref(), hello.token.as_ref(), random);
        let token = chain.issued.clone();
        row.chain = Some(chain);
        let applied = row.applied.get(&hello.outbox).copied();
        let life = row.life.and_then(|life| row.applied.get(&life));
        let older = life.copied().unwrap_or_default();
        let mut acks = [0; 4];
        let mut regressed = false;
        for (class, ack) in Class::ALL.into_iter().zip(&mut acks) {
            let of = |applied: [u64; 4]| applied.get(class.index()).copied();
            let head = hello.streams.get(class.index()).copied();
            let before = of(older).unwrap_or(0);
            let opened = stream::open(applied.and_then(of), before, head.unwrap_or_default());
            if let Some(opened) = opened {
                *ack = opened.last;
                regressed |= opened.regressed;
                self.store.gaps += opened.lost;
                self.heard.push(Heard::Opened {
                    stream: (node, hello.outbox, class),
                    before,
                    last: opened.last,
                });
            }
        }
        // A new life of the outbox has lost what it held: sent once more, a command could run twice.
        let same_life = row.life.replace(hello.outbox) == Some(hello.outbox);
        row.applied.insert(hello.outbox, acks);
        let held: Vec<_> = row
            .tables
            .iter()
            .map(|table| (crate::machine::type_name(), table.hash()))
            .collect();
        let resync = report::wanted(&held, &hello.bases);
        if let Some(session) = self.sessions.get_mut(&node) {
            session.open = !regressed;
        }
        let reply = HelloReply {
            nonce: hello.nonce,
            unix_ms: unix,
            revision: REVISION,
            token,
            acks,
            resync: List::new(resync).unwrap_or_default(),
        };
        self.send(node, &Down::HelloReply(reply), None);
        // Before any command: by a floor that stands ahead every one has expired.
        self.send_floor_reset(now, node);
        if !regressed {
            self.presence(node, Event::LinkUp);
            self.resend(node, same_life, unix);
        }
    }

    /// What was sent and perhaps never came, while it may begin, and cancels that perhaps never came.
    /// `known`: also what the node is known to have.
    fn resend(&mut self, node: NodeId, known: bool, unix: u64) {
        let mut commands = Vec::new();
        let mut cancels = Vec::new();
        for (id, command) in &mut self.store.commands {
            let may_send = command.may_send(unix);
            let Some(row) = command.rows.get_mut(&node) else {
                continue;
            };
            if row.state.stage != Stage::Sent {
                continue;
            }
            if row.state.cancelling {
                cancels.push(*id);
            } else if (known || !row.state.delivered) && may_send {
                row.state.apply(Event::Resent);
                commands.push(*id);
            }
        }
        for id in commands {
            self.send_command(node, id);
        }
        for command in cancels {
            self.send(node, &Down::Cancel(Cancel { command }), None);
        }
    }

    fn record(
        &mut self,
        node: NodeId,
        outbox: OutboxId,
        class: Class,
        sequence: u64,
        record: Record,
    ) {
        let Some(row) = self.store.nodes.get_mut(&node) else {
            return;
        };
        let gap = match &record {
            Record::Gap(gap) => Some(gap.first),
            Record::Invocation(_)
            | Record::Output(_)
            | Record::Audit(_)
            | Record::Report(_)
            | Record::Log(_) => None,
        };
        let applied = row.applied.entry(outbox).or_default();
        let Some(last) = applied.get_mut(class.index()) else {
            return;
        };
        match stream::accept(*last, sequence, gap) {
            Acceptance::Apply => *last = sequence,
            Acceptance::Gap { missing } => {
                *last = sequence;
                self.store.gaps += missing;
            }
            Acceptance::Duplicate | Acceptance::Hole => return self.owe(node),
            Acceptance::Invalid => {
                let what = format!("record {sequence} of {class:?} is impossible");
                return self.contradictions.push((node, what));
            }
        }
        self.heard.push(Heard::Record {
            stream: (node, outbox, class),
            gap_from: gap,
            last: sequence,
        });
        match record {
            Record::Invocation(update) => self.update(node, &update),
            Record::Output(chunk) => self.output(node, &chunk),
            Record::Report(report) => self.report(node, report),
            Record::Gap(gap) => {
                let kept = matches!(class, Class::Result | Class::Audit);
                if kept && gap.reason == GapReason::Evicted {
                    let what = format!("gave up records of {class:?}");
                    self.contradictions.push((node, what));
                }
            }
            Record::Audit(event) => self.confirm_floor(node, &event),
            Record::Log(_) => {}
        }
        self.owe(node);
    }

    fn owe(&mut self, node: NodeId) {
        if let Some(session) = self.sessions.get_mut(&node) {
            session.owes = true;
        }
    }

    /// Tells a node what is committed, once for all of a commit.
    pub(super) fn acknowledge(&mut self, node: NodeId) {
        if let Some(session) = self.sessions.get_mut(&node) {
            session.owes = false;
        }
        let outbox = self.sessions.get(&node).map(|session| session.outbox);
        let row = self.store.nodes.get(&node);
        let acks = outbox
            .zip(row)
            .and_then(|(outbox, row)| row.applied.get(&outbox));
        if let Some(acks) = acks.copied() {
            self.send(node, &Down::Ack(Ack { acks }), None);
        }
    }

    fn update(&mut self, node: NodeId, update: &InvocationUpdate) {
        let id = update.command;
        let row = self.store.commands.get_mut(&id);
        let Some(row) = row.and_then(|row| row.rows.get_mut(&node)) else {
            return;
        };
        row.state.apply(Event::Result(update.state));
        if !update.state.is_terminal() {
            return;
        }
        let ended = Ended::from(update);
        if let Some(before) = &row.result
            && before.state != ended.state
        {
            let what = format!("{id} was {} and is now {}", before.state, ended.state);
            self.contradictions.push((node, what));
            return;
        }
        row.result = Some(ended);
    }

    fn output(&mut self, node: NodeId, chunk: &OutputChunk) {
        let row = self.store.commands.get_mut(&chunk.command);
        let Some(row) = row.and_then(|row| row.rows.get_mut(&node)) else {
            return;
        };
        let (offset, length) = (chunk.offset as usize, chunk.bytes.len());
        if let Some(part) = row.kept.take(chunk.step, chunk.stream, offset, length) {
            *row.output_bytes.entry(chunk.step).or_default() += part.len() as u64;
        }
    }

    fn report(&mut self, node: NodeId, report: Report) {
        let type_name = report.type_name.clone();
        let Some(row) = self.store.nodes.get_mut(&node) else {
            return;
        };
        let at_hand = match &report.content {
            Content::Delta(delta) => row.tables.iter().any(|base| base.hash() == delta.base),
            Content::Whole(_) => true,
            Content::Unchanged(hash) => row.tables.iter().any(|base| base.hash() == *hash),
        };
        match report::apply(&row.tables, report) {
            Applied::Replace(table) => {
                row.tables.insert(0, table);
                row.tables.truncate(BASES_MAX);
            }
            Applied::Unchanged => {}
            Applied::Resync => {
                if at_hand {
                    let what = "the whole is asked for of a report whose base is here".to_owned();
                    self.contradictions.push((node, what));
                }
                let reports = List::new(vec![type_name]).unwrap_or_default();
                self.send(node, &Down::Resync(Resync { reports }), None);
            }
        }
    }

    fn answer(&mut self, now: u64, node: NodeId, answer: Answer) {
        match answer {
            Answer::Busy { command, .. } => {
                if let Some(session) = self.sessions.get_mut(&node) {
                    session.busy_until = now + BUSY_MS;
                }
                self.apply(node, command, Event::Busy);
            }
            Answer::Stale {
                command: Some(command),
                ..
            } => self.send_stale(now, node, command),
            Answer::Stale { command: None, .. } => {}
            Answer::Known { command, state } if !state.is_terminal() => {
                self.apply(node, command, Event::Progress);
            }
            Answer::Known { command, .. } => {
                let session = self.sessions.get(&node);
                let asked = session.is_some_and(|session| session.asked.contains(&command));
                if asked && self.awaits_end(node, command) {
                    self.heard.push(Heard::Known { node, command });
                }
                self.apply(node, command, Event::Delivered);
            }
            Answer::Unknown { command } => self.apply(node, command, Event::UnknownToNode),
        }
    }

    fn awaits_end(&self, node: NodeId, command: CommandId) -> bool {
        let row = self.store.commands.get(&command);
        row.and_then(|row| row.rows.get(&node))
            .is_some_and(|row| row.state.stage == Stage::Sent)
    }

    /// What came under a counter that was used up is sealed anew, while it is still to be done.
    fn send_stale(&mut self, now: u64, node: NodeId, id: CommandId) {
        let unix = self.unix_ms(now);
        // It did not take what its transport is about to acknowledge.
        if let Some(session) = self.sessions.get_mut(&node) {
            session.unacked.retain(|_, command| *command != id);
        }
        self.apply(node, id, Event::Stale);
        let Some(command) = self.store.commands.get(&id) else {
            return;
        };
        let Some(row) = command.rows.get(&node) else {
            return;
        };
        // The node's word that it has nothing of it outweighs its transport's.
        if row.state.awaits_cancel() {
            self.send(node, &Down::Cancel(Cancel { command: id }), None);
        } else if row.state.awaits_node() && command.may_send(unix) {
            self.send_command(node, id);
        }
    }
}
