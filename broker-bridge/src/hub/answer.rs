//! What a node answers once and keeps nowhere: busy, stale, known, unknown.
//! Never ends an invocation that a result may still end, but for a cancel of what is not there.

use super::Hub;
use super::refill::Held;
use super::session::Session;
use crate::mqtt::CloseReason;
use crate::store::writing;
use crate::store::{StoreError, UnixMs, commands, invocations};
use holdfast_bridge_core::invocation::Event;
use holdfast_bridge_core::places::Wanted;
use holdfast_protocol::up::{Answer, InvocationState};
use holdfast_protocol::{CommandId, NodeId};
use sqlx::SqliteConnection;
use std::sync::Arc;

/// How long a busy node is left alone, unless a result of it comes first: what it lacks may be room on
/// its disk, and work goes on within five seconds of its return.
pub(super) const BUSY_RETRY_MS: i64 = 4_000;

async fn busy(
    connection: &mut SqliteConnection,
    key: (CommandId, NodeId),
    now: UnixMs,
) -> Result<(), StoreError> {
    invocations::advance(connection, key, Event::Busy, now).await?;
    invocations::save_retry(connection, key, now + BUSY_RETRY_MS).await?;
    let command = commands::load(connection, key.0).await?;
    if command.is_some_and(|command| now >= command.expires) {
        invocations::advance(connection, key, Event::DeliveryExpired, now).await?;
    }
    commands::refresh(connection, key.0).await
}

impl Hub {
    /// Records an answer; `false` where that failed, and the session is then closed: the PUBACK behind
    /// it would tell that the node took what it may have had no room for. `wanted`: what the place is
    /// for that a stale answer gave back.
    pub(super) async fn answer(
        &self,
        session: &Arc<Session>,
        answer: Answer,
        wanted: Wanted,
    ) -> bool {
        let node = session.node;
        let (command, event) = match answer {
            Answer::Busy { command, bound } => {
                tracing::info!(node_id = %node, command_id = %command, ?bound, "the node has no room");
                (command, Event::Busy)
            }
            Answer::Stale { command: None, .. } => return true,
            Answer::Stale {
                command: Some(command),
                ..
            } => {
                let held = Some(Held::NotTaken(command));
                return self.refill(session, held, wanted).await;
            }
            Answer::Known {
                command,
                state: InvocationState::Pending | InvocationState::InProgress,
            } => (command, Event::Progress),
            // Its result is on its way through the stream.
            Answer::Known { command, .. } => (command, Event::Delivered),
            Answer::Unknown { command } => (command, Event::UnknownToNode),
        };
        let recorded = self.record_answer((command, node), event).await;
        if let Err(error) = &recorded {
            tracing::error!(node_id = %node, command_id = %command, %error, "an answer was not recorded");
            // The next hello has the command sent again, and answered again.
            session.close(CloseReason::Store);
        }
        recorded.is_ok()
    }

    async fn record_answer(
        &self,
        key: (CommandId, NodeId),
        event: Event,
    ) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(async move {
                if event == Event::Busy {
                    return busy(connection, key, now).await;
                }
                if invocations::advance(connection, key, event, now).await? == Some(true) {
                    commands::refresh(connection, key.0).await?;
                }
                Ok(())
            })
        });
        self.shared.store.writer.write(work).await?;
        // A slot may be free now.
        self.shared.dispatch.mark([key.0]);
        Ok(())
    }
}
