//! Access keys of API clients. The secret is kept as it is, for SigV4 needs it to verify: the
//! file's rights protect it. Never prints one.

use super::audit::record;
use super::{Caller, Store, StoreError, UnixMs};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::fmt;

/// An API client's key.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its public half, such as `AKIA…`.
    pub access_key_id: String,
    /// Its secret half.
    pub secret: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created: UnixMs,
    /// Since when it opens nothing.
    pub disabled: Option<UnixMs>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("access_key_id", &self.access_key_id)
            .field("name", &self.name)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

fn access_key(row: &SqliteRow) -> Result<AccessKey, sqlx::Error> {
    Ok(AccessKey {
        access_key_id: row.try_get("access_key_id")?,
        secret: row.try_get("secret")?,
        name: row.try_get("name")?,
        created: row.try_get("created_ms")?,
        disabled: row.try_get("disabled_ms")?,
    })
}

impl Store {
    /// Adds a key; `false` when its id is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_access_key(&self, caller: Caller, key: AccessKey) -> Result<bool, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let added = sqlx::query(
                        "INSERT INTO access_keys (access_key_id, secret, name, created_ms, disabled_ms) \
                         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                    )
                    .bind(&key.access_key_id)
                    .bind(&key.secret)
                    .bind(&key.name)
                    .bind(key.created)
                    .bind(key.disabled)
                    .execute(&mut *connection)
                    .await?;
                    if added.rows_affected() == 0 {
                        return Ok(false);
                    }
                    record(connection, &caller, "CreateAccessKey", &key.access_key_id, &key.name).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// The key of that id, disabled or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn access_key(&self, access_key_id: &str) -> Result<Option<AccessKey>, StoreError> {
        let row = sqlx::query("SELECT * FROM access_keys WHERE access_key_id = $1")
            .bind(access_key_id)
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.as_ref().map(access_key).transpose()?)
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn access_keys(&self) -> Result<Vec<AccessKey>, StoreError> {
        let rows = sqlx::query("SELECT * FROM access_keys ORDER BY created_ms, access_key_id")
            .fetch_all(&self.reads)
            .await?;
        Ok(rows.iter().map(access_key).collect::<Result<_, _>>()?)
    }

    /// Disables a key for good; `false` when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn disable_access_key(
        &self,
        caller: Caller,
        access_key_id: String,
    ) -> Result<bool, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let found = sqlx::query(
                        "UPDATE access_keys SET disabled_ms = coalesce(disabled_ms, $1) \
                         WHERE access_key_id = $2",
                    )
                    .bind(caller.now)
                    .bind(&access_key_id)
                    .execute(&mut *connection)
                    .await?;
                    if found.rows_affected() == 0 {
                        return Ok(false);
                    }
                    record(connection, &caller, "DisableAccessKey", &access_key_id, "").await?;
                    Ok(true)
                })
            })
            .await
    }
}
