//! Follows what other processes on this state directory changed, such as the command line beside `serve`.
//! Never changes the store itself: it ends connections, has commands looked at again, and tells nodes.

use super::Hub;
use super::session::Session;
use crate::mqtt::CloseReason;
use crate::store::error::unsigned;
use crate::store::{StoreError, floors, writing};
use holdfast_protocol::down::{Down, Rotation};
use std::sync::Arc;

/// Floors of time that one write sets back.
const FLOORS: i64 = 256;

impl Hub {
    /// Tells every connected node of the signing key that seals from now on, so that none goes on
    /// believing an older one: an idle node is otherwise told with the next frame it is sent.
    pub fn rotated(&self) {
        let sealer = self.shared.sealers.current();
        let Some(serial) = sealer.certificate().map(|own| own.serial) else {
            return;
        };
        for session in self.shared.sessions.all() {
            let rotation = Down::Rotation(Rotation { serial });
            session.send(&rotation, None, &self.shared.sealers);
        }
    }

    /// Sets floors of time back that a person wants set back, of nodes that are connected; those
    /// that are away are told with their next hello.
    pub(super) async fn reset_floors(&self) {
        if let Err(error) = self.send_floors().await {
            tracing::error!(%error, "floors of time were not set back; tried again");
        }
    }

    async fn send_floors(&self) -> Result<(), StoreError> {
        let nodes = {
            let mut connection = self.shared.store.reads.acquire().await?;
            floors::unsent(&mut connection, FLOORS).await?
        };
        let sessions: Vec<Arc<Session>> = nodes
            .into_iter()
            .filter_map(|node| self.shared.sessions.of_node(node))
            .filter(|session| session.greeted().is_some())
            .collect();
        if sessions.is_empty() {
            return Ok(());
        }
        let now = self.shared.clock.now();
        let work = writing::<_, Vec<Arc<Session>>, StoreError>(move |connection| {
            Box::pin(async move {
                let mut wanted = Vec::new();
                for session in sessions {
                    if floors::save_sent(connection, session.node, now).await? {
                        wanted.push(session);
                    }
                }
                Ok(wanted)
            })
        });
        for session in self.shared.store.writer.write(work).await? {
            session.reset_floor(unsigned(now), &self.shared.root);
        }
        Ok(())
    }

    /// Takes up the deregistrations after the entry `seen` of the audit trail; the newest entry that was looked at.
    pub(super) async fn follow(&self, seen: i64) -> i64 {
        match self.take_up(seen).await {
            Ok(newest) => newest,
            Err(error) => {
                tracing::error!(%error, "what other processes changed cannot be read; tried again");
                seen
            }
        }
    }

    async fn take_up(&self, seen: i64) -> Result<i64, StoreError> {
        let (nodes, newest) = self.shared.store.deregistered_since(seen).await?;
        for node in nodes {
            let sessions = &self.shared.sessions;
            sessions.close_node(node, CloseReason::Deregistered);
            // Its invocations are closed; what waited for their slots may go on.
            let commands = self.shared.store.unfinished_of_node(node).await?;
            self.shared.dispatch.mark(commands);
        }
        Ok(newest)
    }
}
