//! Reports of nodes as they were applied: two bases of each type, and what is derived from them.
//! Never decides what a report says: the core reads tables; this keeps them and finds them again.

use super::activations::push_in;
use super::row::{corrupt, parsed};
use super::{Page, Paged, Store, StoreError, UnixMs};
use holdfast_bridge_core::compliance::{self, Item};
use holdfast_bridge_core::patch::{self, Patch, PatchSummary};
use holdfast_protocol::NodeId;
use holdfast_protocol::report::{Table, TableHash, TypeName};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteConnection};

/// A node's newest report of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// The node.
    pub node: NodeId,
    /// Its type, such as `AWS:Application`.
    pub type_name: String,
    /// When it was captured, by the bridge's clock as far as it can tell.
    pub captured: UnixMs,
    /// Hash of its content.
    pub hash: TableHash,
    /// Its content.
    pub table: Table,
}

/// A node's patch state, as its last scan left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchState {
    /// The node.
    pub node: NodeId,
    /// The summary.
    pub summary: PatchSummary,
    /// When it was captured.
    pub captured: UnixMs,
}

fn table(row: &SqliteRow) -> Result<Table, StoreError> {
    let body: Vec<u8> = row.try_get("body")?;
    postcard::from_bytes(&body).map_err(|_| corrupt("report"))
}

fn stored(row: &SqliteRow) -> Result<StoredReport, StoreError> {
    let hash: Vec<u8> = row.try_get("hash")?;
    Ok(StoredReport {
        node: parsed(row, "node_id")?,
        type_name: row.try_get("type_name")?,
        captured: row.try_get("captured_ms")?,
        hash: hash.try_into().map_err(|_| corrupt("hash of a report"))?,
        table: table(row)?,
    })
}

/// Loads the bases of one type, the newest first.
pub(crate) async fn bases(
    connection: &mut SqliteConnection,
    node: NodeId,
    type_name: &str,
) -> Result<Vec<Table>, StoreError> {
    let rows = sqlx::query(
        "SELECT body FROM reports WHERE node_id = $1 AND type_name = $2 ORDER BY generation",
    )
    .bind(node.as_str())
    .bind(type_name)
    .fetch_all(connection)
    .await?;
    rows.iter().map(table).collect()
}

/// How many types a node has reported, or has been asked for.
pub(crate) async fn types(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "SELECT count(*) AS n FROM (SELECT type_name FROM reports WHERE node_id = $1 \
         UNION SELECT type_name FROM resyncs WHERE node_id = $1) AS known",
    )
    .bind(node.as_str())
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("n")?)
}

/// Type and hash of every base of a node.
pub(crate) async fn base_hashes(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<Vec<(TypeName, TableHash)>, StoreError> {
    let rows = sqlx::query("SELECT type_name, hash FROM reports WHERE node_id = $1")
        .bind(node.as_str())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let (name, hash): (String, Vec<u8>) = (row.try_get("type_name")?, row.try_get("hash")?);
            let name = TypeName::try_from(name.as_str()).map_err(|_| corrupt("report type"))?;
            Ok((
                name,
                hash.try_into().map_err(|_| corrupt("hash of a report"))?,
            ))
        })
        .collect()
}

/// Makes a table the newest base of its type; the one before becomes the second.
pub(crate) async fn replace(
    connection: &mut SqliteConnection,
    node: NodeId,
    type_name: &str,
    table: &Table,
    captured: UnixMs,
) -> Result<(), StoreError> {
    let body = postcard::to_stdvec(table).map_err(|_| corrupt("report"))?;
    for statement in [
        "DELETE FROM reports WHERE node_id = $1 AND type_name = $2 AND generation = 1",
        "UPDATE reports SET generation = 1 WHERE node_id = $1 AND type_name = $2",
        "DELETE FROM resyncs WHERE node_id = $1 AND type_name = $2",
    ] {
        sqlx::query(statement)
            .bind(node.as_str())
            .bind(type_name)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "INSERT INTO reports (node_id, type_name, generation, hash, body, captured_ms) \
         VALUES ($1, $2, 0, $3, $4, $5)",
    )
    .bind(node.as_str())
    .bind(type_name)
    .bind(table.hash().as_slice())
    .bind(body)
    .bind(captured)
    .execute(connection)
    .await?;
    Ok(())
}

/// Dates the newest base again.
pub(crate) async fn touch(
    connection: &mut SqliteConnection,
    node: NodeId,
    type_name: &str,
    captured: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE reports SET captured_ms = $1 \
         WHERE node_id = $2 AND type_name = $3 AND generation = 0",
    )
    .bind(captured)
    .bind(node.as_str())
    .bind(type_name)
    .execute(connection)
    .await?;
    Ok(())
}

/// Remembers that the whole of a type is wanted, until it has come.
pub(crate) async fn want(
    connection: &mut SqliteConnection,
    node: NodeId,
    type_name: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO resyncs (node_id, type_name) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(node.as_str())
        .bind(type_name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Types of which the whole is wanted.
pub(crate) async fn wanted(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<Vec<TypeName>, StoreError> {
    let rows = sqlx::query("SELECT type_name FROM resyncs WHERE node_id = $1")
        .bind(node.as_str())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let name: String = row.try_get("type_name")?;
            TypeName::try_from(name.as_str()).map_err(|_| corrupt("report type"))
        })
        .collect()
}

/// Sets a node's patch group to the value of its tag `Patch Group` or `PatchGroup`; without one to what its scan said.
pub(super) async fn refresh_patch_group(
    connection: &mut SqliteConnection,
    node: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE patch_states SET patch_group = coalesce((SELECT value FROM tags \
         WHERE resource_type = 'ManagedInstance' AND resource_id = $1 \
         AND key IN ('Patch Group', 'PatchGroup') ORDER BY key LIMIT 1), \
         json_extract(summary, '$.patch_group'), '') WHERE node_id = $1",
    )
    .bind(node.to_owned())
    .execute(connection)
    .await?;
    Ok(())
}

/// Derives patch state and compliance from the newest reports of a scan.
pub(crate) async fn derive(
    connection: &mut SqliteConnection,
    node: NodeId,
    captured: UnixMs,
) -> Result<(), StoreError> {
    let summary = bases(connection, node, patch::SUMMARY_TYPE).await?;
    let Some(scan) = summary.first().and_then(PatchSummary::from_table) else {
        return Ok(());
    };
    let states = bases(connection, node, patch::STATE_TYPE).await?;
    let patches = states
        .first()
        .map(|table| patch::patches(table).collect::<Vec<_>>());
    let summary =
        compliance::summarise(&scan, compliance::items(&scan, patches.unwrap_or_default()));
    let json = |value| serde_json::to_string(value).map_err(|_| corrupt("patch state"));
    sqlx::query(
        "INSERT INTO patch_states (node_id, baseline_id, patch_group, summary, captured_ms) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (node_id) DO UPDATE SET \
         baseline_id = excluded.baseline_id, patch_group = excluded.patch_group, \
         summary = excluded.summary, captured_ms = excluded.captured_ms",
    )
    .bind(node.as_str())
    .bind(&scan.baseline_id)
    .bind(&scan.patch_group)
    .bind(json(&scan)?)
    .bind(captured)
    .execute(&mut *connection)
    .await?;
    refresh_patch_group(connection, node.as_str()).await?;
    let text = serde_json::to_string(&summary).map_err(|_| corrupt("compliance"))?;
    sqlx::query(
        "INSERT INTO compliance (node_id, compliance_type, compliant, severity, summary, captured_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (node_id, compliance_type) DO UPDATE SET \
         compliant = excluded.compliant, severity = excluded.severity, \
         summary = excluded.summary, captured_ms = excluded.captured_ms",
    )
    .bind(node.as_str())
    .bind(compliance::PATCH_TYPE)
    .bind(i64::from(summary.is_compliant()))
    .bind(summary.overall.as_str())
    .bind(text)
    .bind(captured)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes everything that a node has reported of itself.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM reports WHERE node_id = $1",
        "DELETE FROM resyncs WHERE node_id = $1",
        "DELETE FROM patch_states WHERE node_id = $1",
        "DELETE FROM compliance WHERE node_id = $1",
        "DELETE FROM streams WHERE node_id = $1",
    ] {
        sqlx::query(statement)
            .bind(node.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

impl Store {
    /// A node's newest report of one type.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn report(
        &self,
        node: NodeId,
        type_name: &str,
    ) -> Result<Option<StoredReport>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM reports WHERE node_id = $1 AND type_name = $2 AND generation = 0",
        )
        .bind(node.as_str())
        .bind(type_name)
        .fetch_optional(&self.reads)
        .await?;
        row.as_ref().map(stored).transpose()
    }

    /// Patch states by node. `nodes` and `groups`: only these, where any are given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn patch_states(
        &self,
        nodes: &[String],
        groups: &[String],
        page: &Page,
    ) -> Result<Paged<PatchState>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM patch_states WHERE node_id > ");
        query.push_bind(page.after.clone().unwrap_or_default());
        push_in(&mut query, "node_id", nodes);
        push_in(&mut query, "patch_group", groups);
        query.push(" ORDER BY node_id");
        let state = |row: &SqliteRow| {
            let summary: String = row.try_get("summary")?;
            let summary: PatchSummary =
                serde_json::from_str(&summary).map_err(|_| corrupt("patch state"))?;
            Ok(PatchState {
                node: parsed(row, "node_id")?,
                summary: PatchSummary {
                    patch_group: row.try_get("patch_group")?,
                    ..summary
                },
                captured: row.try_get("captured_ms")?,
            })
        };
        let key = |state: &PatchState| state.node.to_string();
        super::page::read(&self.reads, query, page, state, key).await
    }

    /// The patch group of a node that was scanned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn patch_group(&self, node: NodeId) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT patch_group FROM patch_states WHERE node_id = $1")
            .bind(node.as_str())
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| row.try_get("patch_group")).transpose()?)
    }

    /// A node's patches, by title. Bounded by the wire's rows of one report.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn patches(&self, node: NodeId) -> Result<Vec<Patch>, StoreError> {
        let report = self.report(node, patch::STATE_TYPE).await?;
        Ok(report
            .map(|report| patch::patches(&report.table).collect())
            .unwrap_or_default())
    }

    /// A node's compliance items of type `Patch`, by patch, and when they were captured; `None`
    /// without a scan.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compliance_items(
        &self,
        node: NodeId,
    ) -> Result<Option<(PatchSummary, Vec<Item>, UnixMs)>, StoreError> {
        let Some(scan) = self.report(node, patch::SUMMARY_TYPE).await? else {
            return Ok(None);
        };
        let Some(mut summary) = PatchSummary::from_table(&scan.table) else {
            return Ok(None);
        };
        if let Some(group) = self.patch_group(node).await? {
            summary.patch_group = group;
        }
        let items = compliance::items(&summary, self.patches(node).await?).collect();
        Ok(Some((summary, items, scan.captured)))
    }
}
