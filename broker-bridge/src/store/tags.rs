//! Tags of resources. Never knows what a tag means: targets are the core's.

use super::audit::record;
use super::reports::refresh_patch_group;
use super::{Caller, Store, StoreError};
use sqlx::{Row, SqliteConnection};

/// Tags that a resource may carry (`AddTagsToResource`).
pub(crate) const TAGS_MAX: i64 = 50;

/// What carries a tag (`ResourceTypeForTagging`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceType {
    /// A document.
    Document,
    /// A node.
    ManagedInstance,
    /// A maintenance window.
    MaintenanceWindow,
    /// A parameter.
    Parameter,
    /// A patch baseline.
    PatchBaseline,
    /// An operational item.
    OpsItem,
    /// Metadata of operational items.
    OpsMetadata,
    /// An automation execution.
    Automation,
    /// An association.
    Association,
}

impl ResourceType {
    /// The API's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Document => "Document",
            Self::ManagedInstance => "ManagedInstance",
            Self::MaintenanceWindow => "MaintenanceWindow",
            Self::Parameter => "Parameter",
            Self::PatchBaseline => "PatchBaseline",
            Self::OpsItem => "OpsItem",
            Self::OpsMetadata => "OpsMetadata",
            Self::Automation => "Automation",
            Self::Association => "Association",
        }
    }
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Tag {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Tags were not changed.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// No such node or document.
    #[error("{resource_type} {id} does not exist", resource_type = resource_type.as_str())]
    NoSuchResource {
        /// Its type.
        resource_type: ResourceType,
        /// Its id.
        id: String,
    },
    /// The resource would carry more tags than it may.
    #[error("{found} tags, at most {max} are allowed on one resource")]
    TooMany {
        /// Tags there would be.
        found: i64,
        /// Tags allowed.
        max: i64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for TagError {
    fn from(source: sqlx::Error) -> Self {
        Self::Store(source.into())
    }
}

/// Whether the resource exists; only nodes and built-in documents are there to be tagged.
async fn exists(
    connection: &mut SqliteConnection,
    resource_type: ResourceType,
    id: &str,
) -> Result<bool, sqlx::Error> {
    match resource_type {
        ResourceType::ManagedInstance => {
            let node = sqlx::query(
                "SELECT 1 AS found FROM nodes WHERE node_id = $1 AND deregistered_ms IS NULL",
            )
            .bind(id)
            .fetch_optional(connection)
            .await?;
            Ok(node.is_some())
        }
        ResourceType::Document => Ok(holdfast_documents::library::find(id).is_some()),
        ResourceType::MaintenanceWindow
        | ResourceType::Parameter
        | ResourceType::PatchBaseline
        | ResourceType::OpsItem
        | ResourceType::OpsMetadata
        | ResourceType::Automation
        | ResourceType::Association => Ok(false),
    }
}

/// Sets tags of a resource that exists.
pub(crate) async fn put_tags(
    connection: &mut SqliteConnection,
    resource_type: ResourceType,
    id: &str,
    tags: &[Tag],
) -> Result<(), sqlx::Error> {
    for tag in tags {
        sqlx::query(
            "INSERT INTO tags (resource_type, resource_id, key, value) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (resource_type, resource_id, key) DO UPDATE SET value = excluded.value",
        )
        .bind(resource_type.as_str())
        .bind(id)
        .bind(&tag.key)
        .bind(&tag.value)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

impl Store {
    /// Adds tags, replacing values of keys that are there.
    ///
    /// # Errors
    /// [`TagError`]; nothing is then changed.
    pub async fn add_tags(
        &self,
        caller: Caller,
        resource_type: ResourceType,
        id: String,
        tags: Vec<Tag>,
    ) -> Result<(), TagError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    if !exists(connection, resource_type, &id).await? {
                        return Err(TagError::NoSuchResource { resource_type, id });
                    }
                    put_tags(connection, resource_type, &id, &tags).await?;
                    refresh_patch_group(connection, &id).await?;
                    let found: i64 = sqlx::query(
                        "SELECT count(*) AS n FROM tags WHERE resource_type = $1 AND resource_id = $2",
                    )
                    .bind(resource_type.as_str())
                    .bind(&id)
                    .fetch_one(&mut *connection)
                    .await?
                    .try_get("n")?;
                    if found > TAGS_MAX {
                        return Err(TagError::TooMany { found, max: TAGS_MAX });
                    }
                    let keys: Vec<_> = tags.iter().map(|tag| tag.key.as_str()).collect();
                    record(connection, &caller, "AddTagsToResource", &id, &keys.join(",")).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Removes tags by key; keys that are not there are passed over.
    ///
    /// # Errors
    /// [`TagError`]; nothing is then changed.
    pub async fn remove_tags(
        &self,
        caller: Caller,
        resource_type: ResourceType,
        id: String,
        keys: Vec<String>,
    ) -> Result<(), TagError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    if !exists(connection, resource_type, &id).await? {
                        return Err(TagError::NoSuchResource { resource_type, id });
                    }
                    for key in &keys {
                        sqlx::query(
                            "DELETE FROM tags \
                             WHERE resource_type = $1 AND resource_id = $2 AND key = $3",
                        )
                        .bind(resource_type.as_str())
                        .bind(&id)
                        .bind(key)
                        .execute(&mut *connection)
                        .await?;
                    }
                    refresh_patch_group(connection, &id).await?;
                    record(
                        connection,
                        &caller,
                        "RemoveTagsFromResource",
                        &id,
                        &keys.join(","),
                    )
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// The tags of a resource, by key.
    ///
    /// # Errors
    /// [`TagError::NoSuchResource`] when there is no such resource.
    pub async fn tags(&self, resource_type: ResourceType, id: &str) -> Result<Vec<Tag>, TagError> {
        let mut connection = self.reads.acquire().await?;
        if !exists(&mut connection, resource_type, id).await? {
            let id = id.to_owned();
            return Err(TagError::NoSuchResource { resource_type, id });
        }
        let rows = sqlx::query(
            "SELECT key, value FROM tags WHERE resource_type = $1 AND resource_id = $2 ORDER BY key",
        )
        .bind(resource_type.as_str())
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
        let tags = rows.iter().map(|row| {
            Ok(Tag {
                key: row.try_get("key")?,
                value: row.try_get("value")?,
            })
        });
        Ok(tags.collect::<Result<_, sqlx::Error>>()?)
    }
}
