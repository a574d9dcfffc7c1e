//! Which nodes have reported anything, or lost it, a stretch at a time.
//! Never reads a report's content: whether it is wanted is the caller's question.

use super::row::all_parsed;
use super::{Store, StoreError};
use holdfast_protocol::NodeId;

impl Store {
    /// Registered nodes that have reported, or of which it is known that a record was lost, by id, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reporting_nodes(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<NodeId>, StoreError> {
        let rows = sqlx::query(
            "SELECT n.node_id FROM nodes n WHERE n.deregistered_ms IS NULL AND n.node_id > $1 \
             AND (EXISTS (SELECT 1 FROM reports r WHERE r.node_id = n.node_id) \
             OR EXISTS (SELECT 1 FROM gaps g WHERE g.node_id = n.node_id)) \
             ORDER BY n.node_id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await?;
        all_parsed(&rows, "node_id")
    }
}
