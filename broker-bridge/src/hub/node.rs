//! A node's standing: gone, deregistered, quarantined, released.
//! Never forgets what its commands came to: their history stays.

use super::Hub;
use crate::mqtt::CloseReason;
use crate::store::audit::record;
use crate::store::writing;
use crate::store::{Caller, Store, StoreError, UnixMs, commands, floors, invocations, reports};
use holdfast_bridge_core::invocation::Event;
use holdfast_protocol::{CommandId, NodeId};
use sqlx::{Row, SqliteConnection};

/// A node's standing was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeChangeError {
    /// No such node, or deregistered already.
    #[error("{0} is not a node of this bridge")]
    NoSuchNode(NodeId),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for NodeChangeError {
    fn from(source: sqlx::Error) -> Self {
        Self::Store(source.into())
    }
}

/// Applies an event to every open invocation of a node; the commands that changed.
pub(super) async fn advance_open(
    connection: &mut SqliteConnection,
    node: NodeId,
    event: Event,
    now: UnixMs,
) -> Result<Vec<CommandId>, StoreError> {
    let mut changed = Vec::new();
    for (command, mut state) in invocations::open_of_node(connection, node).await? {
        let key = (command, node);
        if invocations::apply(connection, key, &mut state, event, now).await? {
            commands::refresh(connection, command).await?;
            changed.push(command);
        }
    }
    Ok(changed)
}

/// Marks a node as away, unless a newer connection has said hello. An older one that was taken over
/// is over too, whether or not the newer one ever spoke.
pub(super) async fn leave(
    connection: &mut SqliteConnection,
    node: NodeId,
    number: i64,
    now: UnixMs,
) -> Result<(), StoreError> {
    let left = sqlx::query(
        "UPDATE nodes SET connection = 0, last_ping_ms = $1 WHERE node_id = $2 AND connection <> 0 AND connection <= $3",
    )
    .bind(now)
    .bind(node.as_str())
    .bind(number)
    .execute(&mut *connection)
    .await?;
    if left.rows_affected() > 0 {
        advance_open(connection, node, Event::LinkLost, now).await?;
    }
    Ok(())
}

async fn close_out(
    connection: &mut SqliteConnection,
    caller: &Caller,
    node: NodeId,
) -> Result<Vec<CommandId>, NodeChangeError> {
    let row = sqlx::query(
        "SELECT certificate_serial FROM nodes WHERE node_id = $1 AND deregistered_ms IS NULL",
    )
    .bind(node.as_str())
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(NodeChangeError::NoSuchNode(node))?;
    let serial: String = row.try_get("certificate_serial")?;
    sqlx::query("UPDATE nodes SET deregistered_ms = $1, connection = 0 WHERE node_id = $2")
        .bind(caller.now)
        .bind(node.as_str())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO revoked_certificates (serial, node_id, revoked_ms) VALUES ($1, $2, $3) \
         ON CONFLICT DO NOTHING",
    )
    .bind(&serial)
    .bind(node.as_str())
    .bind(caller.now)
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM tags WHERE resource_type = 'ManagedInstance' AND resource_id = $1")
        .bind(node.as_str())
        .execute(&mut *connection)
        .await?;
    let commands = advance_open(connection, node, Event::Deregistered, caller.now).await?;
    reports::forget(connection, node).await?;
    floors::forget(connection, node).await?;
    record(
        connection,
        caller,
        "DeregisterManagedInstance",
        node.as_str(),
        &serial,
    )
    .await?;
    Ok(commands)
}

/// Quarantines a node that is not yet quarantined.
pub(super) async fn quarantine(
    connection: &mut SqliteConnection,
    caller: &Caller,
    node: NodeId,
    reason: &str,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE nodes SET quarantined_ms = $1, quarantine_reason = $2 \
         WHERE node_id = $3 AND deregistered_ms IS NULL AND quarantined_ms IS NULL",
    )
    .bind(caller.now)
    .bind(reason)
    .bind(node.as_str())
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    record(connection, caller, "QuarantineNode", node.as_str(), reason).await?;
    Ok(true)
}

impl Hub {
    /// Deregisters a node: revokes its certificate, closes its open invocations, forgets what it
    /// reported, and disconnects it.
    ///
    /// # Errors
    /// [`NodeChangeError`].
    pub async fn deregister(&self, caller: Caller, node: NodeId) -> Result<(), NodeChangeError> {
        let commands = deregister(&self.shared.store, caller, node).await?;
        self.shared
            .sessions
            .close_node(node, CloseReason::Deregistered);
        self.shared.dispatch.mark(commands);
        Ok(())
    }

    /// Ends a node's quarantine; its next hello begins a new chain.
    ///
    /// # Errors
    /// [`NodeChangeError`].
    pub async fn release(&self, caller: Caller, node: NodeId) -> Result<(), NodeChangeError> {
        release(&self.shared.store, caller, node).await
    }
}

/// [`Hub::deregister`], for the command line: a bridge that runs disconnects the node within a second. The commands
/// whose invocations it closed.
///
/// # Errors
/// [`NodeChangeError`].
pub async fn deregister(
    store: &Store,
    caller: Caller,
    node: NodeId,
) -> Result<Vec<CommandId>, NodeChangeError> {
    let work = writing::<_, Vec<CommandId>, NodeChangeError>(move |connection| {
        Box::pin(async move { close_out(connection, &caller, node).await })
    });
    store.writer.write(work).await
}

/// [`Hub::release`], for the command line beside a running bridge.
///
/// # Errors
/// [`NodeChangeError`].
pub async fn release(store: &Store, caller: Caller, node: NodeId) -> Result<(), NodeChangeError> {
    store
        .writer
        .write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE nodes SET quarantined_ms = NULL, quarantine_reason = '', \
                     token_issued = NULL, token_shown = NULL \
                     WHERE node_id = $1 AND deregistered_ms IS NULL AND quarantined_ms IS NOT NULL",
                )
                .bind(node.as_str())
                .execute(&mut *connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(NodeChangeError::NoSuchNode(node));
                }
                record(connection, &caller, "ReleaseNode", node.as_str(), "").await?;
                Ok(())
            })
        })
        .await
}
