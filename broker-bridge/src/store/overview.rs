//! What the bridge recorded, as operators ask for it: changes by who and what, gaps of the fleet, a node's queue.
//! Never changes anything.

use super::audit::entry;
use super::row::{all_parsed, parsed};
use super::streams::gap;
use super::{AuditEntry, GapCount, Page, Paged, Store, StoreError, UnixMs};
use holdfast_protocol::{CommandId, NodeId};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

/// Which changes are wanted; everything that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Those made then or later.
    pub since: Option<UnixMs>,
    /// Those made with the access key of this id or name, or under this name on the bridge's own machine.
    pub key: Option<String>,
    /// Those made to this node, and the commands sent to it.
    pub node: Option<NodeId>,
}

/// A node's gaps in one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeGap {
    /// The node.
    pub node: NodeId,
    /// What is missing.
    pub gap: GapCount,
}

impl Store {
    /// The changes that a filter takes, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        page: &Page,
    ) -> Result<Paged<AuditEntry>, StoreError> {
        let before = page.after.as_deref().and_then(|id| id.parse::<i64>().ok());
        let mut query = QueryBuilder::new("SELECT * FROM audit WHERE audit_id < ");
        query.push_bind(before.unwrap_or(i64::MAX));
        if let Some(since) = filter.since {
            query.push(" AND at_ms >= ").push_bind(since);
        }
        if let Some(key) = &filter.key {
            query.push(" AND (access_key_id IN (").push_bind(key);
            query.push(", 'local:' || ").push_bind(key);
            query
                .push(") OR access_key_id IN (SELECT access_key_id FROM access_keys WHERE name = ");
            query.push_bind(key).push("))");
        }
        if let Some(node) = filter.node {
            query.push(" AND (target = ").push_bind(node.to_string());
            query.push(" OR target IN (SELECT command_id FROM invocations WHERE node_id = ");
            query.push_bind(node.to_string()).push("))");
        }
        query.push(" ORDER BY audit_id DESC");
        let read = |row: &SqliteRow| Ok(entry(row)?);
        let key = |entry: &AuditEntry| entry.id.to_string();
        super::page::read(&self.reads, query, page, read, key).await
    }

    /// The nodes deregistered after the entry `seen` of the audit trail, and the newest entry's id. Other processes
    /// deregister nodes too, such as the command line's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deregistered_since(&self, seen: i64) -> Result<(Vec<NodeId>, i64), StoreError> {
        let rows = sqlx::query(
            "SELECT audit_id, operation, target FROM audit WHERE audit_id > $1 ORDER BY audit_id",
        )
        .bind(seen)
        .fetch_all(&self.reads)
        .await?;
        let mut nodes = Vec::new();
        let mut newest = seen;
        for row in &rows {
            newest = row.try_get("audit_id")?;
            if row.try_get::<&str, _>("operation")? == "DeregisterManagedInstance" {
                match parsed(row, "target") {
                    Ok(node) => nodes.push(node),
                    // Passed over: it would hold up every later entry.
                    Err(error) => {
                        tracing::error!(%error, "an entry of the audit trail is unreadable")
                    }
                }
            }
        }
        Ok((nodes, newest))
    }

    /// The newest entry's id of the audit trail; 0 when it is empty.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_head(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(audit_id), 0) AS head FROM audit")
            .fetch_one(&self.reads)
            .await?;
        Ok(row.try_get("head")?)
    }

    /// The commands with a node among theirs that have not ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unfinished_of_node(&self, node: NodeId) -> Result<Vec<CommandId>, StoreError> {
        let rows = sqlx::query(
            "SELECT c.command_id FROM commands c JOIN invocations i ON i.command_id = c.command_id \
             WHERE c.finished = 0 AND i.node_id = $1",
        )
        .bind(node.as_str())
        .fetch_all(&self.reads)
        .await?;
        all_parsed(&rows, "command_id")
    }

    /// The gaps of all registered nodes, by node, class and reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fleet_gaps(&self, page: &Page) -> Result<Paged<NodeGap>, StoreError> {
        // A page ends within a node, so its key is all three.
        let after = page.after.as_deref().unwrap_or_default();
        let mut parts = after.splitn(3, ' ');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (node, class, reason) = (next(), next().parse::<i64>().unwrap_or(-1), next());
        let rows = sqlx::query(
            "SELECT g.* FROM gaps g JOIN nodes n ON n.node_id = g.node_id \
             AND n.deregistered_ms IS NULL WHERE (g.node_id, g.class, g.reason) > ($1, $2, $3) \
             ORDER BY g.node_id, g.class, g.reason LIMIT $4",
        )
        .bind(node)
        .bind(class)
        .bind(reason)
        .bind(page.fetch())
        .fetch_all(&self.reads)
        .await?;
        let items = rows.iter().map(|row| {
            Ok(NodeGap {
                node: parsed(row, "node_id")?,
                gap: gap(row)?,
            })
        });
        let items = items.collect::<Result<_, StoreError>>()?;
        Ok(Paged::cut(items, page, |item: &NodeGap| {
            let NodeGap { node, gap } = item;
            format!("{node} {} {}", gap.class.index(), gap.reason)
        }))
    }

    /// How many of a node's invocations have not ended, by status details.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn queue_of_node(&self, node: NodeId) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT status_details, count(*) AS n FROM invocations \
             WHERE node_id = $1 AND stage < 2 GROUP BY status_details ORDER BY status_details",
        )
        .bind(node.as_str())
        .fetch_all(&self.reads)
        .await?;
        let counts = rows
            .iter()
            .map(|row| Ok((row.try_get("status_details")?, row.try_get("n")?)));
        counts.collect()
    }
}
