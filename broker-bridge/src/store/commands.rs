//! Commands: what was asked for, and how far it is over all nodes.
//! Never decides a status: the core's census does.

use super::audit::record;
use super::error::signed;
use super::row::{corrupt, count, json, parsed};
use super::{Caller, Page, Paged, Store, StoreError, UnixMs};
use holdfast_bridge_core::invocation::{Census, StatusDetails};
use holdfast_bridge_core::rate::{Limits, Tally};
use holdfast_documents::Supplied;
use holdfast_protocol::{CommandId, NodeId};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

/// A target as it was asked for: key and values.
pub type RawTarget = (String, Vec<String>);

/// A command as it was asked for and stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// Name of the document.
    pub document_name: String,
    /// Number of its version.
    pub document_version: String,
    /// The document's text.
    pub content: String,
    /// Parameters as they were sent.
    pub parameters: Supplied,
    /// The sender's comment.
    pub comment: String,
    /// `InstanceIds` as they were sent.
    pub instance_ids: Vec<String>,
    /// `Targets` as they were sent.
    pub targets: Vec<RawTarget>,
    /// `MaxConcurrency` as it was sent, or its default.
    pub max_concurrency: String,
    /// `MaxErrors` as it was sent, or its default.
    pub max_errors: String,
    /// Both, resolved for the command's nodes.
    pub limits: Limits,
    /// `TimeoutSeconds`: the delivery time.
    pub timeout_seconds: u32,
    /// When it was asked for.
    pub requested: UnixMs,
    /// From when a node must not begin it.
    pub expires: UnixMs,
    /// Longest run of its document, in milliseconds.
    pub run_bound_ms: i64,
    /// Access key of who asked.
    pub requested_by: String,
    /// Whether somebody asked to cancel all of it.
    pub cancel_requested: bool,
    /// Where it stands.
    pub details: StatusDetails,
    /// `TargetCount`.
    pub target_count: u32,
    /// `CompletedCount`.
    pub completed_count: u32,
    /// `ErrorCount`.
    pub error_count: u32,
    /// `DeliveryTimedOutCount`.
    pub delivery_timed_out_count: u32,
}

/// Which commands are wanted; what is not given takes all (`CommandFilter`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandFilter {
    /// This one.
    pub command: Option<CommandId>,
    /// Those with an invocation on this node.
    pub node: Option<NodeId>,
    /// Asked for at or after.
    pub after: Option<UnixMs>,
    /// Asked for before.
    pub before: Option<UnixMs>,
    /// `Status` or `StatusDetails` is one of these.
    pub statuses: Vec<String>,
    /// Document names.
    pub documents: Vec<String>,
    /// Only those that are under way (`true`) or have ended (`false`): `ExecutionStage`.
    pub executing: Option<bool>,
}

pub(super) fn details(row: &SqliteRow) -> Result<StatusDetails, StoreError> {
    let text: String = row.try_get("status_details")?;
    StatusDetails::from_name(&text).ok_or(corrupt("status"))
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| corrupt("value for the database"))
}

fn command(row: &SqliteRow) -> Result<Command, StoreError> {
    Ok(Command {
        id: parsed(row, "command_id")?,
        document_name: row.try_get("document_name")?,
        document_version: row.try_get("document_version")?,
        content: row.try_get("content")?,
        parameters: json(row, "parameters")?,
        comment: row.try_get("comment")?,
        instance_ids: json(row, "instance_ids")?,
        targets: json(row, "targets")?,
        max_concurrency: row.try_get("max_concurrency")?,
        max_errors: row.try_get("max_errors")?,
        limits: Limits {
            slots: count(row, "slots")?,
            errors_allowed: count(row, "errors_allowed")?,
        },
        timeout_seconds: count(row, "timeout_s")?,
        requested: row.try_get("requested_ms")?,
        expires: row.try_get("expires_ms")?,
        run_bound_ms: row.try_get("run_bound_ms")?,
        requested_by: row.try_get("requested_by")?,
        cancel_requested: row.try_get("cancel_requested")?,
        details: details(row)?,
        target_count: count(row, "target_count")?,
        completed_count: count(row, "completed_count")?,
        error_count: count(row, "error_count")?,
        delivery_timed_out_count: count(row, "delivery_timed_out_count")?,
    })
}

/// Loads a command.
pub(crate) async fn load(
    connection: &mut SqliteConnection,
    id: CommandId,
) -> Result<Option<Command>, StoreError> {
    let row = sqlx::query("SELECT * FROM commands WHERE command_id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(command).transpose()
}

/// Inserts a command with one invocation for each node, and its audit entry.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    caller: &Caller,
    new: &Command,
    nodes: &[NodeId],
) -> Result<(), StoreError> {
    let id = new.id.to_string();
    sqlx::query(
        "INSERT INTO commands (command_id, document_name, document_version, content, parameters, \
         comment, instance_ids, targets, max_concurrency, max_errors, slots, errors_allowed, \
         timeout_s, requested_ms, expires_ms, run_bound_ms, requested_by, status, \
         status_details, target_count, check_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
         $13, $14, $15, $16, $17, $18, $19, $20, $15)",
    )
    .bind(&id)
    .bind(&new.document_name)
    .bind(&new.document_version)
    .bind(&new.content)
    .bind(to_json(&new.parameters)?)
    .bind(&new.comment)
    .bind(to_json(&new.instance_ids)?)
    .bind(to_json(&new.targets)?)
    .bind(&new.max_concurrency)
    .bind(&new.max_errors)
    .bind(i64::from(new.limits.slots))
    .bind(i64::from(new.limits.errors_allowed))
    .bind(i64::from(new.timeout_seconds))
    .bind(new.requested)
    .bind(new.expires)
    .bind(new.run_bound_ms)
    .bind(&new.requested_by)
    .bind(new.details.command_status().as_str())
    .bind(new.details.as_str())
    .bind(signed(nodes.len() as u64))
    .execute(&mut *connection)
    .await?;
    for (ordinal, node) in (0_i64..).zip(nodes) {
        // A node that is away shows as Delayed from the start.
        sqlx::query(
            "INSERT INTO invocations (command_id, node_id, ordinal, requested_ms, status, \
             status_details) SELECT $1, node_id, $2, $3, \
             CASE connection WHEN 0 THEN 'Delayed' ELSE 'Pending' END, \
             CASE connection WHEN 0 THEN 'Delayed' ELSE 'Pending' END \
             FROM nodes WHERE node_id = $4 AND deregistered_ms IS NULL",
        )
        .bind(&id)
        .bind(ordinal)
        .bind(new.requested)
        .bind(node.as_str())
        .execute(&mut *connection)
        .await?;
    }
    record(connection, caller, "SendCommand", &id, &new.document_name).await
}

/// Counts a command's invocations.
pub(crate) async fn census(
    connection: &mut SqliteConnection,
    id: CommandId,
) -> Result<(Census, Tally), StoreError> {
    let rows = sqlx::query(
        "SELECT stage, slot, status_details, count(*) AS n FROM invocations \
         WHERE command_id = $1 GROUP BY stage, slot, status_details",
    )
    .bind(id.to_string())
    .fetch_all(connection)
    .await?;
    let (mut census, mut tally) = (Census::default(), Tally::default());
    for row in &rows {
        let (details, n) = (details(row)?, count(row, "n")?);
        census.add(details, n);
        if row.try_get::<i64, _>("stage")? == 0 {
            tally.waiting += n;
        }
        if row.try_get::<bool, _>("slot")? {
            tally.held += n;
        }
        if details.counts_as_error() {
            tally.errors += n;
        }
    }
    Ok((census, tally))
}

/// Brings a command's own status and counts up to date with its invocations.
pub(crate) async fn refresh(
    connection: &mut SqliteConnection,
    id: CommandId,
) -> Result<(), StoreError> {
    let row =
        sqlx::query("SELECT errors_allowed, cancel_requested FROM commands WHERE command_id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *connection)
            .await?;
    let Some(row) = row else { return Ok(()) };
    let (allowed, cancel) = (
        count(&row, "errors_allowed")?,
        row.try_get("cancel_requested")?,
    );
    let (census, _) = census(connection, id).await?;
    let summary = census.summary(allowed, cancel);
    sqlx::query(
        "UPDATE commands SET status = $1, status_details = $2, completed_count = $3, \
         error_count = $4, delivery_timed_out_count = $5, finished = $6, target_count = $7 \
         WHERE command_id = $8",
    )
    .bind(summary.details.command_status().as_str())
    .bind(summary.details.as_str())
    .bind(i64::from(summary.completed))
    .bind(i64::from(summary.errors))
    .bind(i64::from(summary.delivery_timed_out))
    .bind(i64::from(summary.finished))
    .bind(i64::from(summary.targets))
    .bind(id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Ids that can be read. A command whose id cannot be is one that nobody can name.
fn readable(rows: &[SqliteRow]) -> Result<Vec<CommandId>, StoreError> {
    let mut ids = Vec::with_capacity(rows.len());
    for row in rows {
        match row.try_get::<String, _>("command_id")?.parse() {
            Ok(id) => ids.push(id),
            Err(_) => tracing::error!("the database holds a command whose id is unreadable"),
        }
    }
    Ok(ids)
}

/// Commands that have not ended and whose delivery time has passed, the oldest first.
pub(crate) async fn expired(
    connection: &mut SqliteConnection,
    now: UnixMs,
    limit: i64,
) -> Result<Vec<CommandId>, StoreError> {
    let rows = sqlx::query(
        "SELECT command_id FROM commands WHERE finished = 0 AND check_ms <= $1 \
         ORDER BY check_ms LIMIT $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    readable(&rows)
}

/// Ends a command whose record cannot be read, without reading it: what is open of it
/// has failed, and what can be read of it stays.
pub(crate) async fn set_aside(
    connection: &mut SqliteConnection,
    caller: &Caller,
    id: CommandId,
    what: &str,
) -> Result<(), StoreError> {
    let ended = StatusDetails::Failed;
    let known: Vec<&str> = StatusDetails::ALL
        .iter()
        .map(|known| known.as_str())
        .collect();
    sqlx::query(
        "UPDATE invocations SET stage = 2, slot = 0, status = $1, status_details = $2, \
         detail = $3, ended_ms = coalesce(ended_ms, $4) WHERE command_id = $5 \
         AND (stage NOT IN (2) OR status_details NOT IN (SELECT value FROM json_each($6)))",
    )
    .bind(ended.status().as_str())
    .bind(ended.as_str())
    .bind(format!(
        "the bridge cannot read its record of the command: {what}"
    ))
    .bind(caller.now)
    .bind(id.to_string())
    .bind(to_json(&known)?)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE commands SET finished = 1, status = $1, status_details = $2, \
         parameters = CASE WHEN json_valid(parameters) THEN parameters ELSE '{}' END, \
         instance_ids = CASE WHEN json_valid(instance_ids) THEN instance_ids ELSE '[]' END, \
         targets = CASE WHEN json_valid(targets) THEN targets ELSE '[]' END \
         WHERE command_id = $3",
    )
    .bind(ended.command_status().as_str())
    .bind(ended.as_str())
    .bind(id.to_string())
    .execute(&mut *connection)
    .await?;
    record(connection, caller, "SetCommandAside", &id.to_string(), what).await
}

/// Sets when a command's invocations are to be looked at again.
pub(crate) async fn check_at(
    connection: &mut SqliteConnection,
    id: CommandId,
    at: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE commands SET check_ms = $1 WHERE command_id = $2")
        .bind(at)
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that somebody asked to cancel all of a command.
pub(crate) async fn request_cancel(
    connection: &mut SqliteConnection,
    id: CommandId,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE commands SET cancel_requested = 1 WHERE command_id = $1")
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// How many commands have not ended.
pub(crate) async fn unfinished_count(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT count(*) AS n FROM commands WHERE finished = 0")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("n")?)
}

/// The commands that have not ended.
pub(crate) async fn unfinished(
    connection: &mut SqliteConnection,
) -> Result<Vec<CommandId>, StoreError> {
    let rows = sqlx::query("SELECT command_id FROM commands WHERE finished = 0")
        .fetch_all(connection)
        .await?;
    readable(&rows)
}

/// The key of a list ordered by request, newest first: `requested:rest`.
pub(super) fn request_key(requested: UnixMs, rest: &str) -> String {
    format!("{requested}:{rest}")
}

/// Reads [`request_key`].
pub(super) fn from_request_key(key: Option<&str>) -> Option<(UnixMs, String)> {
    let (requested, rest) = key?.split_once(':')?;
    Some((requested.parse().ok()?, rest.to_owned()))
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &CommandFilter) {
    if let Some(id) = filter.command {
        query.push(" AND command_id = ").push_bind(id.to_string());
    }
    if let Some(node) = filter.node {
        query
            .push(" AND EXISTS (SELECT 1 FROM invocations i WHERE i.command_id = commands.command_id AND i.node_id = ")
            .push_bind(node.to_string())
            .push(")");
    }
    if let Some(after) = filter.after {
        query.push(" AND requested_ms >= ").push_bind(after);
    }
    if let Some(before) = filter.before {
        query.push(" AND requested_ms < ").push_bind(before);
    }
    if let Some(executing) = filter.executing {
        query
            .push(" AND finished = ")
            .push_bind(i64::from(!executing));
    }
    push_statuses(query, &filter.statuses);
    super::activations::push_in(query, "document_name", &filter.documents);
}

pub(super) fn push_statuses(query: &mut QueryBuilder<Sqlite>, statuses: &[String]) {
    if !statuses.is_empty() {
        query.push(" AND (0 = 1");
        for status in statuses {
            query
                .push(" OR status = ")
                .push_bind(status.clone())
                .push(" OR status_details = ")
                .push_bind(status.clone());
        }
        query.push(")");
    }
}

impl Store {
    /// A command by its id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn command(&self, id: CommandId) -> Result<Option<Command>, StoreError> {
        load(&mut *self.reads.acquire().await?, id).await
    }

    /// Commands, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commands(
        &self,
        filter: &CommandFilter,
        page: &Page,
    ) -> Result<Paged<Command>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM commands WHERE 1 = 1");
        if let Some((requested, id)) = from_request_key(page.after.as_deref()) {
            query
                .push(" AND (requested_ms, command_id) < (")
                .push_bind(requested);
            query.push(", ").push_bind(id).push(")");
        }
        push_filter(&mut query, filter);
        query.push(" ORDER BY requested_ms DESC, command_id DESC");
        let key = |command: &Command| request_key(command.requested, &command.id.to_string());
        super::page::read(&self.reads, query, page, command, key).await
    }
}
