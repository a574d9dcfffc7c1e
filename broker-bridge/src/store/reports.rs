//! Reports of nodes as they were applied: two bases of each type, and what is derived from them.
//! Never decides what a report says: the core reads tables; this keeps them and finds them again.

use super::activations::push_in;
use super::{Page, Paged, Store, StoreError, UnixMs};
use holdfast_bridge_core::compliance::{self, Item, Summary};
use holdfast_bridge_core::inventory::{Condition, Entry, entries};
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

/// A condition on a node: any entry of its report of this type meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryFilter {
    /// The report's type.
    pub type_name: String,
    /// The condition.
    pub condition: Condition,
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

/// A node's compliance in one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCompliance {
    /// The node.
    pub node: NodeId,
    /// Such as `Patch`.
    pub compliance_type: String,
    /// Counts by severity.
    pub summary: Summary,
    /// When it was captured.
    pub captured: UnixMs,
}

fn corrupt(what: &'static str) -> StoreError {
    StoreError::Corrupt { what }
}

fn table(row: &SqliteRow) -> Result<Table, StoreError> {
    let body: Vec<u8> = row.try_get("body")?;
    postcard::from_bytes(&body).map_err(|_| corrupt("report"))
}

fn node_id(row: &SqliteRow) -> Result<NodeId, StoreError> {
    row.try_get::<String, _>("node_id")?
        .parse()
        .map_err(|_| corrupt("node id"))
}

fn stored(row: &SqliteRow) -> Result<StoredReport, StoreError> {
    let hash: Vec<u8> = row.try_get("hash")?;
    Ok(StoredReport {
        node: node_id(row)?,
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

    /// A node's newest reports, by type. `types`: only these, where any are given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reports(
        &self,
        node: NodeId,
        types: &[String],
    ) -> Result<Vec<StoredReport>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT * FROM reports WHERE generation = 0 AND node_id = ");
        query.push_bind(node.to_string());
        push_in(&mut query, "type_name", types);
        query.push(" ORDER BY type_name");
        let rows = query
            .build()
            .persistent(false)
            .fetch_all(&self.reads)
            .await?;
        rows.iter().map(stored).collect()
    }

    /// Nodes that have reported and meet every filter, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn inventory_nodes(
        &self,
        filters: &[InventoryFilter],
        page: &Page,
    ) -> Result<Paged<NodeId>, StoreError> {
        let mut after = page.after.clone().unwrap_or_default();
        let mut found = Vec::new();
        let wanted = page.limit.max(1) as usize + 1;
        while found.len() < wanted {
            let rows = sqlx::query(
                "SELECT DISTINCT r.node_id FROM reports r JOIN nodes n ON n.node_id = r.node_id \
                 WHERE r.generation = 0 AND n.deregistered_ms IS NULL AND r.node_id > $1 \
                 ORDER BY r.node_id LIMIT 64",
            )
            .bind(&after)
            .fetch_all(&self.reads)
            .await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get("node_id")?;
            for row in &rows {
                let node = node_id(row)?;
                if self.meets(node, filters).await? {
                    found.push(node);
                }
            }
        }
        found.truncate(wanted);
        Ok(Paged::cut(found, page, ToString::to_string))
    }

    async fn meets(&self, node: NodeId, filters: &[InventoryFilter]) -> Result<bool, StoreError> {
        for filter in filters {
            let report = self.report(node, &filter.type_name).await?;
            let holds = |entry: Entry| filter.condition.holds(&entry);
            if !report.is_some_and(|report| entries(&report.table).any(holds)) {
                return Ok(false);
            }
        }
        Ok(true)
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
        query
            .push(" ORDER BY node_id LIMIT ")
            .push_bind(page.fetch());
        let rows = query
            .build()
            .persistent(false)
            .fetch_all(&self.reads)
            .await?;
        let states = rows.iter().map(|row| {
            let summary: String = row.try_get("summary")?;
            Ok(PatchState {
                node: node_id(row)?,
                summary: serde_json::from_str(&summary).map_err(|_| corrupt("patch state"))?,
                captured: row.try_get("captured_ms")?,
            })
        });
        let states = states.collect::<Result<_, StoreError>>()?;
        Ok(Paged::cut(states, page, |state: &PatchState| {
            state.node.to_string()
        }))
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
        let Some(summary) = PatchSummary::from_table(&scan.table) else {
            return Ok(None);
        };
        let items = compliance::items(&summary, self.patches(node).await?).collect();
        Ok(Some((summary, items, scan.captured)))
    }

    /// Compliance by node and type.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compliance(&self, page: &Page) -> Result<Paged<NodeCompliance>, StoreError> {
        let after = page.after.clone().unwrap_or_default();
        let rows = sqlx::query(
            "SELECT c.* FROM compliance c WHERE c.node_id || ':' || c.compliance_type > $1 \
             ORDER BY c.node_id, c.compliance_type LIMIT $2",
        )
        .bind(after)
        .bind(page.fetch())
        .fetch_all(&self.reads)
        .await?;
        let items = rows.iter().map(|row| {
            let summary: String = row.try_get("summary")?;
            Ok(NodeCompliance {
                node: node_id(row)?,
                compliance_type: row.try_get("compliance_type")?,
                summary: serde_json::from_str(&summary).map_err(|_| corrupt("compliance"))?,
                captured: row.try_get("captured_ms")?,
            })
        });
        let items = items.collect::<Result<_, StoreError>>()?;
        Ok(Paged::cut(items, page, |item: &NodeCompliance| {
            format!("{}:{}", item.node, item.compliance_type)
        }))
    }
}
