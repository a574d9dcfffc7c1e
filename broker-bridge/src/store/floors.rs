//! Nodes whose floor of time a person wants set back. Never says to what: the time of the send does.

use super::audit::record;
use super::{Caller, Store, StoreError};
use holdfast_protocol::NodeId;
use sqlx::{Row, SqliteConnection};

/// Whether a node's floor is to be set back.
pub(crate) async fn wanted(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 AS found FROM floor_resets WHERE node_id = $1")
        .bind(node.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// The node has set its floor back.
pub(crate) async fn confirm(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM floor_resets WHERE node_id = $1")
        .bind(node.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Wants a node's floor of time set back; `false` when there is no such node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn want_floor_reset(&self, caller: Caller, node: NodeId) -> Result<bool, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let wanted = sqlx::query(
                        "INSERT INTO floor_resets (node_id, requested_ms) \
                         SELECT node_id, $1 FROM nodes \
                         WHERE node_id = $2 AND deregistered_ms IS NULL \
                         ON CONFLICT (node_id) DO UPDATE SET requested_ms = excluded.requested_ms",
                    )
                    .bind(caller.now)
                    .bind(node.as_str())
                    .execute(&mut *connection)
                    .await?;
                    if wanted.rows_affected() == 0 {
                        return Ok(false);
                    }
                    record(connection, &caller, "ResetFloor", node.as_str(), "").await?;
                    Ok(true)
                })
            })
            .await
    }

    /// Nodes whose floor is to be set back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn floor_resets(&self) -> Result<Vec<NodeId>, StoreError> {
        let rows = sqlx::query("SELECT node_id FROM floor_resets")
            .fetch_all(&self.reads)
            .await?;
        rows.iter()
            .map(|row| {
                let id: String = row.try_get("node_id")?;
                id.parse()
                    .map_err(|_| StoreError::Corrupt { what: "node id" })
            })
            .collect()
    }
}
