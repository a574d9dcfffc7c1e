//! Deletes what the core's retention lets go, in small batches. Never an open command.

use super::{Store, StoreError, UnixMs};
use holdfast_bridge_core::retention::Retention;
use sqlx::{Row, SqliteConnection};

/// Rows that one batch deletes of each kind.
const BATCH: i64 = 200;

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

async fn delete_commands(
    connection: &mut SqliteConnection,
    before: UnixMs,
    limit: i64,
) -> Result<u64, StoreError> {
    delete(
        connection,
        "DELETE FROM outputs WHERE command_id IN (SELECT command_id FROM commands \
         WHERE finished = 1 AND requested_ms < $1 ORDER BY requested_ms, command_id LIMIT $2)",
        before,
        limit,
    )
    .await?;
    delete(
        connection,
        "DELETE FROM commands WHERE command_id IN (SELECT command_id FROM commands \
         WHERE finished = 1 AND requested_ms < $1 ORDER BY requested_ms, command_id LIMIT $2)",
        before,
        limit,
    )
    .await
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
                    let before = retention.commands_before(now);
                    let mut gone = delete_commands(connection, before, BATCH).await?;
                    let commands = count(connection, "SELECT count(*) AS n FROM commands").await?;
                    let over = retention.commands_over(commands).min(BATCH);
                    if over > 0 {
                        gone += delete_commands(connection, i64::MAX, over).await?;
                    }
                    let before = retention.events_before(now);
                    gone += delete(
                        connection,
                        "DELETE FROM node_events WHERE event_id IN (SELECT event_id FROM node_events \
                         WHERE received_ms < $1 ORDER BY received_ms LIMIT $2)",
                        before,
                        BATCH,
                    )
                    .await?;
                    gone += delete(
                        connection,
                        "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit \
                         WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)",
                        before,
                        BATCH,
                    )
                    .await?;
                    let spread = count(
                        connection,
                        "SELECT coalesce(max(event_id) - min(event_id) + 1, 0) AS n FROM node_events",
                    )
                    .await?;
                    let over = retention.events_over(spread).min(BATCH);
                    if over > 0 {
                        gone += delete(
                            connection,
                            "DELETE FROM node_events WHERE event_id IN (SELECT event_id \
                             FROM node_events WHERE event_id < $1 ORDER BY event_id LIMIT $2)",
                            i64::MAX,
                            over,
                        )
                        .await?;
                    }
                    Ok(gone)
                })
            })
            .await
    }
}
