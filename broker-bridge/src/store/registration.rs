//! How a node comes to be here, and its keys and certificates from then on.
//! Never judges a proof: whoever calls this has.

use super::activations::activation;
use super::audit::record;
use super::nodes::node;
use super::row::parsed;
use super::tags::put_tags;
use super::{Caller, Node, NodeCertificate, RESTORED_AT, ResourceType, Store, StoreError, UnixMs};
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::up::Platform;
use holdfast_protocol::{ActivationId, NodeId};
use sqlx::SqliteConnection;

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

/// A registered node as it stands.
async fn held(connection: &mut SqliteConnection, id: NodeId) -> Result<Option<Node>, StoreError> {
    let row = sqlx::query("SELECT * FROM nodes WHERE node_id = $1 AND deregistered_ms IS NULL")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(node).transpose()
}

/// Gives a node another key, under another certificate; the key before is good until it is used.
async fn replace_key(
    connection: &mut SqliteConnection,
    node: NodeId,
    previous: PublicKey,
    key: PublicKey,
    certificate: &NodeCertificate,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE nodes SET previous_key = $1, public_key = $2 WHERE node_id = $3")
        .bind(previous.as_slice())
        .bind(key.as_slice())
        .bind(node.as_str())
        .execute(&mut *connection)
        .await?;
    Ok(set_certificate(connection, node, certificate).await?)
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
                    let held = held(connection, node)
                        .await?
                        .filter(|held| held.key == old_key || held.previous_key == Some(old_key));
                    if held.is_some() {
                        replace_key(connection, node, old_key, key, &certificate).await?;
                    }
                    Ok(held.is_some())
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
                    let restored = sqlx::query("SELECT 1 AS found FROM meta WHERE key = $1")
                        .bind(RESTORED_AT)
                        .fetch_optional(&mut *connection)
                        .await?;
                    let held = held(connection, node).await?.filter(|held| {
                        restored.is_some() && held.certificate.expires < certificate.expires
                    });
                    let Some(held) = held else {
                        return Ok(false);
                    };
                    replace_key(connection, node, held.key, key, &certificate).await?;
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
}
