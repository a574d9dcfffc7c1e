//! What a node answers once and keeps nowhere: busy, stale, known, unknown.
//! Never ends an invocation that a result may still end, but for a cancel of what is not there.

use super::Hub;
use super::session::Session;
use crate::mqtt::Verdict;
use crate::store::writing;
use crate::store::{StoreError, UnixMs, commands, invocations};
use holdfast_bridge_core::invocation::Event;
use holdfast_protocol::up::{Answer, InvocationState};
use holdfast_protocol::{CommandId, NodeId};
use sqlx::SqliteConnection;
use std::sync::Arc;

/// How long a busy node is left alone, unless a result of it comes first: what it lacks may be room on
/// its disk, and work goes on within five seconds of its return.
const BUSY_RETRY_MS: i64 = 4_000;

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
    pub(super) async fn answer(&self, session: Arc<Session>, answer: Answer) -> Verdict {
        let node = session.node;
        let (command, event) = match answer {
            Answer::Busy { command, bound } => {
                tracing::info!(node_id = %node, command_id = %command, ?bound, "the node has no room");
                (command, Event::Busy)
            }
            Answer::Stale { command, counter } => {
                session.raise_counter(counter);
                if let Some(command) = command
                    && let Err(error) = self.send_stale(&session, command).await
                {
                    tracing::error!(node_id = %node, command_id = %command, %error, "an invocation cannot be read");
                }
                return Verdict::Accepted;
            }
            Answer::Known {
                command,
                state: InvocationState::Pending | InvocationState::InProgress,
            } => (command, Event::Progress),
            // Its result is on its way through the stream.
            Answer::Known { command, .. } => (command, Event::Delivered),
            Answer::Unknown { command } => (command, Event::UnknownToNode),
        };
        self.record_answer((command, node), event).await;
        Verdict::Accepted
    }

    /// Seals a command or its cancel anew whose frame came under a counter that was used up. Only
    /// what this node is still to do, in its time: a node is never sent another's command because it
    /// names it.
    async fn send_stale(
        &self,
        session: &Arc<Session>,
        command: CommandId,
    ) -> Result<(), StoreError> {
        // It did not take what its PUBACK is about to acknowledge.
        session.unreserve(command);
        let invocation = self.shared.store.invocation(command, session.node);
        match invocation.await? {
            Some(record) if record.state.awaits_cancel() => self.send_cancel(session, command),
            Some(record) if record.state.awaits_node() => {
                self.send_again(session, Some(command)).await;
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    async fn record_answer(&self, key: (CommandId, NodeId), event: Event) {
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
        match self.shared.store.writer.write(work).await {
            // A slot may be free now.
            Ok(()) => self.shared.dispatch.mark([key.0]),
            Err(error) => tracing::error!(node_id = %key.1, %error, "an answer was not recorded"),
        }
    }
}
