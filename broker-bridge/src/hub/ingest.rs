//! Records of the four streams: applied in groups, once each, then acknowledged cumulatively.
//! Never acknowledges what is not committed, never lets one node's record hold up another's.

use super::Hub;
use super::session::{Dating, Session, lock};
use crate::mqtt::sessions::ready;
use crate::mqtt::{CloseReason, Verdict};
use crate::store::error::signed;
use crate::store::invocations::{self, Outcome};
use crate::store::streams::{self, Heads, NewEvent};
use crate::store::writing;
use crate::store::{Step, StoreError, UnixMs, commands, floors, nodes, outputs, reports};
use holdfast_bridge_core::invocation::Event;
use holdfast_bridge_core::output::Kept;
use holdfast_bridge_core::patch;
use holdfast_bridge_core::report::{Applied, apply};
use holdfast_bridge_core::stream::{Acceptance, accept};
use holdfast_bridge_core::turns::Turns;
use holdfast_protocol::bounded::{Bytes, List};
use holdfast_protocol::down::{Ack, Down, FloorReset, Resync};
use holdfast_protocol::limits::REPORTS_MAX;
use holdfast_protocol::report::{Report, TypeName};
use holdfast_protocol::up::{
    GapReason, InvocationUpdate, OutputChunk, Record, StepResult, StepState,
};
use holdfast_protocol::{Class, CommandId, NodeId, OutboxId};
use sqlx::SqliteConnection;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot};

/// Records that share a write at most, and about how many bytes of frames: one commit for many,
/// and no command waits long behind it.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of frames that wait to be applied at most. From the half of it on, nodes are read more
/// slowly; above, the connection is closed.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Types of reports kept of a node: as many as the wire lets a hello name.
const TYPES_MAX: i64 = 32;
const _: () = assert!(TYPES_MAX == REPORTS_MAX as i64);

/// A record as it came.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) session: Arc<Session>,
    pub(super) outbox: OutboxId,
    pub(super) class: Class,
    pub(super) sequence: u64,
    pub(super) record: Record,
    pub(super) dating: Dating,
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Verdict>,
}

/// Records that wait, by turns of their nodes and bounded in bytes.
#[derive(Debug)]
pub(super) struct Queue {
    records: Mutex<Turns<NodeId, Incoming>>,
    woken: Notify,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            records: Mutex::new(Turns::new(WAITING_BYTES_MAX)),
            woken: Notify::new(),
        }
    }

    /// Adds a record; `answer` is where its verdict comes out.
    pub(super) fn push(
        &self,
        incoming: Incoming,
        answer: oneshot::Receiver<Verdict>,
    ) -> oneshot::Receiver<Verdict> {
        let (node, bytes) = (incoming.session.node, incoming.bytes);
        let pushed = lock(&self.records).push(node, bytes, incoming);
        if let Err(full) = pushed {
            tracing::warn!(node_id = %node, "a record is not taken: {full}");
            return ready(Verdict::Close(CloseReason::Store));
        }
        self.woken.notify_one();
        answer
    }

    /// How many unanswered publishes one node may have now.
    pub(super) fn window(&self, full: usize) -> usize {
        lock(&self.records).window(full)
    }

    /// The next group; waits until there is one.
    async fn next(&self) -> Vec<Incoming> {
        loop {
            let group = lock(&self.records).take(GROUP, GROUP_BYTES);
            if !group.is_empty() {
                return group;
            }
            self.woken.notified().await;
        }
    }
}

/// A record to be applied.
struct Item {
    node: NodeId,
    outbox: OutboxId,
    class: Class,
    sequence: u64,
    record: Record,
    dating: Dating,
}

/// A record to be applied, and whom to tell.
struct Asker {
    item: Arc<Item>,
    session: Arc<Session>,
    reply: oneshot::Sender<Verdict>,
}

impl From<Incoming> for Asker {
    fn from(incoming: Incoming) -> Self {
        let item = Item {
            node: incoming.session.node,
            outbox: incoming.outbox,
            class: incoming.class,
            sequence: incoming.sequence,
            record: incoming.record,
            dating: incoming.dating,
        };
        Self {
            item: Arc::new(item),
            session: incoming.session,
            reply: incoming.reply,
        }
    }
}

fn tell(askers: Vec<Asker>, verdict: Verdict) {
    for asker in askers {
        // A connection that is gone no longer asks.
        let _ = asker.reply.send(verdict);
    }
}

/// What a group came to, committed.
#[derive(Default)]
struct Group {
    heads: BTreeMap<(NodeId, OutboxId), Heads>,
    moved: BTreeSet<(NodeId, OutboxId, Class)>,
    events: Vec<NewEvent>,
    outputs: Vec<(NodeId, OutputChunk)>,
    /// What is kept of an invocation's output, this group's included; `None`: it takes none.
    kept: BTreeMap<(CommandId, NodeId), Option<Kept>>,
    commands: BTreeSet<CommandId>,
    finished: BTreeSet<NodeId>,
    resync: Vec<(NodeId, TypeName)>,
    scanned: BTreeMap<NodeId, UnixMs>,
}

fn reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Evicted => "evicted",
        GapReason::Superseded => "superseded",
        GapReason::Damaged => "damaged",
    }
}

fn step(result: &StepResult, dating: Dating) -> Step {
    let state = match result.state {
        StepState::Success => "Success",
        StepState::Failed => "Failed",
        StepState::TimedOut => "TimedOut",
        StepState::Cancelled => "Cancelled",
        StepState::Skipped => "Skipped",
        StepState::Interrupted => "Interrupted",
    };
    Step {
        name: result.name.to_string(),
        action: result.action.to_string(),
        state: state.to_owned(),
        exit_code: result.exit_code,
        started: result.started.and_then(|stamp| dating.date(&stamp)),
        ended: result.ended.and_then(|stamp| dating.date(&stamp)),
        stdout_bytes: result.stdout_bytes,
        stderr_bytes: result.stderr_bytes,
        detail: result.detail.to_string(),
    }
}

impl Group {
    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
        item: &Item,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let (node, key) = (item.node, (item.node, item.outbox));
        if let Entry::Vacant(vacant) = self.heads.entry(key) {
            if !nodes::is_heard(connection, node).await? {
                // It was deregistered or quarantined while this record waited.
                return Ok(());
            }
            let heads = streams::heads(connection, node, item.outbox).await?;
            vacant.insert(heads.map(Option::unwrap_or_default));
        }
        let heads = self.heads.get_mut(&key).into_iter().flatten();
        let Some(last) = heads
            .zip(Class::ALL)
            .find_map(|(head, class)| (class == item.class).then_some(head))
        else {
            return Ok(());
        };
        let gap = match &item.record {
            Record::Gap(gap) => Some(gap.first),
            Record::Invocation(_)
            | Record::Output(_)
            | Record::Audit(_)
            | Record::Report(_)
            | Record::Log(_) => None,
        };
        match accept(*last, item.sequence, gap) {
            Acceptance::Duplicate | Acceptance::Hole => return Ok(()),
            Acceptance::Invalid => {
                tracing::warn!(node_id = %node, sequence = item.sequence, "no stream has such a record");
                return Ok(());
            }
            Acceptance::Gap { missing } => {
                *last = item.sequence;
                if let Record::Gap(gap) = &item.record {
                    streams::add_gap(
                        connection,
                        node,
                        item.class,
                        reason(gap.reason),
                        missing,
                        now,
                    )
                    .await?;
                }
            }
            Acceptance::Apply => {
                *last = item.sequence;
                self.take(connection, item, now).await?;
            }
        }
        self.moved.insert((node, item.outbox, item.class));
        Ok(())
    }

    async fn take(
        &mut self,
        connection: &mut SqliteConnection,
        item: &Item,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        match &item.record {
            Record::Invocation(update) => self.update(connection, item, update, now).await,
            Record::Output(chunk) => self.output(connection, item.node, chunk).await,
            Record::Audit(event) | Record::Log(event) => {
                if item.class == Class::Audit
                    && event.name.as_str() == FloorReset::CONFIRMATION
                    && let Some(floor) = FloorReset::confirmed(&event.detail)
                {
                    floors::confirm(connection, item.node, signed(floor)).await?;
                }
                self.events.push(NewEvent {
                    node: item.node,
                    class: item.class,
                    name: event.name.to_string(),
                    detail: event.detail.to_string(),
                    occurred: item.dating.date(&event.stamp),
                });
                Ok(())
            }
            Record::Report(report) => self.report(connection, item, report, now).await,
            Record::Gap(_) => Ok(()),
        }
    }

    /// Keeps of a piece of output what the core lets be kept.
    async fn output(
        &mut self,
        connection: &mut SqliteConnection,
        node: NodeId,
        chunk: &OutputChunk,
    ) -> Result<(), StoreError> {
        let key = (chunk.command, node);
        if let Entry::Vacant(vacant) = self.kept.entry(key) {
            vacant.insert(outputs::kept(connection, key).await?);
        }
        let Some(kept) = self.kept.get_mut(&key).and_then(Option::as_mut) else {
            tracing::warn!(node_id = %node, command_id = %chunk.command, "output of no invocation that is under way");
            return Ok(());
        };
        let (offset, length) = (chunk.offset as usize, chunk.bytes.len());
        let part = kept.take(chunk.step, chunk.stream, offset, length);
        let bytes = part.clone().and_then(|part| chunk.bytes.get(part));
        let (Some(part), Some(bytes)) = (part, bytes) else {
            tracing::warn!(node_id = %node, command_id = %chunk.command, offset, length, "output is there already, or over its bound");
            return Ok(());
        };
        let chunk = OutputChunk {
            offset: u32::try_from(offset + part.start).unwrap_or(u32::MAX),
            bytes: Bytes::new(bytes).unwrap_or_default(),
            ..*chunk
        };
        self.outputs.push((node, chunk));
        Ok(())
    }

    async fn update(
        &mut self,
        connection: &mut SqliteConnection,
        item: &Item,
        update: &InvocationUpdate,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let key = (update.command, item.node);
        let dated = item.dating.date(&update.stamp).unwrap_or(now);
        let terminal = update.state.is_terminal();
        if terminal {
            self.kept.insert(key, None);
        }
        let changed =
            invocations::advance(connection, key, Event::Result(update.state), dated).await?;
        match (changed, terminal) {
            (None, _) => self.events.push(NewEvent {
                // A restored bridge does not remember the command; its result is told all the same.
                node: item.node,
                class: Class::Audit,
                name: "result-of-unknown-command".to_owned(),
                detail: format!("{} {:?} {}", update.command, update.state, &*update.detail),
                occurred: Some(dated),
            }),
            (Some(true), true) => {
                let steps: Vec<_> = update
                    .steps
                    .iter()
                    .map(|result| step(result, item.dating))
                    .collect();
                let started = steps.iter().filter_map(|step| step.started).min();
                let outcome = Outcome {
                    steps: &steps,
                    detail: &update.detail,
                    started,
                    ended: dated,
                };
                invocations::save_outcome(connection, key, &outcome).await?;
                self.finished.insert(item.node);
            }
            (Some(_), false) => {
                if update.state == holdfast_protocol::up::InvocationState::InProgress {
                    invocations::save_started(connection, key, dated).await?;
                }
            }
            (Some(false), true) => {}
        }
        if changed == Some(true) {
            self.commands.insert(update.command);
        }
        Ok(())
    }

    async fn report(
        &mut self,
        connection: &mut SqliteConnection,
        item: &Item,
        report: &Report,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let (node, name) = (item.node, report.type_name.as_str());
        let captured = item.dating.date(&report.captured).unwrap_or(now);
        let bases = reports::bases(connection, node, name).await?;
        if bases.is_empty() && reports::types(connection, node).await? >= TYPES_MAX {
            tracing::warn!(node_id = %node, max = TYPES_MAX, "a report of one type too many is dropped");
            return Ok(());
        }
        match apply(&bases, report.clone()) {
            Applied::Replace(table) => {
                reports::replace(connection, node, name, &table, captured).await?;
            }
            Applied::Unchanged => reports::touch(connection, node, name, captured).await?,
            Applied::Resync => {
                reports::want(connection, node, name).await?;
                self.resync.push((node, report.type_name.clone()));
                return Ok(());
            }
        }
        if name == patch::SUMMARY_TYPE || name == patch::STATE_TYPE {
            self.scanned.insert(node, captured);
        }
        Ok(())
    }

    /// What the whole group changed, once.
    async fn finish(
        &mut self,
        connection: &mut SqliteConnection,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        outputs::insert(connection, &self.outputs).await?;
        streams::insert_events(connection, &self.events, now).await?;
        for (node, captured) in &self.scanned {
            reports::derive(connection, *node, *captured).await?;
        }
        for command in &self.commands {
            commands::refresh(connection, *command).await?;
        }
        for node in &self.finished {
            // It has room again: what it was too busy for is due.
            invocations::retry_now(connection, *node).await?;
        }
        for (node, outbox, class) in &self.moved {
            let heads = self.heads.get(&(*node, *outbox));
            if let Some(last) = heads.and_then(|heads| heads.get(class.index())) {
                streams::save_head(connection, *node, *outbox, *class, *last).await?;
            }
        }
        Ok(())
    }
}

impl Hub {
    pub(super) async fn ingest_records(self) {
        loop {
            let group = self.shared.ingest.next().await;
            self.ingest(group).await;
            lock(&self.shared.ingest.records).done();
        }
    }

    async fn ingest(&self, incoming: Vec<Incoming>) {
        let askers = incoming.into_iter().map(Asker::from).collect();
        let Err((_, askers)) = self.apply(askers).await else {
            return;
        };
        // What one node sent and the store cannot take must not hold up the others.
        let mut by_node: BTreeMap<NodeId, Vec<Asker>> = BTreeMap::new();
        for asker in askers {
            by_node.entry(asker.item.node).or_default().push(asker);
        }
        for (node, askers) in by_node {
            if let Err((error, askers)) = self.apply(askers).await {
                tracing::error!(node_id = %node, %error, records = askers.len(), "records were not stored");
                tell(askers, Verdict::Close(CloseReason::Store));
            }
        }
    }

    /// Applies records together and tells their senders; gives back what was not stored.
    async fn apply(&self, askers: Vec<Asker>) -> Result<(), (StoreError, Vec<Asker>)> {
        let items = askers.iter().map(|asker| Arc::clone(&asker.item)).collect();
        match self.write(items).await {
            Ok(group) => {
                self.acknowledge(&askers, &group);
                tell(askers, Verdict::Accepted);
                Ok(())
            }
            Err(error) => Err((error, askers)),
        }
    }

    async fn write(&self, items: Vec<Arc<Item>>) -> Result<Group, StoreError> {
        let now = self.shared.clock.now();
        let work = writing::<_, Group, StoreError>(move |connection| {
            Box::pin(async move {
                let mut group = Group::default();
                for item in items {
                    group.apply(connection, &item, now).await?;
                }
                group.finish(connection, now).await?;
                Ok(group)
            })
        });
        self.shared.store.writer.write(work).await
    }

    /// One acknowledgement a node, whatever number of its records the group held.
    fn acknowledge(&self, askers: &[Asker], group: &Group) {
        let mut told = BTreeSet::new();
        for Asker { item, session, .. } in askers {
            let key = (item.node, item.outbox);
            let current = session
                .greeted()
                .is_some_and(|greeted| greeted.outbox == item.outbox);
            if let Some(acks) = group
                .heads
                .get(&key)
                .filter(|_| current && told.insert(key))
            {
                session.send(&Down::Ack(Ack { acks: *acks }), None, &self.shared.sealers);
            }
        }
        for (node, name) in &group.resync {
            let reports = List::new(vec![name.clone()]).unwrap_or_default();
            if let Some(session) = self.shared.sessions.of_node(*node) {
                session.send(
                    &Down::Resync(Resync { reports }),
                    None,
                    &self.shared.sealers,
                );
            }
        }
        self.shared.dispatch.mark(group.commands.iter().copied());
    }
}
