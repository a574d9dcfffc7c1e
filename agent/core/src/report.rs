//! Reports of the stream *state*: each table as a whole, a delta against the last acknowledged base, or unchanged.
//! Never keeps a table in memory longer than it takes to write the report; bases lie in the ledger.

use crate::context::{Context, Purpose};
use crate::core::RestoreError;
use crate::effect::{BULK_PREFIX, Effect, StoreOp, Write};
use crate::input::Monotonic;
use crate::store::{self, REPORT_PREFIX};
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::List;
use holdfast_protocol::limits::REPORTS_MAX;
use holdfast_protocol::report::{Content, Report, Table, TableHash, TypeName};
use holdfast_protocol::up::{Class, Record, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A table in the ledger: one of two slots, so that a new one never overwrites the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    slot: u8,
    hash: TableHash,
}

/// What is durable of one report type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TypeRecord {
    type_name: TypeName,
    /// The last table that the bridge acknowledged.
    base: Option<Held>,
    /// A newer one that it has not yet.
    sent: Option<Held>,
}

#[derive(Debug)]
struct TypeState {
    record: TypeRecord,
    /// Sequence of `record.sent`; `None` until the journal has said it.
    sent_sequence: Option<u64>,
    /// The bridge asked for the whole: no delta until one is acknowledged.
    whole: bool,
}

#[derive(Debug)]
enum Job {
    /// Write what was gathered.
    Table {
        table: Box<Table>,
        captured: Stamp,
        origins: BTreeSet<CommandId>,
    },
    /// Send again, as a whole, what the ledger holds.
    Repeat,
}

#[derive(Debug)]
enum Active {
    Loading { key: u16, slot: u8, job: Job },
    Writing { origins: BTreeSet<CommandId> },
}

/// The reports.
#[derive(Debug)]
pub(crate) struct Reports {
    types: BTreeMap<u16, TypeState>,
    waiting: BTreeMap<u16, Job>,
    order: VecDeque<u16>,
    active: Option<Active>,
}

fn record_key(key: u16) -> String {
    format!("{REPORT_PREFIX}{key}")
}

fn table_key(key: u16, slot: u8) -> String {
    format!("{BULK_PREFIX}{key}/{slot}")
}

impl Reports {
    /// `head`: of stream *state*. Which record carried an unacknowledged table is not known after a
    /// restart; it is no later than the head.
    pub(crate) fn restore(entries: &[(String, Vec<u8>)], head: u64) -> Result<Self, RestoreError> {
        let mut types = BTreeMap::new();
        for (key, value) in entries {
            let Some(number) = key.strip_prefix(REPORT_PREFIX) else {
                continue;
            };
            let Ok(number) = number.parse() else {
                continue;
            };
            let record = match store::decode(key, value) {
                Ok(record) => record,
                // Nothing is lost with a base: the next report of its type is sent whole.
                Err(RestoreError::Malformed { .. }) => continue,
                Err(newer @ RestoreError::Layout { .. }) => return Err(newer),
            };
            let state = TypeState {
                record,
                sent_sequence: Some(head),
                whole: false,
            };
            types.insert(number, state);
        }
        Ok(Self {
            types,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            active: None,
        })
    }

    /// Bases for the hello.
    pub(crate) fn bases(&self) -> List<(TypeName, TableHash), REPORTS_MAX> {
        let held = self.types.values().filter_map(|state| {
            let base = state.record.base?;
            Some((state.record.type_name.clone(), base.hash))
        });
        List::new(held.take(REPORTS_MAX).collect()).unwrap_or_default()
    }

    /// A table was gathered; of one type the newest wins.
    pub(crate) fn reported(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        origin: Option<CommandId>,
        type_name: &TypeName,
        table: Table,
    ) {
        let Some(key) = self.key_of(type_name) else {
            let detail = format!("{type_name}: at most {REPORTS_MAX} report types are kept");
            return ctx.note(now, "report-refused", &detail);
        };
        let mut origins: BTreeSet<CommandId> = origin.into_iter().collect();
        if let Some(Job::Table { origins: older, .. }) = self.waiting.remove(&key) {
            origins.extend(older);
        }
        let captured = ctx.record.clock.stamp(now);
        self.enqueue(
            key,
            Job::Table {
                table: Box::new(table),
                captured,
                origins,
            },
        );
        self.settle(ctx, now);
    }

    /// The bridge lacks these bases. Returns whether one of them has to be gathered first.
    pub(crate) fn resync(&mut self, ctx: &mut Context, now: Monotonic, types: &[TypeName]) {
        let wanted: Vec<u16> = self
            .types
            .iter_mut()
            .filter(|(_, state)| types.contains(&state.record.type_name))
            .map(|(key, state)| {
                state.whole = true;
                *key
            })
            .collect();
        for key in wanted {
            if !self.waiting.contains_key(&key) {
                self.enqueue(key, Job::Repeat);
            }
        }
        self.settle(ctx, now);
    }

    fn enqueue(&mut self, key: u16, job: Job) {
        self.waiting.insert(key, job);
        if !self.order.contains(&key) {
            self.order.push_back(key);
        }
    }

    /// Whether something that a command's step reported is not durable yet.
    pub(crate) fn busy_with(&self, command: CommandId) -> bool {
        let waiting = self.waiting.values().any(|job| match job {
            Job::Table { origins, .. } => origins.contains(&command),
            Job::Repeat => false,
        });
        waiting
            || match &self.active {
                Some(Active::Loading {
                    job: Job::Table { origins, .. },
                    ..
                })
                | Some(Active::Writing { origins }) => origins.contains(&command),
                Some(Active::Loading {
                    job: Job::Repeat, ..
                })
                | None => false,
            }
    }

    fn key_of(&mut self, type_name: &TypeName) -> Option<u16> {
        let known = self
            .types
            .iter()
            .find(|(_, state)| state.record.type_name == *type_name)
            .map(|(key, _)| *key);
        if known.is_some() {
            return known;
        }
        // Key 0 is the one of records without a key.
        let free = (1_u16..)
            .take(REPORTS_MAX)
            .find(|key| !self.types.contains_key(key))?;
        let state = TypeState {
            record: TypeRecord {
                type_name: type_name.clone(),
                base: None,
                sent: None,
            },
            sent_sequence: None,
            whole: false,
        };
        self.types.insert(free, state);
        Some(free)
    }

    /// Takes the next job, one at a time.
    fn settle(&mut self, ctx: &mut Context, now: Monotonic) {
        while self.active.is_none() {
            let Some(key) = self.order.pop_front() else {
                return;
            };
            let Some((job, state)) = self.waiting.remove(&key).zip(self.types.get(&key)) else {
                continue;
            };
            let record = &state.record;
            let needed = match &job {
                Job::Repeat => record.sent.or(record.base),
                Job::Table { table, .. } => record
                    .base
                    .filter(|base| !state.whole && !is_unchanged(record, *base, table)),
            };
            match (needed, job) {
                (Some(held), job) => {
                    let slot = held.slot;
                    self.active = Some(Active::Loading { key, slot, job });
                    ctx.push(Effect::Store(StoreOp::Load {
                        key: table_key(key, slot),
                    }));
                }
                (None, job) => self.write(ctx, now, key, job, None),
            }
        }
    }

    /// A table has come from the ledger.
    pub(crate) fn loaded(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        name: &str,
        value: Option<&[u8]>,
    ) {
        let is_awaited = |active: &mut Active| matches!(active, Active::Loading { key, slot, .. } if table_key(*key, *slot) == name);
        let Some(Active::Loading { key, job, .. }) = self.active.take_if(is_awaited) else {
            return;
        };
        let report = value
            .and_then(|value| Record::from_stored(value).ok())
            .and_then(|record| match record {
                Record::Report(report) => Some(report),
                Record::Invocation(_)
                | Record::Output(_)
                | Record::Audit(_)
                | Record::Log(_)
                | Record::Gap(_) => None,
            });
        self.write(ctx, now, key, job, report);
        self.settle(ctx, now);
    }

    fn write(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        key: u16,
        job: Job,
        loaded: Option<Report>,
    ) {
        let Some(state) = self.types.get_mut(&key) else {
            return;
        };
        let type_name = state.record.type_name.clone();
        let (table, captured, origins) = match (job, loaded) {
            (
                Job::Table {
                    table,
                    captured,
                    origins,
                },
                loaded,
            ) => {
                if let Some(base) = state.record.base
                    && !state.whole
                    && is_unchanged(&state.record, base, &table)
                {
                    let content = Content::Unchanged(base.hash);
                    let report = Report {
                        type_name,
                        captured,
                        content,
                    };
                    return self.append(ctx, now, key, &Record::Report(report), origins, vec![]);
                }
                let base = loaded.and_then(whole_table).filter(|_| !state.whole);
                let delta = base.and_then(|base| table.delta_from(&base));
                return self.write_table(ctx, now, key, *table, captured, delta, origins);
            }
            (Job::Repeat, Some(report)) => {
                let captured = report.captured;
                let Some(table) = whole_table(report) else {
                    return;
                };
                (table, captured, BTreeSet::new())
            }
            // Nothing to repeat: the next gathering comes as a whole.
            (Job::Repeat, None) => return,
        };
        self.write_table(ctx, now, key, table, captured, None, origins);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one report")]
    fn write_table(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        key: u16,
        table: Table,
        captured: Stamp,
        delta: Option<holdfast_protocol::report::Delta>,
        origins: BTreeSet<CommandId>,
    ) {
        let Some(state) = self.types.get_mut(&key) else {
            return;
        };
        let type_name = state.record.type_name.clone();
        let hash = table.hash();
        let report = |content| {
            Record::Report(Report {
                type_name: type_name.clone(),
                captured,
                content,
            })
        };
        let whole = report(Content::Whole(table));
        let stored = match whole.to_stored() {
            Ok(stored) => stored,
            Err(why) => {
                return ctx.note(now, "report-refused", &format!("{type_name}: {why}"));
            }
        };
        let slot = match state.record.base {
            Some(base) => 1 - base.slot.min(1),
            None => 0,
        };
        state.record.sent = Some(Held { slot, hash });
        state.sent_sequence = None;
        let writes = vec![
            Write::Put {
                key: table_key(key, slot),
                value: stored,
            },
            Write::Put {
                key: record_key(key),
                value: store::encode(&state.record),
            },
        ];
        let record = match delta {
            Some(delta) => report(Content::Delta(delta)),
            None => whole,
        };
        self.append(ctx, now, key, &record, origins, writes);
    }

    fn append(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        key: u16,
        record: &Record,
        origins: BTreeSet<CommandId>,
        mut writes: Vec<Write>,
    ) {
        match record.to_stored() {
            Ok(stored) => writes.push(Write::Append {
                class: Class::State,
                key,
                stored,
                reserved: None,
            }),
            Err(why) => return ctx.note(now, "report-refused", &why.to_string()),
        }
        self.active = Some(Active::Writing { origins });
        ctx.persist(Purpose::Report(key), writes);
    }

    /// A report is durable, at this sequence; or was refused.
    pub(crate) fn persisted(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        key: u16,
        sequence: Option<u64>,
    ) {
        if let Some(state) = self.types.get_mut(&key)
            && state.sent_sequence.is_none()
        {
            match sequence {
                Some(sequence) => state.sent_sequence = Some(sequence),
                None => state.record.sent = None,
            }
        }
        self.active
            .take_if(|active| matches!(active, Active::Writing { .. }));
        self.settle(ctx, now);
    }

    /// The bridge has applied stream *state* up to here: what was sent becomes the base.
    pub(crate) fn acknowledged(&mut self, ctx: &mut Context, acked: u64) {
        for (key, state) in &mut self.types {
            if state.sent_sequence.is_none_or(|sequence| sequence > acked) {
                continue;
            }
            let Some(sent) = state.record.sent.take() else {
                continue;
            };
            state.record.base = Some(sent);
            state.whole = false;
            let put = Write::Put {
                key: record_key(*key),
                value: store::encode(&state.record),
            };
            ctx.persist(Purpose::Note, vec![put]);
        }
    }
}

/// Whether the table is the base, and the bridge holds nothing newer or will not soon.
fn is_unchanged(record: &TypeRecord, base: Held, table: &Table) -> bool {
    record.sent.is_none() && base.hash == table.hash()
}

fn whole_table(report: Report) -> Option<Table> {
    match report.content {
        Content::Whole(table) => Some(table),
        Content::Delta(_) | Content::Unchanged(_) => None,
    }
}
