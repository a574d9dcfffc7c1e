//! Compliance of the fleet as the API lists it: rows by node and type, and counts over all nodes.
//! Never shows a node that was deregistered, and never reads more rows than its bound.

use super::row::{json, parsed};
use super::{Store, StoreError, UnixMs};
use holdfast_bridge_core::compliance::Summary;
use holdfast_protocol::NodeId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// Combinations of properties that are counted at most.
const GROUPS_MAX: i64 = 10_000;

/// What a node's compliance in one type is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplianceFacts {
    /// Such as `Patch`.
    pub compliance_type: String,
    /// Whether every item complies.
    pub compliant: bool,
    /// Highest severity of the items that do not comply.
    pub severity: String,
    /// The baseline of the scan.
    pub baseline_id: String,
    /// The patch group of the scan.
    pub patch_group: String,
}

/// A node's compliance in one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplianceRow {
    /// The node.
    pub node: NodeId,
    /// What it is found by.
    pub facts: ComplianceFacts,
    /// Counts by severity.
    pub summary: Summary,
    /// When it was captured.
    pub captured: UnixMs,
}

const COLUMNS: &str = "c.compliance_type, c.compliant, c.severity, \
     coalesce(p.baseline_id, '') AS baseline_id, coalesce(p.patch_group, '') AS patch_group";
const TABLES: &str = "FROM compliance c \
     JOIN nodes n ON n.node_id = c.node_id AND n.deregistered_ms IS NULL \
     LEFT JOIN patch_states p ON p.node_id = c.node_id";

fn facts(row: &SqliteRow) -> Result<ComplianceFacts, sqlx::Error> {
    Ok(ComplianceFacts {
        compliance_type: row.try_get("compliance_type")?,
        compliant: row.try_get("compliant")?,
        severity: row.try_get("severity")?,
        baseline_id: row.try_get("baseline_id")?,
        patch_group: row.try_get("patch_group")?,
    })
}

impl Store {
    /// Compliance by node and type, from the place after `after` on, at most `limit` rows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compliance_rows(
        &self,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<ComplianceRow>, StoreError> {
        let (node, compliance_type) = after.unwrap_or_default();
        let query = format!(
            "SELECT c.node_id, c.summary, c.captured_ms, {COLUMNS} {TABLES} \
             WHERE (c.node_id, c.compliance_type) > ($1, $2) \
             ORDER BY c.node_id, c.compliance_type LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(node.to_owned())
            .bind(compliance_type.to_owned())
            .bind(i64::from(limit))
            .fetch_all(&self.reads)
            .await?;
        let row = |row: &SqliteRow| {
            Ok(ComplianceRow {
                node: parsed(row, "node_id")?,
                facts: facts(row)?,
                summary: json(row, "summary")?,
                captured: row.try_get("captured_ms")?,
            })
        };
        rows.iter().map(row).collect()
    }

    /// How many nodes share which facts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compliance_counts(&self) -> Result<Vec<(ComplianceFacts, i64)>, StoreError> {
        let query = format!(
            "SELECT count(*) AS nodes, {COLUMNS} {TABLES} \
             GROUP BY 2, 3, 4, 5, 6 ORDER BY 2, 3, 4, 5, 6 LIMIT $1"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(GROUPS_MAX)
            .fetch_all(&self.reads)
            .await?;
        let counted = |row: &SqliteRow| Ok((facts(row)?, row.try_get("nodes")?));
        rows.iter().map(counted).collect()
    }
}
