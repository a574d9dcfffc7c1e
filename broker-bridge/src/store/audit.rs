//! Who changed what: one entry a change, written in the change's own transaction.
//! Never holds a secret, a parameter's value or a script's output.

use super::{Page, Paged, Store, StoreError, UnixMs};
use sqlx::{Row, SqliteConnection};

/// On whose word a change is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The access key of an API request, or `local` for the command line on this machine.
    pub access_key_id: String,
    /// When, by the bridge's clock.
    pub now: UnixMs,
}

impl Caller {
    /// The command line, which whoever owns the state directory may use.
    #[must_use]
    pub fn local(now: UnixMs) -> Self {
        Self {
            access_key_id: "local".into(),
            now,
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows with each entry.
    pub id: i64,
    /// When.
    pub at: UnixMs,
    /// Whose access key.
    pub access_key_id: String,
    /// The operation's name, such as `SendCommand`.
    pub operation: String,
    /// What it changed, such as a node id.
    pub target: String,
    /// More about it.
    pub detail: String,
}

/// Records a change beside the statements that make it.
pub(crate) async fn record(
    connection: &mut SqliteConnection,
    caller: &Caller,
    operation: &str,
    target: &str,
    detail: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (at_ms, access_key_id, operation, target, detail) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(caller.now)
    .bind(&caller.access_key_id)
    .bind(operation)
    .bind(target)
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// The changes, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(&self, page: &Page) -> Result<Paged<AuditEntry>, StoreError> {
        let before = page
            .after
            .as_deref()
            .and_then(|id| id.parse().ok())
            .unwrap_or(i64::MAX);
        let rows =
            sqlx::query("SELECT * FROM audit WHERE audit_id < $1 ORDER BY audit_id DESC LIMIT $2")
                .bind(before)
                .bind(page.fetch())
                .fetch_all(&self.reads)
                .await?;
        let entries: Result<Vec<_>, sqlx::Error> = rows
            .iter()
            .map(|row| {
                Ok(AuditEntry {
                    id: row.try_get("audit_id")?,
                    at: row.try_get("at_ms")?,
                    access_key_id: row.try_get("access_key_id")?,
                    operation: row.try_get("operation")?,
                    target: row.try_get("target")?,
                    detail: row.try_get("detail")?,
                })
            })
            .collect();
        Ok(Paged::cut(entries?, page, |entry| entry.id.to_string()))
    }
}
