//! Follows what other processes on this state directory changed, such as the command line beside `serve`.
//! Never changes the store itself: it ends connections and has commands looked at again.

use super::Hub;
use crate::mqtt::CloseReason;
use crate::store::StoreError;

impl Hub {
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
