//! Uses the places on the wire of a session that begins, and each that comes free: records what became
//! of the command that held it, and sends or has looked at what was held back for want of one.
//! Never leaves that to nobody: where it fails, the session ends, and the next hello asks for all.

use super::Hub;
use super::session::{Greeted, Session};
use crate::mqtt::{CloseReason, DeliveryId};
use crate::store::writing;
use crate::store::{Command, StoreError, UnixMs, commands, invocations};
use holdfast_bridge_core::invocation::{Event, Invocation};
use holdfast_bridge_core::places::{Send, Wanted};
use holdfast_protocol::{CommandId, NodeId};
use sqlx::SqliteConnection;
use std::sync::Arc;

/// Sessions whose writes share a commit, where many are looked at together.
const TOGETHER: usize = 64;

/// What became of the command that held the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The node acknowledged its transport.
    Delivered(CommandId),
    /// It came under a counter that was used up.
    NotTaken(CommandId),
}

/// What follows from [`Held`], recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Next {
    /// Its cancel is to be sent anew.
    cancel: Option<CommandId>,
    /// It is to be sent again.
    again: bool,
}

async fn record(
    connection: &mut SqliteConnection,
    node: NodeId,
    held: Held,
    now: UnixMs,
) -> Result<Next, StoreError> {
    match held {
        Held::Delivered(command) => {
            let key = (command, node);
            if invocations::advance(connection, key, Event::Delivered, now).await? == Some(true) {
                commands::refresh(connection, command).await?;
            }
            Ok(Next::default())
        }
        Held::NotTaken(command) => not_taken(connection, (command, node), now).await,
    }
}

/// Only what this node is still to do: it is never sent another's command because it names it.
async fn not_taken(
    connection: &mut SqliteConnection,
    key: (CommandId, NodeId),
    now: UnixMs,
) -> Result<Next, StoreError> {
    match invocations::load(connection, key).await? {
        Some(state) if state.awaits_cancel() => Ok(Next {
            cancel: Some(key.0),
            again: false,
        }),
        Some(state) if state.awaits_node() => {
            invocations::advance(connection, key, Event::Stale, now).await?;
            invocations::unsend(connection, key).await?;
            Ok(Next {
                cancel: None,
                again: true,
            })
        }
        Some(_) | None => Ok(Next::default()),
    }
}

/// Records what of earlier connections is sent again on this one, as far as its link has room; the
/// rest follows as places come free, or as its time comes.
async fn resend(
    connection: &mut SqliteConnection,
    session: &Session,
    now: UnixMs,
) -> Result<Vec<(Command, DeliveryId)>, StoreError> {
    let Some(greeted) = session.greeted() else {
        return Ok(Vec::new());
    };
    let (node, known) = (session.node, greeted.same_life);
    let (ids, later) = invocations::to_resend(connection, node, greeted.epoch, known, now).await?;
    if later.is_some() {
        tracing::info!(node_id = %node, ?later, "what is to be sent again waits for the clock");
    }
    session.send_again_at(later);
    let mut sends = Vec::new();
    for id in ids {
        let Some((epoch, delivery)) = session.reserve(id, Send::Again) else {
            break;
        };
        let key = (id, node);
        if invocations::advance(connection, key, Event::Resent, now).await? == Some(true) {
            commands::refresh(connection, id).await?;
        }
        invocations::save_sent(connection, key, epoch, now).await?;
        match commands::load(connection, id).await {
            Ok(command) => sends.extend(command.map(|command| (command, delivery))),
            // The others go on without it.
            Err(error @ StoreError::Corrupt { .. }) => {
                session.unreserve(delivery);
                tracing::error!(command_id = %id, %error, "a command cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sends)
}

impl Hub {
    /// Begins to send to a node that was greeted: what is cancelled, what is sent again, what waits. Asked
    /// only now: what was stored since its hello found no session that takes anything, and nobody else
    /// would look at it.
    pub(super) async fn begin_sending(&self, session: &Arc<Session>, greeted: Greeted) {
        if let Err(error) = self.try_begin_sending(session, greeted).await {
            tracing::error!(node_id = %session.node, %error, "what a node is to be sent cannot be told");
            session.close(CloseReason::Store);
        }
    }

    async fn try_begin_sending(
        &self,
        session: &Arc<Session>,
        greeted: Greeted,
    ) -> Result<(), StoreError> {
        let open = self.open_of(session.node).await?;
        for (command, _) in open.iter().filter(|(_, state)| state.cancelling) {
            self.send_cancel(session, *command);
        }
        let again = |state: &Invocation| state.is_sent_again(greeted.same_life);
        if !greeted.regressed && open.iter().any(|(_, state)| again(state)) {
            self.write_refill(session, None, Wanted::AGAIN).await?;
        }
        self.mark_waiting(&open);
        Ok(())
    }

    async fn open_of(&self, node: NodeId) -> Result<Vec<(CommandId, Invocation)>, StoreError> {
        let mut reads = self.shared.store.reads.acquire().await?;
        invocations::open_of_node(&mut reads, node).await
    }

    fn mark_waiting(&self, open: &[(CommandId, Invocation)]) {
        let waiting = open.iter().filter(|(_, state)| state.is_waiting());
        self.shared.dispatch.mark(waiting.map(|(id, _)| *id));
    }

    /// Records what became of the command that held a place, if one did, and uses the place for what is
    /// wanted. `false`: it was not recorded.
    pub(super) async fn refill(
        &self,
        session: &Arc<Session>,
        held: Option<Held>,
        wanted: Wanted,
    ) -> bool {
        let done = self.try_refill(session, held, wanted).await;
        if let Err(error) = &done {
            tracing::error!(node_id = %session.node, ?held, %error, "a place on the wire was not used");
            // A delivery alone may go unrecorded: at worst it is sent again.
            if wanted != Wanted::NOTHING || !matches!(held, Some(Held::Delivered(_))) {
                session.close(CloseReason::Store);
            }
        }
        done.is_ok()
    }

    async fn try_refill(
        &self,
        session: &Arc<Session>,
        held: Option<Held>,
        wanted: Wanted,
    ) -> Result<(), StoreError> {
        if held.is_some() || wanted.again {
            self.write_refill(session, held, wanted).await?;
        }
        if wanted.first {
            self.mark_waiting(&self.open_of(session.node).await?);
        }
        Ok(())
    }

    async fn write_refill(
        &self,
        session: &Arc<Session>,
        held: Option<Held>,
        wanted: Wanted,
    ) -> Result<(), StoreError> {
        let (now, link) = (self.shared.clock.now(), Arc::clone(session));
        let work = writing::<_, _, StoreError>(move |connection| {
            Box::pin(async move {
                let next = match held {
                    Some(held) => record(connection, link.node, held, now).await?,
                    None => Next::default(),
                };
                let sends = if wanted.again || next.again {
                    resend(connection, &link, now).await?
                } else {
                    Vec::new()
                };
                Ok((next.cancel, sends))
            })
        });
        let (cancel, sends) = self.shared.store.writer.write(work).await?;
        if let Some(command) = cancel {
            self.send_cancel(session, command);
        }
        for (command, delivery) in &sends {
            self.transmit(command, &[(Arc::clone(session), *delivery)]);
        }
        Ok(())
    }

    /// Uses what nothing but time brings back: places that a failed write gave back, and commands whose
    /// time was still to come by a clock that was set back.
    pub(super) async fn refill_due(&self, now: UnixMs) {
        let sessions = self.shared.sessions.all();
        let due: Vec<_> = sessions
            .into_iter()
            .map(|session| (session.due(now), session))
            .filter(|(wanted, _)| *wanted != Wanted::NOTHING)
            .collect();
        for some in due.chunks(TOGETHER) {
            let refills = some
                .iter()
                .map(|(wanted, session)| self.refill(session, None, *wanted));
            futures_util::future::join_all(refills).await;
        }
    }
}
