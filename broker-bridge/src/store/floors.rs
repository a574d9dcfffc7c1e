//! Nodes whose floor of time a person wants set back. Never says to what: the time of the send does.

use super::audit::record;
use super::row::all_parsed;
use super::{Caller, Store, StoreError, UnixMs};
use holdfast_protocol::NodeId;
use sqlx::SqliteConnection;

/// What an entry of the audit trail names as the target of a verb on every node.
const ALL_NODES: &str = "all nodes";

/// Records that a node is sent the time `now` for its floor, before it is; `false` when nobody wants it.
pub(crate) async fn save_sent(
    connection: &mut SqliteConnection,
    node: NodeId,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let wanted = sqlx::query("UPDATE floor_resets SET sent_ms = $1 WHERE node_id = $2")
        .bind(now)
        .bind(node.as_str())
        .execute(connection)
        .await?;
    Ok(wanted.rows_affected() > 0)
}

/// The node has set its floor back to `floor`. A word on an earlier send is none on a request made since.
pub(crate) async fn confirm(
    connection: &mut SqliteConnection,
    node: NodeId,
    floor: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM floor_resets WHERE node_id = $1 AND sent_ms = $2")
        .bind(node.as_str())
        .bind(floor)
        .execute(connection)
        .await?;
    Ok(())
}

/// Up to `limit` connected nodes that are wanted to set their floor back and were not yet told.
pub(crate) async fn unsent(
    connection: &mut SqliteConnection,
    limit: i64,
) -> Result<Vec<NodeId>, StoreError> {
    let rows = sqlx::query(
        "SELECT node_id FROM floor_resets JOIN nodes USING (node_id) \
         WHERE sent_ms IS NULL AND connection <> 0 LIMIT $1",
    )
    .bind(limit)
    .fetch_all(connection)
    .await?;
    all_parsed(&rows, "node_id")
}

/// Forgets what is wanted of a node that is gone.
pub(crate) async fn forget(
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
                        "INSERT INTO floor_resets (node_id) SELECT node_id FROM nodes \
                         WHERE node_id = $1 AND deregistered_ms IS NULL \
                         ON CONFLICT (node_id) DO UPDATE SET sent_ms = NULL",
                    )
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

    /// Wants the floor of time of every registered node set back; how many they are. One entry of
    /// the audit trail stands for all of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn want_floor_resets(&self, caller: Caller) -> Result<u64, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let wanted = sqlx::query(
                        "INSERT INTO floor_resets (node_id) SELECT node_id FROM nodes \
                         WHERE deregistered_ms IS NULL \
                         ON CONFLICT (node_id) DO UPDATE SET sent_ms = NULL",
                    )
                    .execute(&mut *connection)
                    .await?;
                    let nodes = wanted.rows_affected();
                    let detail = format!("{nodes} nodes");
                    record(connection, &caller, "ResetFloor", ALL_NODES, &detail).await?;
                    Ok(nodes)
                })
            })
            .await
    }
}
