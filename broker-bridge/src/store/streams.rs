//! Streams of nodes: what was applied of each, what will never come, and their events.
//! Never decides whether a record is new: the core does.

use super::error::{signed, unsigned};
use super::{Page, Paged, Store, StoreError, UnixMs};
use holdfast_protocol::{Class, NodeId, OutboxId};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteConnection};

/// Rows of one statement: 7 values each, far below SQLite's bound of 32,766.
const ROWS_MAX: usize = 128;

/// Sequences applied, by class in the order of [`Class::ALL`].
pub(crate) type Heads = [u64; 4];

/// An outbox id as SQLite keeps it: the same 64 bits, signed.
pub(crate) fn outbox_number(outbox: OutboxId) -> i64 {
    i64::from_le_bytes(outbox.0.to_le_bytes())
}

/// Reads [`outbox_number`].
pub(crate) fn outbox_of(number: i64) -> OutboxId {
    OutboxId(u64::from_le_bytes(number.to_le_bytes()))
}

/// Loads what was applied of an outbox; `None` of a stream that is not known.
pub(crate) async fn heads(
    connection: &mut SqliteConnection,
    node: NodeId,
    outbox: OutboxId,
) -> Result<[Option<u64>; 4], StoreError> {
    let rows = sqlx::query("SELECT class, last FROM streams WHERE node_id = $1 AND outbox = $2")
        .bind(node.as_str())
        .bind(outbox_number(outbox))
        .fetch_all(connection)
        .await?;
    let mut heads = [None; 4];
    for row in &rows {
        let class = usize::try_from(row.try_get::<i64, _>("class")?).unwrap_or(usize::MAX);
        if let Some(head) = heads.get_mut(class) {
            *head = Some(unsigned(row.try_get("last")?));
        }
    }
    Ok(heads)
}

/// Keeps what was applied of one stream.
pub(crate) async fn save_head(
    connection: &mut SqliteConnection,
    node: NodeId,
    outbox: OutboxId,
    class: Class,
    last: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO streams (node_id, outbox, class, last) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (node_id, outbox, class) DO UPDATE SET last = excluded.last",
    )
    .bind(node.as_str())
    .bind(outbox_number(outbox))
    .bind(signed(class.index() as u64))
    .bind(signed(last))
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets every life of a node's outbox but this one and the one before.
pub(crate) async fn forget_lives(
    connection: &mut SqliteConnection,
    node: NodeId,
    outbox: OutboxId,
    before: Option<i64>,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM streams WHERE node_id = $1 AND outbox <> $2 AND outbox <> $3")
        .bind(node.as_str())
        .bind(outbox_number(outbox))
        .bind(before.unwrap_or(outbox_number(outbox)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts records that will never come.
pub(crate) async fn add_gap(
    connection: &mut SqliteConnection,
    node: NodeId,
    class: Class,
    reason: &str,
    records: u64,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO gaps (node_id, class, reason, gaps, records, latest_ms) \
         VALUES ($1, $2, $3, 1, $4, $5) ON CONFLICT (node_id, class, reason) DO UPDATE SET \
         gaps = gaps.gaps + 1, records = gaps.records + excluded.records, \
         latest_ms = excluded.latest_ms",
    )
    .bind(node.as_str())
    .bind(signed(class.index() as u64))
    .bind(reason)
    .bind(signed(records))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// An event to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEvent {
    pub(crate) node: NodeId,
    pub(crate) class: Class,
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) occurred: Option<UnixMs>,
}

/// Keeps events, many rows a statement.
pub(crate) async fn insert_events(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
    now: UnixMs,
) -> Result<(), StoreError> {
    for events in events.chunks(ROWS_MAX) {
        let mut query = QueryBuilder::new(
            "INSERT INTO node_events (node_id, class, name, detail, occurred_ms, received_ms) ",
        );
        query.push_values(events, |mut row, event| {
            row.push_bind(event.node.to_string())
                .push_bind(signed(event.class.index() as u64))
                .push_bind(&event.name)
                .push_bind(&event.detail)
                .push_bind(event.occurred)
                .push_bind(now);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Records of a stream that will never come, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapCount {
    /// The stream.
    pub class: Class,
    /// `evicted`, `superseded`, `damaged` or `bridge-restored`.
    pub reason: String,
    /// How often.
    pub gaps: u64,
    /// Records missing.
    pub records: u64,
    /// When the last one was learnt of.
    pub latest: UnixMs,
}

/// An event of a node, or about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvent {
    /// Grows with each event received.
    pub id: i64,
    /// [`Class::Audit`] or [`Class::Log`].
    pub class: Class,
    /// A stable name.
    pub name: String,
    /// More about it.
    pub detail: String,
    /// When it happened, as far as it can be told.
    pub occurred: Option<UnixMs>,
    /// When it was received.
    pub received: UnixMs,
}

fn class(number: i64) -> Result<Class, StoreError> {
    let class = usize::try_from(number)
        .ok()
        .and_then(|at| Class::ALL.get(at).copied());
    class.ok_or(StoreError::Corrupt {
        what: "class of a stream",
    })
}

/// Reads the gaps of one stream.
pub(super) fn gap(row: &SqliteRow) -> Result<GapCount, StoreError> {
    Ok(GapCount {
        class: class(row.try_get("class")?)?,
        reason: row.try_get("reason")?,
        gaps: unsigned(row.try_get("gaps")?),
        records: unsigned(row.try_get("records")?),
        latest: row.try_get("latest_ms")?,
    })
}

impl Store {
    /// What was applied of an outbox, by class in the order of [`Class::ALL`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stream_heads(
        &self,
        node: NodeId,
        outbox: OutboxId,
    ) -> Result<[u64; 4], StoreError> {
        let heads = heads(&mut *self.reads.acquire().await?, node, outbox).await?;
        Ok(heads.map(Option::unwrap_or_default))
    }

    /// What of a node's streams will never come.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn gaps(&self, node: NodeId) -> Result<Vec<GapCount>, StoreError> {
        let rows = sqlx::query("SELECT * FROM gaps WHERE node_id = $1 ORDER BY class, reason")
            .bind(node.as_str())
            .fetch_all(&self.reads)
            .await?;
        rows.iter().map(gap).collect()
    }

    /// Events of a node, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn node_events(
        &self,
        node: NodeId,
        page: &Page,
    ) -> Result<Paged<NodeEvent>, StoreError> {
        let before = page
            .after
            .as_deref()
            .and_then(|id| id.parse().ok())
            .unwrap_or(i64::MAX);
        let rows = sqlx::query(
            "SELECT * FROM node_events WHERE node_id = $1 AND event_id < $2 \
             ORDER BY event_id DESC LIMIT $3",
        )
        .bind(node.as_str())
        .bind(before)
        .bind(page.fetch())
        .fetch_all(&self.reads)
        .await?;
        let events = rows.iter().map(|row| {
            Ok(NodeEvent {
                id: row.try_get("event_id")?,
                class: class(row.try_get("class")?)?,
                name: row.try_get("name")?,
                detail: row.try_get("detail")?,
                occurred: row.try_get("occurred_ms")?,
                received: row.try_get("received_ms")?,
            })
        });
        let events = events.collect::<Result<_, StoreError>>()?;
        Ok(Paged::cut(events, page, |event: &NodeEvent| {
            event.id.to_string()
        }))
    }
}
