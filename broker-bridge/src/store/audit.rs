//! Who changed what: one entry a change, written in the change's own transaction.
//! Never holds a secret, a parameter's value or a script's output.

use super::{Store, StoreError, UnixMs};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// On whose word a change is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The access key of an API request; `local:USER` for the command line on this machine, `local` for the bridge
    /// itself. No access key's id has a colon.
    pub access_key_id: String,
    /// When, by the bridge's clock.
    pub now: UnixMs,
}

impl Caller {
    /// The bridge itself.
    #[must_use]
    pub fn local(now: UnixMs) -> Self {
        Self {
            access_key_id: "local".into(),
            now,
        }
    }

    /// The command line, which whoever owns the state directory may use; `user` is who it was.
    #[must_use]
    pub fn local_user(user: &str, now: UnixMs) -> Self {
        Self {
            access_key_id: format!("local:{user}"),
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
    /// Whose access key, or who on the bridge's machine: see [`Caller::access_key_id`].
    pub access_key_id: String,
    /// The operation's name, such as `SendCommand`.
    pub operation: String,
    /// What it changed, such as a node id.
    pub target: String,
    /// More about it.
    pub detail: String,
}

impl Store {
    /// Records what a verb did outside the database.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record(
        &self,
        caller: Caller,
        operation: &'static str,
        target: String,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move { record(connection, &caller, operation, &target, "").await })
            })
            .await
    }
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

/// Reads an entry.
pub(super) fn entry(row: &SqliteRow) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        id: row.try_get("audit_id")?,
        at: row.try_get("at_ms")?,
        access_key_id: row.try_get("access_key_id")?,
        operation: row.try_get("operation")?,
        target: row.try_get("target")?,
        detail: row.try_get("detail")?,
    })
}
