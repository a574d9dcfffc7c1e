//! Nodes: what is known of them, and lists of them by filters.
//! Never decides whether a hello continues its chain: that is the core's.

use super::activations::push_in;
use super::audit::record;
use super::error::unsigned;
use super::row::parsed;
use super::{Caller, Page, Paged, Store, StoreError, Tag, UnixMs};
use holdfast_protocol::NodeId;
use holdfast_protocol::seal::PublicKey;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

/// A certificate that was issued to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// Its serial, lower-case hexadecimal digits.
    pub serial: String,
    /// When it expires.
    pub expires: UnixMs,
}

/// Whether a node may connect with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Good,
    /// No such node here: perhaps the bridge was restored from an older backup.
    Unknown,
    /// It was deregistered.
    Deregistered,
    /// This certificate was revoked.
    Revoked,
    /// It may connect, and its hello is refused with this reason.
    Quarantined(String),
}

/// Whether a node is connected (`PingStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connectivity {
    /// It is.
    Online,
    /// It is not.
    ConnectionLost,
}

impl Connectivity {
    /// The API's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::ConnectionLost => "ConnectionLost",
        }
    }
}

/// A node as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The activation that registered it.
    pub activation_id: String,
    /// Its name; empty for none.
    pub name: String,
    /// Its role; stored and returned, nothing else.
    pub iam_role: String,
    /// When it was registered.
    pub registered: UnixMs,
    /// When it was deregistered.
    pub deregistered: Option<UnixMs>,
    /// Why it is quarantined.
    pub quarantine: Option<String>,
    /// Its public key.
    pub key: PublicKey,
    /// The key before the last renewal, until the node says hello with the new one.
    pub previous_key: Option<PublicKey>,
    /// Its certificate.
    pub certificate: NodeCertificate,
    /// Version of its agent.
    pub agent_version: String,
    /// Operating system, such as `Debian GNU/Linux`.
    pub platform_name: String,
    /// Version of it.
    pub platform_version: String,
    /// Host name.
    pub computer_name: String,
    /// Address of the interface that reaches the bridge.
    pub ip_address: String,
    /// Machine architecture.
    pub architecture: String,
    /// Whether it is connected.
    pub connectivity: Connectivity,
    /// When it was last heard of.
    pub last_ping: UnixMs,
    /// Boots since it was registered, as its last hello had it.
    pub boot: u32,
}

fn key(bytes: Vec<u8>) -> Result<PublicKey, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt {
        what: "public key of a node",
    })
}

pub(super) fn node(row: &SqliteRow) -> Result<Node, StoreError> {
    let previous: Option<Vec<u8>> = row.try_get("previous_key")?;
    let quarantined: Option<UnixMs> = row.try_get("quarantined_ms")?;
    let reason: String = row.try_get("quarantine_reason")?;
    Ok(Node {
        id: parsed(row, "node_id")?,
        activation_id: row.try_get("activation_id")?,
        name: row.try_get("name")?,
        iam_role: row.try_get("iam_role")?,
        registered: row.try_get("registered_ms")?,
        deregistered: row.try_get("deregistered_ms")?,
        quarantine: quarantined.map(|_| reason),
        key: key(row.try_get("public_key")?)?,
        previous_key: previous.map(key).transpose()?,
        certificate: NodeCertificate {
            serial: row.try_get("certificate_serial")?,
            expires: row.try_get("certificate_expires_ms")?,
        },
        agent_version: row.try_get("agent_version")?,
        platform_name: row.try_get("platform_name")?,
        platform_version: row.try_get("platform_version")?,
        computer_name: row.try_get("computer_name")?,
        ip_address: row.try_get("ip_address")?,
        architecture: row.try_get("architecture")?,
        connectivity: if row.try_get::<i64, _>("connection")? != 0 {
            Connectivity::Online
        } else {
            Connectivity::ConnectionLost
        },
        last_ping: row.try_get("last_ping_ms")?,
        boot: u32::try_from(unsigned(row.try_get("boot")?)).unwrap_or(u32::MAX),
    })
}

/// What a list of nodes is filtered by (`InstanceInformationStringFilter`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeFilterKey {
    /// Node ids.
    InstanceIds,
    /// Versions of the agent.
    AgentVersion,
    /// `Online`, `ConnectionLost`, `Inactive`.
    PingStatus,
    /// `Linux`, `Windows`, `MacOS`.
    PlatformTypes,
    /// Activation ids.
    ActivationIds,
    /// Roles.
    IamRole,
    /// `ManagedInstance`, `EC2Instance`.
    ResourceType,
    /// Names of tags.
    TagKey,
    /// Values of the tag of this name.
    Tag(String),
}

/// One filter: the key's value is one of these. Several filters must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFilter {
    /// By what.
    pub key: NodeFilterKey,
    /// Values, at least one.
    pub values: Vec<String>,
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &NodeFilter) {
    let values = &filter.values;
    match &filter.key {
        NodeFilterKey::InstanceIds => push_in(query, "node_id", values),
        NodeFilterKey::AgentVersion => push_in(query, "agent_version", values),
        NodeFilterKey::ActivationIds => push_in(query, "activation_id", values),
        NodeFilterKey::IamRole => push_in(query, "iam_role", values),
        NodeFilterKey::PingStatus => push_in(
            query,
            "CASE connection WHEN 0 THEN 'ConnectionLost' ELSE 'Online' END",
            values,
        ),
        // Agents of this protocol run on Linux only.
        NodeFilterKey::PlatformTypes => push_in(query, "'Linux'", values),
        NodeFilterKey::ResourceType => push_in(query, "'ManagedInstance'", values),
        NodeFilterKey::TagKey => {
            query.push(
                " AND EXISTS (SELECT 1 FROM tags WHERE resource_type = 'ManagedInstance' \
                 AND resource_id = node_id",
            );
            push_in(query, "key", values);
            query.push(")");
        }
        NodeFilterKey::Tag(name) => {
            query
                .push(
                    " AND EXISTS (SELECT 1 FROM tags WHERE resource_type = 'ManagedInstance' \
                     AND resource_id = node_id AND key = ",
                )
                .push_bind(name.clone());
            push_in(query, "value", values);
            query.push(")");
        }
    }
}

/// Whether what a node says counts: it is registered here, and not quarantined.
pub(crate) async fn is_heard(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<bool, StoreError> {
    let found = sqlx::query(
        "SELECT 1 AS found FROM nodes \
         WHERE node_id = $1 AND deregistered_ms IS NULL AND quarantined_ms IS NULL",
    )
    .bind(node.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Nodes that show as online, with the number of the connection that said hello last.
pub(crate) async fn online(
    connection: &mut SqliteConnection,
) -> Result<Vec<(NodeId, i64)>, StoreError> {
    let rows = sqlx::query("SELECT node_id, connection FROM nodes WHERE connection <> 0")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((parsed(row, "node_id")?, row.try_get("connection")?)))
        .collect()
}

impl Store {
    /// The node of that id, deregistered or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>, StoreError> {
        let row = sqlx::query("SELECT * FROM nodes WHERE node_id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.reads)
            .await?;
        row.as_ref().map(node).transpose()
    }

    /// The registered node that holds this key now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn node_by_key(&self, key: &PublicKey) -> Result<Option<Node>, StoreError> {
        let row =
            sqlx::query("SELECT * FROM nodes WHERE public_key = $1 AND deregistered_ms IS NULL")
                .bind(key.as_slice())
                .fetch_optional(&self.reads)
                .await?;
        row.as_ref().map(node).transpose()
    }

    /// Whether a node may connect with the certificate of that serial.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standing(&self, id: NodeId, serial: &str) -> Result<Standing, StoreError> {
        let revoked = sqlx::query("SELECT 1 AS found FROM revoked_certificates WHERE serial = $1")
            .bind(serial)
            .fetch_optional(&self.reads)
            .await?;
        if revoked.is_some() {
            return Ok(Standing::Revoked);
        }
        Ok(match self.node(id).await? {
            None => Standing::Unknown,
            Some(node) if node.deregistered.is_some() => Standing::Deregistered,
            Some(Node {
                quarantine: Some(reason),
                ..
            }) => Standing::Quarantined(reason),
            Some(_) => Standing::Good,
        })
    }

    /// Registered nodes by id; every filter must hold.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn nodes(
        &self,
        filters: &[NodeFilter],
        page: &Page,
    ) -> Result<Paged<Node>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT * FROM nodes WHERE deregistered_ms IS NULL AND node_id > ");
        query.push_bind(page.after.clone().unwrap_or_default());
        for filter in filters {
            push_filter(&mut query, filter);
        }
        query.push(" ORDER BY node_id");
        super::page::read(&self.reads, query, page, node, |node: &Node| {
            node.id.to_string()
        })
        .await
    }

    /// Sets a node's role; `false` when there is no such node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_node_role(
        &self,
        caller: Caller,
        id: NodeId,
        iam_role: String,
    ) -> Result<bool, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let found = sqlx::query(
                        "UPDATE nodes SET iam_role = $1 \
                         WHERE node_id = $2 AND deregistered_ms IS NULL",
                    )
                    .bind(&iam_role)
                    .bind(id.as_str())
                    .execute(&mut *connection)
                    .await?;
                    if found.rows_affected() == 0 {
                        return Ok(false);
                    }
                    record(
                        connection,
                        &caller,
                        "UpdateManagedInstanceRole",
                        id.as_str(),
                        &iam_role,
                    )
                    .await?;
                    Ok(true)
                })
            })
            .await
    }

    /// Tags of the nodes named, in one query: `(node id, tag)`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn node_tags(&self, nodes: &[NodeId]) -> Result<Vec<(NodeId, Tag)>, StoreError> {
        let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::new(
            "SELECT resource_id, key, value FROM tags WHERE resource_type = 'ManagedInstance'",
        );
        push_in(&mut query, "resource_id", &ids);
        query.push(" ORDER BY resource_id, key");
        let rows = query
            .build()
            .persistent(false)
            .fetch_all(&self.reads)
            .await?;
        rows.iter()
            .map(|row| {
                Ok((
                    parsed(row, "resource_id")?,
                    Tag {
                        key: row.try_get("key")?,
                        value: row.try_get("value")?,
                    },
                ))
            })
            .collect()
    }
}
