//! Deletes what the core's retention lets go, in small batches. Never an open command.
//!
//! One write deletes at most [`BATCH`] rows of each kind, of which the largest is a piece of output
//! (16 KiB): so the writer is never held for more than about 4 MiB. A command goes after its
//! outputs and invocations, oldest command first; between two batches other writes have their turn.

use super::error::signed;
use super::{Store, StoreError, UnixMs};
use holdfast_bridge_core::retention::Retention;
use sqlx::{Row, SqliteConnection};

/// Rows that one batch deletes of each kind.
const BATCH: i64 = 256;

async fn count(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<i64, StoreError> {
    Ok(sqlx::query(statement)
        .fetch_one(connection)
        .await?
        .try_get("n")?)
}

async fn delete(
    connection: &mut SqliteConnection,
    statement: &'static str,
    before: UnixMs,
    limit: i64,
) -> Result<u64, StoreError> {
    let gone = sqlx::query(statement)
        .bind(before)
        .bind(limit)
        .execute(connection)
        .await?;
    Ok(gone.rows_affected())
}

/// The oldest command that may go, when it was requested before.
async fn victim(
    connection: &mut SqliteConnection,
    before: UnixMs,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query(
        "SELECT command_id FROM commands WHERE finished = 1 AND requested_ms < $1 \
         ORDER BY requested_ms, command_id LIMIT 1",
    )
    .bind(before)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.try_get("command_id")).transpose()?)
}

/// Deletes of a command, what hangs on it first.
const OF_COMMAND: [&str; 3] = [
    "DELETE FROM outputs WHERE rowid IN \
     (SELECT rowid FROM outputs WHERE command_id = $1 LIMIT $2)",
    "DELETE FROM invocations WHERE rowid IN \
     (SELECT rowid FROM invocations WHERE command_id = $1 LIMIT $2)",
    "DELETE FROM commands WHERE command_id = $1 AND $2 > 0",
];

async fn delete_commands(
    connection: &mut SqliteConnection,
    retention: &Retention,
    now: UnixMs,
) -> Result<u64, StoreError> {
    let commands = count(connection, "SELECT count(*) AS n FROM commands").await?;
    let mut over = retention.commands_over(commands);
    let mut left = BATCH.unsigned_abs();
    while left > 0 {
        let before = if over > 0 {
            i64::MAX
        } else {
            retention.commands_before(now)
        };
        let Some(command) = victim(connection, before).await? else {
            break;
        };
        for statement in OF_COMMAND {
            let gone = sqlx::query(statement)
                .bind(&command)
                .bind(signed(left))
                .execute(&mut *connection)
                .await?;
            left = left.saturating_sub(gone.rows_affected());
            if left == 0 {
                break;
            }
        }
        over -= 1;
    }
    Ok(BATCH.unsigned_abs() - left)
}

/// Events that are old.
const EVENTS_AGED: &str = "DELETE FROM node_events WHERE event_id IN (SELECT event_id FROM node_events \
     WHERE received_ms < $1 ORDER BY received_ms LIMIT $2)";
/// The oldest events of a node.
const EVENTS_OLDEST: &str = "DELETE FROM node_events WHERE event_id IN (SELECT event_id FROM node_events \
     WHERE node_id = $1 ORDER BY event_id LIMIT $2)";
/// More events than any node may have must be there before one can.
const EVENTS_SPREAD: &str =
    "SELECT coalesce(max(event_id) - min(event_id) + 1, 0) AS n FROM node_events";
const EVENTS_BY_NODE: &str = "SELECT node_id, count(*) AS n FROM node_events GROUP BY node_id";

// The newest entry stays: its id would be given again, and who follows the trail would miss the entry.
const AUDIT_AGED: &str = "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit \
     WHERE at_ms < $1 AND audit_id < (SELECT max(audit_id) FROM audit) ORDER BY at_ms LIMIT $2)";
const AUDIT_SPREAD: &str = "SELECT coalesce(max(audit_id) - min(audit_id) + 1, 0) AS n FROM audit";
const AUDIT_OLDEST: &str = "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit \
     WHERE audit_id < $1 ORDER BY audit_id LIMIT $2)";

async fn delete_audit(
    connection: &mut SqliteConnection,
    retention: &Retention,
    now: UnixMs,
) -> Result<u64, StoreError> {
    let before = retention.events_before(now);
    let mut gone = delete(connection, AUDIT_AGED, before, BATCH).await?;
    let over = retention.audit_over(count(connection, AUDIT_SPREAD).await?);
    if over > 0 {
        gone += delete(connection, AUDIT_OLDEST, i64::MAX, over.min(BATCH)).await?;
    }
    Ok(gone)
}

impl Store {
    /// Deletes one batch of what is old or over the bounds; how many rows went. More may be left
    /// while the answer is not 0.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune(&self, retention: Retention, now: UnixMs) -> Result<u64, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let before = retention.events_before(now);
                    let mut gone = delete_commands(connection, &retention, now).await?;
                    gone += delete(connection, EVENTS_AGED, before, BATCH).await?;
                    gone += delete_audit(connection, &retention, now).await?;
                    Ok(gone)
                })
            })
            .await
    }

    /// Deletes the oldest events of nodes that have more than they may, in batches; how many went.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_crowded(&self, retention: Retention) -> Result<u64, StoreError> {
        let spread = sqlx::query(EVENTS_SPREAD).fetch_one(&self.reads).await?;
        if spread.try_get::<i64, _>("n")? <= retention.node_events_max.min(retention.events_max) {
            return Ok(0);
        }
        let rows = sqlx::query(EVENTS_BY_NODE).fetch_all(&self.reads).await?;
        let counts: Vec<(String, i64)> = rows
            .iter()
            .map(|row| Ok((row.try_get("node_id")?, row.try_get("n")?)))
            .collect::<Result<_, sqlx::Error>>()?;
        let each = counts.iter().map(|(_, count)| *count).collect::<Vec<_>>();
        let each = retention.events_each(&each);
        let mut gone = 0;
        for (node, count) in counts {
            let mut over = count - each;
            while over > 0 {
                gone += self.delete_oldest(node.clone(), over.min(BATCH)).await?;
                over -= BATCH;
            }
        }
        Ok(gone)
    }

    async fn delete_oldest(&self, node: String, limit: i64) -> Result<u64, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let gone = sqlx::query(EVENTS_OLDEST)
                        .bind(node)
                        .bind(limit)
                        .execute(connection)
                        .await?;
                    Ok(gone.rows_affected())
                })
            })
            .await
    }
}
