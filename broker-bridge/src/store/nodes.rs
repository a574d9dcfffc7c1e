//! Nodes: their registration, identity and what is known of them.
//! Never decides whether a hello continues its chain: that is the core's.

use super::activations::{activation, push_in};
use super::audit::record;
use super::error::unsigned;
use super::row::parsed;
use super::tags::put_tags;
use super::{Caller, Page, Paged, RESTORED_AT, ResourceType, Store, StoreError, Tag, UnixMs};
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::up::Platform;
use holdfast_protocol::{ActivationId, NodeId};
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

/// A node to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// Its id, fresh.
    pub node: NodeId,
    /// The activation it knows the code of.
    pub activation: ActivationId,
    /// Its public key.
    pub key: PublicKey,
    /// What it is.
    pub platform: Platform,
    /// Version of its agent.
    pub agent_version: String,
    /// The certificate issued to it.
    pub certificate: NodeCertificate,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolled {
    /// It is a node now.
    New(NodeId),
    /// The key was registered before as this node; the certificate given now is recorded for it,
    /// and must be issued in this node's name.
    Known(NodeId),
}

/// A registration was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterRefusal {
    /// No such activation.
    #[error("activation {0} does not exist: create one with `activation create`")]
    NoSuchActivation(ActivationId),
    /// It has expired.
    #[error("activation {activation} expired at {expires} ms since 1970: create another")]
    Expired {
        /// Which.
        activation: ActivationId,
        /// When.
        expires: UnixMs,
    },
    /// It has registered as many nodes as it may.
    #[error("activation {activation} has registered the {limit} nodes it may: create another")]
    Exhausted {
        /// Which.
        activation: ActivationId,
        /// Its limit.
        limit: u32,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RegisterRefusal {
    fn from(source: sqlx::Error) -> Self {
        Self::Store(source.into())
    }
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

async fn set_certificate(
    connection: &mut SqliteConnection,
    node: NodeId,
    certificate: &NodeCertificate,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE nodes SET certificate_serial = $1, certificate_expires_ms = $2 WHERE node_id = $3",
    )
    .bind(&certificate.serial)
    .bind(certificate.expires)
    .bind(node.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

async fn register(
    connection: &mut SqliteConnection,
    new: &NewNode,
    now: UnixMs,
) -> Result<Enrolled, RegisterRefusal> {
    let known =
        sqlx::query("SELECT node_id FROM nodes WHERE public_key = $1 AND deregistered_ms IS NULL")
            .bind(new.key.as_slice())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(row) = known {
        let id = parsed(&row, "node_id")?;
        set_certificate(connection, id, &new.certificate).await?;
        return Ok(Enrolled::Known(id));
    }
    let row = sqlx::query("SELECT * FROM activations WHERE activation_id = $1")
        .bind(new.activation.to_string())
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(RegisterRefusal::NoSuchActivation(new.activation))?;
    let by = activation(&row)?;
    if now >= by.expires {
        return Err(RegisterRefusal::Expired {
            activation: by.id,
            expires: by.expires,
        });
    }
    if by.registrations >= by.registration_limit {
        return Err(RegisterRefusal::Exhausted {
            activation: by.id,
            limit: by.registration_limit,
        });
    }
    sqlx::query(
        "UPDATE activations SET registrations = registrations + 1 WHERE activation_id = $1",
    )
    .bind(by.id.to_string())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO nodes (node_id, activation_id, name, iam_role, registered_ms, public_key, \
         certificate_serial, certificate_expires_ms, agent_version, platform_name, \
         platform_version, computer_name, ip_address, architecture, last_ping_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(new.node.as_str())
    .bind(by.id.to_string())
    .bind(&by.default_name)
    .bind(&by.iam_role)
    .bind(now)
    .bind(new.key.as_slice())
    .bind(&new.certificate.serial)
    .bind(new.certificate.expires)
    .bind(&new.agent_version)
    .bind(&*new.platform.name)
    .bind(&*new.platform.version)
    .bind(&*new.platform.computer_name)
    .bind(&*new.platform.ip_address)
    .bind(&*new.platform.architecture)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    put_tags(
        connection,
        ResourceType::ManagedInstance,
        new.node.as_str(),
        &by.tags,
    )
    .await?;
    Ok(Enrolled::New(new.node))
}

impl Store {
    /// Registers a node under its activation, or finds it by its key: a repeat after a lost reply
    /// uses nothing up and is answered even when the activation has ended meanwhile.
    ///
    /// # Errors
    /// [`RegisterRefusal`].
    pub async fn register_node(
        &self,
        new: NewNode,
        now: UnixMs,
    ) -> Result<Enrolled, RegisterRefusal> {
        self.writer
            .write(move |connection| Box::pin(async move { register(connection, &new, now).await }))
            .await
    }

    /// Records a renewed key and its certificate. `false` when `old_key` is neither the node's
    /// key nor the one before, or the node is deregistered. A repeat with the same key is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_node(
        &self,
        node: NodeId,
        old_key: PublicKey,
        key: PublicKey,
        certificate: NodeCertificate,
    ) -> Result<bool, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    // The reply to an earlier renewal may be lost: the old key is then still the
                    // only one that the node is sure of.
                    let renewed = sqlx::query(
                        "UPDATE nodes SET previous_key = $1, public_key = $2, \
                         certificate_serial = $3, certificate_expires_ms = $4 \
                         WHERE node_id = $5 AND deregistered_ms IS NULL \
                         AND (public_key = $1 OR previous_key = $1)",
                    )
                    .bind(old_key.as_slice())
                    .bind(key.as_slice())
                    .bind(&certificate.serial)
                    .bind(certificate.expires)
                    .bind(node.as_str())
                    .execute(connection)
                    .await?;
                    Ok(renewed.rows_affected() > 0)
                })
            })
            .await
    }

    /// Records the certificate that a node shows when this database came back from a backup made
    /// before the node renewed it: the root issued it, and it ends later than the one on record.
    /// `false` when it is no such certificate; nothing is then changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn adopt_certificate(
        &self,
        caller: Caller,
        node: NodeId,
        key: PublicKey,
        certificate: NodeCertificate,
    ) -> Result<bool, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let adopted = sqlx::query(
                        "UPDATE nodes SET previous_key = public_key, public_key = $1, \
                         certificate_serial = $2, certificate_expires_ms = $3 \
                         WHERE node_id = $4 AND deregistered_ms IS NULL \
                         AND certificate_expires_ms < $3 \
                         AND EXISTS (SELECT 1 FROM meta WHERE key = $5)",
                    )
                    .bind(key.as_slice())
                    .bind(&certificate.serial)
                    .bind(certificate.expires)
                    .bind(node.as_str())
                    .bind(RESTORED_AT)
                    .execute(&mut *connection)
                    .await?;
                    if adopted.rows_affected() == 0 {
                        return Ok(false);
                    }
                    let serial = &certificate.serial;
                    record(
                        connection,
                        &caller,
                        "AdoptCertificate",
                        node.as_str(),
                        serial,
                    )
                    .await?;
                    Ok(true)
                })
            })
            .await
    }

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
        query
            .push(" ORDER BY node_id LIMIT ")
            .push_bind(page.fetch());
        let rows = query
            .build()
            .persistent(false)
            .fetch_all(&self.reads)
            .await?;
        let items = rows.iter().map(node).collect::<Result<_, _>>()?;
        Ok(Paged::cut(items, page, |node| node.id.to_string()))
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
