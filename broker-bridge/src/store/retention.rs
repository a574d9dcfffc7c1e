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

/// A trail that grows without end: its age, its numbers, and what deletes its oldest entries.
struct Trail {
    aged: &'static str,
    spread: &'static str,
    oldest: &'static str,
}

const EVENTS: Trail = Trail {
    aged: "DELETE FROM node_events WHERE event_id IN (SELECT event_id FROM node_events \
           WHERE received_ms < $1 ORDER BY received_ms LIMIT $2)",
    spread: "SELECT coalesce(max(event_id) - min(event_id) + 1, 0) AS n FROM node_events",
    oldest: "DELETE FROM node_events WHERE event_id IN (SELECT event_id FROM node_events \
             WHERE event_id < $1 ORDER BY event_id LIMIT $2)",
};

const AUDIT: Trail = Trail {
    // The newest entry stays: its id would be given again, and who follows the trail would miss the entry.
    aged: "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit \
           WHERE at_ms < $1 AND audit_id < (SELECT max(audit_id) FROM audit) ORDER BY at_ms LIMIT $2)",
    spread: "SELECT coalesce(max(audit_id) - min(audit_id) + 1, 0) AS n FROM audit",
    oldest: "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit \
             WHERE audit_id < $1 ORDER BY audit_id LIMIT $2)",
};

async fn delete_trail(
    connection: &mut SqliteConnection,
    trail: &Trail,
    before: UnixMs,
    over: impl Fn(i64) -> i64,
) -> Result<u64, StoreError> {
    let mut gone = delete(connection, trail.aged, before, BATCH).await?;
    let over = over(count(connection, trail.spread).await?).min(BATCH);
    if over > 0 {
        gone += delete(connection, trail.oldest, i64::MAX, over).await?;
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
                    let events = |spread| retention.events_over(spread);
                    gone += delete_trail(connection, &EVENTS, before, events).await?;
                    let audit = |spread| retention.audit_over(spread);
                    gone += delete_trail(connection, &AUDIT, before, audit).await?;
                    Ok(gone)
                })
            })
            .await
    }
}
