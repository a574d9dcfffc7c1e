//! Activations: what a machine needs to become a node. Never holds an activation's code, only
//! the key that is derived from it.

use super::audit::record;
use super::error::StoreError;
use super::{Caller, Page, Paged, Store, Tag, UnixMs};
use holdfast_protocol::ActivationId;
use holdfast_protocol::enrol::ActivationKey;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

/// An activation to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewActivation {
    /// Its id, fresh.
    pub id: ActivationId,
    /// What [`holdfast_protocol::enrol::derive_key`] makes of its code.
    pub code_key: ActivationKey,
    /// What it is for.
    pub description: String,
    /// Name given to nodes; empty for none.
    pub default_name: String,
    /// Role given to nodes; stored and returned, nothing else.
    pub iam_role: String,
    /// Nodes it may register, from 1.
    pub registration_limit: u32,
    /// When it stops working.
    pub expires: UnixMs,
    /// Tags given to its nodes.
    pub tags: Vec<Tag>,
}

/// An activation as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Its id.
    pub id: ActivationId,
    /// The key derived from its code.
    pub code_key: ActivationKey,
    /// What it is for.
    pub description: String,
    /// Name given to nodes; empty for none.
    pub default_name: String,
    /// Role given to nodes.
    pub iam_role: String,
    /// Nodes it may register.
    pub registration_limit: u32,
    /// Nodes it has registered.
    pub registrations: u32,
    /// When it was made.
    pub created: UnixMs,
    /// When it stops working.
    pub expires: UnixMs,
    /// Tags given to its nodes.
    pub tags: Vec<Tag>,
}

/// Which activations are wanted; empty lists take all (`DescribeActivationsFilter`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivationFilter {
    /// One of these ids.
    pub ids: Vec<String>,
    /// One of these default names.
    pub default_names: Vec<String>,
    /// One of these roles.
    pub iam_roles: Vec<String>,
}

pub(super) fn activation(row: &SqliteRow) -> Result<Activation, StoreError> {
    let id: String = row.try_get("activation_id")?;
    let code_key: Vec<u8> = row.try_get("code_key")?;
    let tags: String = row.try_get("tags")?;
    let corrupt = |what| StoreError::Corrupt { what };
    let count = |name: &'static str| -> Result<u32, StoreError> {
        u32::try_from(row.try_get::<i64, _>(name)?).map_err(|_| corrupt(name))
    };
    Ok(Activation {
        id: id.parse().map_err(|_| corrupt("activation id"))?,
        code_key: code_key.try_into().map_err(|_| corrupt("activation key"))?,
        description: row.try_get("description")?,
        default_name: row.try_get("default_name")?,
        iam_role: row.try_get("iam_role")?,
        registration_limit: count("registration_limit")?,
        registrations: count("registrations")?,
        created: row.try_get("created_ms")?,
        expires: row.try_get("expires_ms")?,
        tags: serde_json::from_str(&tags).map_err(|_| corrupt("tags of an activation"))?,
    })
}

/// Adds `AND column IN (…)` where values are wanted.
pub(crate) fn push_in(query: &mut QueryBuilder<Sqlite>, column: &'static str, values: &[String]) {
    if values.is_empty() {
        return;
    }
    query.push(" AND ").push(column).push(" IN (");
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value.clone());
    }
    query.push(")");
}

impl Store {
    /// Adds an activation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_activation(
        &self,
        caller: Caller,
        new: NewActivation,
    ) -> Result<(), StoreError> {
        let tags =
            serde_json::to_string(&new.tags).map_err(|_| StoreError::Corrupt { what: "tag" })?;
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let id = new.id.to_string();
                    sqlx::query(
                        "INSERT INTO activations (activation_id, code_key, description, \
                         default_name, iam_role, registration_limit, created_ms, expires_ms, tags) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                    )
                    .bind(&id)
                    .bind(new.code_key.as_slice())
                    .bind(&new.description)
                    .bind(&new.default_name)
                    .bind(&new.iam_role)
                    .bind(i64::from(new.registration_limit))
                    .bind(caller.now)
                    .bind(new.expires)
                    .bind(&tags)
                    .execute(&mut *connection)
                    .await?;
                    record(
                        connection,
                        &caller,
                        "CreateActivation",
                        &id,
                        &new.description,
                    )
                    .await
                })
            })
            .await
    }

    /// Removes an activation; nodes it registered stay. `false` when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_activation(
        &self,
        caller: Caller,
        id: ActivationId,
    ) -> Result<bool, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let id = id.to_string();
                    let gone = sqlx::query("DELETE FROM activations WHERE activation_id = $1")
                        .bind(&id)
                        .execute(&mut *connection)
                        .await?;
                    if gone.rows_affected() == 0 {
                        return Ok(false);
                    }
                    record(connection, &caller, "DeleteActivation", &id, "").await?;
                    Ok(true)
                })
            })
            .await
    }

    /// The activation of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn activation(&self, id: ActivationId) -> Result<Option<Activation>, StoreError> {
        let row = sqlx::query("SELECT * FROM activations WHERE activation_id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reads)
            .await?;
        row.as_ref().map(activation).transpose()
    }

    /// Activations by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn activations(
        &self,
        filter: &ActivationFilter,
        page: &Page,
    ) -> Result<Paged<Activation>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM activations WHERE activation_id > ");
        query.push_bind(page.after.clone().unwrap_or_default());
        push_in(&mut query, "activation_id", &filter.ids);
        push_in(&mut query, "default_name", &filter.default_names);
        push_in(&mut query, "iam_role", &filter.iam_roles);
        query.push(" ORDER BY activation_id");
        let key = |activation: &Activation| activation.id.to_string();
        super::page::read(&self.reads, query, page, activation, key).await
    }
}
