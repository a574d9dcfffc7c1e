//! Invocations of commands on nodes, and the results of their steps.
//! Never decides what may follow what: the core's [`Invocation`] does; this keeps it.

use super::commands::{details, from_request_key, push_statuses, request_key};
use super::error::unsigned;
use super::row::{all_parsed, corrupt, json, parsed};
use super::{Page, Paged, Store, StoreError, UnixMs};
use holdfast_bridge_core::invocation::{Event, Invocation, Stage, StatusDetails, may_send};
use holdfast_protocol::{CommandId, NodeId};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteConnection};

/// Result of one step, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name in the document.
    pub name: String,
    /// Action, such as `aws:runShellScript`.
    pub action: String,
    /// `Success`, `Failed`, `TimedOut`, `Cancelled`, `Skipped` or `Interrupted`.
    pub state: String,
    /// Exit code; -1 where the process ended otherwise.
    pub exit_code: i32,
    /// When it began, by the bridge's clock as far as it can tell.
    pub started: Option<UnixMs>,
    /// When it ended.
    pub ended: Option<UnixMs>,
    /// Bytes of standard output written, kept or not.
    pub stdout_bytes: u64,
    /// Bytes of standard error written, kept or not.
    pub stderr_bytes: u64,
    /// What the agent has to say about it.
    pub detail: String,
}

/// An invocation as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationRecord {
    /// Its command.
    pub command: CommandId,
    /// Its node.
    pub node: NodeId,
    /// When its command was asked for.
    pub requested: UnixMs,
    /// Where it stands.
    pub state: Invocation,
    /// Why, where the state alone does not say it.
    pub detail: String,
    /// When it was last sent.
    pub sent: Option<UnixMs>,
    /// When its first step began.
    pub started: Option<UnixMs>,
    /// When it ended.
    pub ended: Option<UnixMs>,
    /// Results of its steps; empty until it has ended.
    pub steps: Vec<Step>,
}

impl InvocationRecord {
    /// `ResponseCode`: the exit code of the first step that did not end well, else of the last
    /// step that ran; -1 before any did.
    #[must_use]
    pub fn response_code(&self) -> i32 {
        let ran = || self.steps.iter().filter(|step| step.state != "Skipped");
        ran()
            .find(|step| step.state != "Success")
            .or(ran().next_back())
            .map_or(-1, |step| step.exit_code)
    }
}

/// Which invocations are wanted; what is not given takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvocationFilter {
    /// Of this command.
    pub command: Option<CommandId>,
    /// On this node.
    pub node: Option<NodeId>,
    /// Asked for at or after.
    pub after: Option<UnixMs>,
    /// Asked for before.
    pub before: Option<UnixMs>,
    /// `Status` or `StatusDetails` is one of these.
    pub statuses: Vec<String>,
    /// Document names of their commands.
    pub documents: Vec<String>,
}

fn state(row: &SqliteRow) -> Result<Invocation, StoreError> {
    Ok(Invocation {
        stage: Stage::from_number(row.try_get("stage")?).ok_or(corrupt("stage"))?,
        slot: row.try_get("slot")?,
        delivered: row.try_get("delivered")?,
        cancelling: row.try_get("cancelling")?,
        inferred: row.try_get("inferred")?,
        late: row.try_get("late")?,
        details: details(row)?,
    })
}

fn invocation(row: &SqliteRow) -> Result<InvocationRecord, StoreError> {
    Ok(InvocationRecord {
        command: parsed(row, "command_id")?,
        node: parsed(row, "node_id")?,
        requested: row.try_get("requested_ms")?,
        state: state(row)?,
        detail: row.try_get("detail")?,
        sent: row.try_get("sent_ms")?,
        started: row.try_get("started_ms")?,
        ended: row.try_get("ended_ms")?,
        steps: json(row, "steps")?,
    })
}

/// An invocation's name.
pub(crate) type Key = (CommandId, NodeId);

/// Loads what decisions need of one invocation.
pub(crate) async fn load(
    connection: &mut SqliteConnection,
    key: Key,
) -> Result<Option<Invocation>, StoreError> {
    let row = sqlx::query(
        "SELECT stage, slot, delivered, cancelling, inferred, late, status_details \
         FROM invocations WHERE command_id = $1 AND node_id = $2",
    )
    .bind(key.0.to_string())
    .bind(key.1.as_str())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(state).transpose()
}

/// Keeps an invocation's state; its end is dated when it closes.
async fn save(
    connection: &mut SqliteConnection,
    key: Key,
    state: &Invocation,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE invocations SET stage = $1, slot = $2, delivered = $3, cancelling = $4, \
         inferred = $5, late = $6, status = $7, status_details = $8, \
         ended_ms = CASE WHEN $1 < 2 THEN NULL ELSE coalesce(ended_ms, $9) END \
         WHERE command_id = $10 AND node_id = $11",
    )
    .bind(state.stage.number())
    .bind(i64::from(state.slot))
    .bind(i64::from(state.delivered))
    .bind(i64::from(state.cancelling))
    .bind(i64::from(state.inferred))
    .bind(i64::from(state.late))
    .bind(state.details.status().as_str())
    .bind(state.details.as_str())
    .bind(now)
    .bind(key.0.to_string())
    .bind(key.1.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Applies an event to an invocation as it was loaded, and keeps it where that changed anything.
pub(crate) async fn apply(
    connection: &mut SqliteConnection,
    key: Key,
    state: &mut Invocation,
    event: Event,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let changed = state.apply(event);
    if changed {
        save(connection, key, state, now).await?;
    }
    Ok(changed)
}

/// Advances one invocation by an event; `None` when there is no such invocation, else whether
/// anything changed.
pub(crate) async fn advance(
    connection: &mut SqliteConnection,
    key: Key,
    event: Event,
    now: UnixMs,
) -> Result<Option<bool>, StoreError> {
    let Some(mut state) = load(connection, key).await? else {
        return Ok(None);
    };
    apply(connection, key, &mut state, event, now)
        .await
        .map(Some)
}

/// What a node reported with a result.
pub(crate) struct Outcome<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) detail: &'a str,
    pub(crate) started: Option<UnixMs>,
    pub(crate) ended: UnixMs,
}

/// Keeps what came with a result.
pub(crate) async fn save_outcome(
    connection: &mut SqliteConnection,
    key: Key,
    outcome: &Outcome<'_>,
) -> Result<(), StoreError> {
    let steps = serde_json::to_string(outcome.steps).map_err(|_| corrupt("steps"))?;
    sqlx::query(
        "UPDATE invocations SET steps = $1, detail = $2, started_ms = coalesce($3, started_ms), \
         ended_ms = $4 WHERE command_id = $5 AND node_id = $6",
    )
    .bind(steps)
    .bind(outcome.detail)
    .bind(outcome.started)
    .bind(outcome.ended)
    .bind(key.0.to_string())
    .bind(key.1.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Dates the begin of an invocation, once.
pub(crate) async fn save_started(
    connection: &mut SqliteConnection,
    key: Key,
    started: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE invocations SET started_ms = coalesce(started_ms, $1) \
         WHERE command_id = $2 AND node_id = $3",
    )
    .bind(started)
    .bind(key.0.to_string())
    .bind(key.1.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Records a send, before it happens.
pub(crate) async fn save_sent(
    connection: &mut SqliteConnection,
    key: Key,
    epoch: i64,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE invocations SET sent_epoch = $1, sent_ms = $2, sends = sends + 1, retry_ms = 0 \
         WHERE command_id = $3 AND node_id = $4",
    )
    .bind(epoch)
    .bind(now)
    .bind(key.0.to_string())
    .bind(key.1.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Records a send on this connection as none: the node did not take it.
pub(crate) async fn unsend(connection: &mut SqliteConnection, key: Key) -> Result<(), StoreError> {
    sqlx::query("UPDATE invocations SET sent_epoch = -1 WHERE command_id = $1 AND node_id = $2")
        .bind(key.0.to_string())
        .bind(key.1.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Sets when a waiting invocation may be tried again; 0: at any time.
pub(crate) async fn save_retry(
    connection: &mut SqliteConnection,
    key: Key,
    at: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE invocations SET retry_ms = $1 WHERE command_id = $2 AND node_id = $3")
        .bind(at)
        .bind(key.0.to_string())
        .bind(key.1.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Open invocations of a node, the oldest first.
pub(crate) async fn open_of_node(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<Vec<(CommandId, Invocation)>, StoreError> {
    let rows = sqlx::query(
        "SELECT command_id, stage, slot, delivered, cancelling, inferred, late, \
         status_details FROM invocations WHERE node_id = $1 AND stage < 2 \
         ORDER BY requested_ms, command_id",
    )
    .bind(node.as_str())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((parsed(row, "command_id")?, state(row)?)))
        .collect()
}

/// Invocations of a command that are open or hold a slot.
pub(crate) async fn open_of_command(
    connection: &mut SqliteConnection,
    command: CommandId,
) -> Result<Vec<(NodeId, Invocation)>, StoreError> {
    let rows = sqlx::query(
        "SELECT node_id, stage, slot, delivered, cancelling, inferred, late, \
         status_details FROM invocations WHERE command_id = $1 AND (stage < 2 OR slot = 1) \
         ORDER BY ordinal",
    )
    .bind(command.to_string())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((parsed(row, "node_id")?, state(row)?)))
        .collect()
}

/// Nodes of a command that wait, are connected and may be tried now, in their order.
pub(crate) async fn sendable(
    connection: &mut SqliteConnection,
    command: CommandId,
    now: UnixMs,
    limit: i64,
) -> Result<Vec<NodeId>, StoreError> {
    let rows = sqlx::query(
        "SELECT i.node_id FROM invocations i JOIN nodes n ON n.node_id = i.node_id \
         WHERE i.command_id = $1 AND i.stage = 0 AND i.retry_ms <= $2 AND n.connection <> 0 \
         ORDER BY i.ordinal LIMIT $3",
    )
    .bind(command.to_string())
    .bind(now)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    all_parsed(&rows, "node_id")
}

/// Sent invocations of a node that were last sent on an earlier connection and may be sent again, the
/// oldest first; and when the first of those may whose time is still to come. `known`: also those that
/// the node is known to have.
pub(crate) async fn to_resend(
    connection: &mut SqliteConnection,
    node: NodeId,
    epoch: i64,
    known: bool,
    now: UnixMs,
) -> Result<(Vec<CommandId>, Option<UnixMs>), StoreError> {
    let rows = sqlx::query(
        "SELECT i.command_id, c.requested_ms, c.expires_ms FROM invocations i \
         JOIN commands c ON c.command_id = i.command_id \
         WHERE i.node_id = $1 AND i.stage = 1 AND i.cancelling = 0 AND i.sent_epoch <> $2 \
         AND (i.delivered = 0 OR $3 = 1) ORDER BY i.requested_ms, i.command_id",
    )
    .bind(node.as_str())
    .bind(epoch)
    .bind(i64::from(known))
    .fetch_all(connection)
    .await?;
    let (mut ids, mut later) = (Vec::new(), None);
    for row in &rows {
        let requested: UnixMs = row.try_get("requested_ms")?;
        if may_send(now, requested, row.try_get("expires_ms")?) {
            ids.push(parsed(row, "command_id")?);
        } else if now < requested {
            // In the order of their requests: the first is the soonest.
            later.get_or_insert(requested);
        }
    }
    Ok((ids, later))
}

/// Has the tick look at what waits of a command once the clock has come to `requested`. Whether that
/// is new.
pub(crate) async fn withhold(
    connection: &mut SqliteConnection,
    command: CommandId,
    requested: UnixMs,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE invocations SET retry_ms = $1 \
         WHERE command_id = $2 AND stage = 0 AND retry_ms < $1",
    )
    .bind(requested)
    .bind(command.to_string())
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// What was due of a command is looked at: a slot, a place or a hello brings back what is still held,
/// and the tick has its turns for others.
pub(crate) async fn looked_at(
    connection: &mut SqliteConnection,
    command: CommandId,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE invocations SET retry_ms = 0 \
         WHERE command_id = $1 AND stage = 0 AND retry_ms > 0 AND retry_ms <= $2",
    )
    .bind(command.to_string())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Commands with invocations whose time to be tried again has come.
pub(crate) async fn to_retry(
    connection: &mut SqliteConnection,
    now: UnixMs,
    limit: i64,
) -> Result<Vec<CommandId>, StoreError> {
    let rows = sqlx::query(
        "SELECT i.command_id FROM invocations i JOIN nodes n ON n.node_id = i.node_id \
         WHERE i.stage = 0 AND i.retry_ms > 0 AND i.retry_ms <= $1 AND n.connection <> 0 \
         GROUP BY i.command_id LIMIT $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    all_parsed(&rows, "command_id")
}

/// Makes what a node was too busy for due at the next tick, or at the time of its request if the clock
/// was set back before that. What is withheld for the clock waits for that time already.
pub(crate) async fn retry_now(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE invocations SET retry_ms = requested_ms \
         WHERE node_id = $1 AND stage = 0 AND retry_ms > requested_ms",
    )
    .bind(node.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// [`retry_now`] for all that is to be tried again only after `latest`: by a clock that was set back since.
pub(crate) async fn retry_by(
    connection: &mut SqliteConnection,
    latest: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE invocations SET retry_ms = requested_ms \
         WHERE stage = 0 AND retry_ms > 0 AND retry_ms > $1 AND retry_ms > requested_ms",
    )
    .bind(latest)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends everything of a command that waits, for its errors are over their bound.
pub(crate) async fn terminate(
    connection: &mut SqliteConnection,
    command: CommandId,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE invocations SET stage = 2, status = $1, status_details = $2, ended_ms = $3 \
         WHERE command_id = $4 AND stage = 0",
    )
    .bind(StatusDetails::Terminated.status().as_str())
    .bind(StatusDetails::Terminated.as_str())
    .bind(now)
    .bind(command.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Where the newest page of a list ordered by request ends: `requested`, command, node.
fn after(page: &Page) -> Option<(UnixMs, String, String)> {
    let (requested, rest) = from_request_key(page.after.as_deref())?;
    let (command, node) = rest.split_once(':')?;
    Some((requested, command.to_owned(), node.to_owned()))
}

impl Store {
    /// One invocation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn invocation(
        &self,
        command: CommandId,
        node: NodeId,
    ) -> Result<Option<InvocationRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM invocations WHERE command_id = $1 AND node_id = $2")
            .bind(command.to_string())
            .bind(node.as_str())
            .fetch_optional(&self.reads)
            .await?;
        row.as_ref().map(invocation).transpose()
    }

    /// Invocations, those of the newest commands first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn invocations(
        &self,
        filter: &InvocationFilter,
        page: &Page,
    ) -> Result<Paged<InvocationRecord>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM invocations WHERE 1 = 1");
        if let Some((requested, command, node)) = after(page) {
            query
                .push(" AND (requested_ms, command_id, node_id) < (")
                .push_bind(requested);
            query
                .push(", ")
                .push_bind(command)
                .push(", ")
                .push_bind(node)
                .push(")");
        }
        if let Some(command) = filter.command {
            query
                .push(" AND command_id = ")
                .push_bind(command.to_string());
        }
        if let Some(node) = filter.node {
            query.push(" AND node_id = ").push_bind(node.to_string());
        }
        if let Some(after) = filter.after {
            query.push(" AND requested_ms >= ").push_bind(after);
        }
        if let Some(before) = filter.before {
            query.push(" AND requested_ms < ").push_bind(before);
        }
        push_statuses(&mut query, &filter.statuses);
        if !filter.documents.is_empty() {
            query.push(
                " AND EXISTS (SELECT 1 FROM commands c WHERE c.command_id = invocations.command_id",
            );
            super::activations::push_in(&mut query, "c.document_name", &filter.documents);
            query.push(")");
        }
        query.push(" ORDER BY requested_ms DESC, command_id DESC, node_id DESC");
        super::page::read(
            &self.reads,
            query,
            page,
            invocation,
            |item: &InvocationRecord| {
                request_key(item.requested, &format!("{}:{}", item.command, item.node))
            },
        )
        .await
    }

    /// How many of a command's invocations hold a slot now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn slots_held(&self, command: CommandId) -> Result<u64, StoreError> {
        let row =
            sqlx::query("SELECT count(*) AS n FROM invocations WHERE command_id = $1 AND slot = 1")
                .bind(command.to_string())
                .fetch_one(&self.reads)
                .await?;
        Ok(unsigned(row.try_get("n")?))
    }
}
