//! Sends what waits: asks the core for rate control, records each send, then sends.
//! Never sends what is not recorded, so a crash between the two ends in a second send of the same
//! id, not in a command that nobody knows of.

use super::Hub;
use super::session::{Session, lock};
use crate::mqtt::DeliveryId;
use crate::store::writing;
use crate::store::{Command, StoreError, UnixMs, commands, invocations};
use holdfast_bridge_core::invocation::{Event, may_send};
use holdfast_bridge_core::places::Send;
use holdfast_bridge_core::rate::{Admission, admit};
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::{List, Text, TooLong};
use holdfast_protocol::down::{self, Cancel, Down};
use ring::digest;
use sqlx::SqliteConnection;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Commands whose admission shares a write.
const GROUP: usize = 16;
/// Nodes looked at beyond the free slots, for some have no room on their link.
const SPARE: i64 = 64;

/// Commands to be looked at; a set, so it is bounded by the commands that are open.
#[derive(Debug, Default)]
pub(super) struct Queue {
    commands: Mutex<BTreeSet<CommandId>>,
    woken: Notify,
}

impl Queue {
    /// Has commands looked at soon.
    pub(super) fn mark(&self, commands: impl IntoIterator<Item = CommandId>) {
        lock(&self.commands).extend(commands);
        self.woken.notify_one();
    }

    fn take(&self) -> Vec<CommandId> {
        let mut commands = lock(&self.commands);
        let taken: Vec<_> = commands.iter().take(GROUP).copied().collect();
        for command in &taken {
            commands.remove(command);
        }
        taken
    }
}

/// A place on the wire to a node.
type Place = (Arc<Session>, DeliveryId);

/// A command's sends, recorded.
struct Sends {
    command: Command,
    nodes: Vec<Place>,
}

async fn admit_command(
    connection: &mut SqliteConnection,
    hub: &Hub,
    id: CommandId,
    now: UnixMs,
    taken: &Mutex<Vec<Place>>,
) -> Result<Option<Sends>, StoreError> {
    let Some(command) = commands::load(connection, id).await? else {
        return Ok(None);
    };
    if !may_send(now, command.requested, command.expires) {
        // Before its time the clock stands wrong: once it is right, only the tick looks at it again.
        // After its time, the tick ends it.
        if now < command.requested
            && invocations::withhold(connection, id, command.requested).await?
        {
            tracing::warn!(
                command_id = %id, now, requested = command.requested,
                "a command waits for the clock: by it, it is yet to be asked for"
            );
        }
        return Ok(None);
    }
    invocations::looked_at(connection, id, now).await?;
    let (_, tally) = commands::census(connection, id).await?;
    let free = match admit(command.limits, tally) {
        Admission::Hold => return Ok(None),
        Admission::Terminate => {
            invocations::terminate(connection, id, now).await?;
            commands::refresh(connection, id).await?;
            return Ok(None);
        }
        Admission::Send(free) => free,
    };
    let candidates = invocations::sendable(connection, id, now, i64::from(free) + SPARE).await?;
    let mut nodes = Vec::new();
    for node in candidates {
        if nodes.len() >= free as usize {
            break;
        }
        let Some(session) = hub.shared.sessions.of_node(node) else {
            // It takes a place among the candidates until the store knows that it is gone.
            hub.shared.strays.store(true, Ordering::Relaxed);
            continue;
        };
        let Some((epoch, delivery)) = session.reserve(id, Send::First) else {
            continue;
        };
        lock(taken).push((Arc::clone(&session), delivery));
        let key = (id, node);
        invocations::advance(connection, key, Event::Sent, now).await?;
        invocations::save_sent(connection, key, epoch, now).await?;
        nodes.push((session, delivery));
    }
    if nodes.is_empty() {
        return Ok(None);
    }
    commands::refresh(connection, id).await?;
    Ok(Some(Sends { command, nodes }))
}

/// The command as it travels.
fn wire(command: &Command) -> Result<down::Command, TooLong> {
    let mut sha256 = [0; 32];
    let digest = digest::digest(&digest::SHA256, command.content.as_bytes());
    for (to, from) in sha256.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    let parameters = command.parameters.iter().map(|(name, values)| {
        let values = values.iter().map(|value| Text::new(value.as_str()));
        Ok((
            Text::new(name.as_str())?,
            List::new(values.collect::<Result<_, _>>()?)?,
        ))
    });
    Ok(down::Command {
        id: command.id,
        document_name: Text::new(command.document_name.as_str())?,
        document_version: Text::new(command.document_version.as_str())?,
        content: Text::new(command.content.as_str())?,
        content_sha256: sha256,
        parameters: List::new(parameters.collect::<Result<_, TooLong>>()?)?,
        expires_unix_ms: u64::try_from(command.expires).unwrap_or_default(),
        operator: None,
    })
}

/// Whether a command fits the wire, asked before it is stored.
pub(super) fn fits(command: &Command) -> Result<(), TooLong> {
    wire(command).map(|_: down::Command| ())
}

impl Hub {
    pub(super) async fn dispatch_commands(self) {
        loop {
            self.shared.dispatch.woken.notified().await;
            loop {
                let commands = self.shared.dispatch.take();
                if commands.is_empty() || !self.dispatch(commands).await {
                    break;
                }
            }
        }
    }

    /// Admits and sends what may be sent of these commands. `false`: nothing was recorded, so nothing
    /// was sent, and they wait for the next tick.
    pub(super) async fn dispatch(&self, ids: Vec<CommandId>) -> bool {
        let again = match self.admit_group(ids.clone()).await {
            Ok(()) => return true,
            Err(StoreError::Corrupt { .. }) => {
                self.each_by_itself(&ids, |id| self.admit_group(vec![id]))
                    .await
            }
            Err(error) => {
                tracing::error!(%error, "commands were not dispatched; tried again with the next tick");
                ids
            }
        };
        // Not woken: the tick looks again, so a failing disk is not hammered.
        let done = again.is_empty();
        lock(&self.shared.dispatch.commands).extend(again);
        done
    }

    async fn admit_group(&self, ids: Vec<CommandId>) -> Result<(), StoreError> {
        let (hub, now) = (self.clone(), self.shared.clock.now());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let places = Arc::clone(&taken);
        let work = writing::<_, Vec<Sends>, StoreError>(move |connection| {
            Box::pin(async move {
                let mut sends = Vec::new();
                for id in ids {
                    sends.extend(admit_command(connection, &hub, id, now, &places).await?);
                }
                Ok(sends)
            })
        });
        match self.shared.store.writer.write(work).await {
            Ok(sends) => {
                for Sends { command, nodes } in &sends {
                    self.transmit(command, nodes);
                }
                Ok(())
            }
            Err(error) => {
                // These alone: an earlier send of the same command holds its place until its PUBACK.
                for (session, delivery) in std::mem::take(&mut *lock(&taken)) {
                    session.unreserve(delivery);
                }
                Err(error)
            }
        }
    }

    /// Sends a command whose send is recorded, or was on this session before.
    pub(super) fn transmit(&self, command: &Command, nodes: &[Place]) {
        match wire(command) {
            Ok(wire) => {
                let down = Down::Command(Box::new(wire));
                for (session, delivery) in nodes {
                    session.send(&down, Some(*delivery), &self.shared.sealers);
                }
            }
            Err(error) => {
                tracing::error!(command_id = %command.id, %error, "a stored command does not fit the wire");
            }
        }
    }

    pub(super) fn send_cancel(&self, session: &Session, command: CommandId) {
        session.send(
            &Down::Cancel(Cancel { command }),
            None,
            &self.shared.sealers,
        );
    }
}
