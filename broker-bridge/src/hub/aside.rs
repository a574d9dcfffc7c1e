//! Sets a command aside whose record cannot be read: it ends, and the others go on.
//! Never sets one aside because the disk or the queue failed: that is tried again.

use super::Hub;
use crate::store::writing;
use crate::store::{Caller, StoreError, commands};
use holdfast_protocol::CommandId;
use std::future::Future;

impl Hub {
    /// Does something for each command by itself, after it failed for a group for the sake of an
    /// unreadable record. Gives back the commands that are to be tried again.
    pub(super) async fn each_by_itself<F: Future<Output = Result<(), StoreError>>>(
        &self,
        ids: &[CommandId],
        work: impl Fn(CommandId) -> F,
    ) -> Vec<CommandId> {
        let mut again = Vec::new();
        for id in ids {
            let done = match work(*id).await {
                Err(StoreError::Corrupt { what }) => self.set_aside(*id, what).await,
                done => done,
            };
            if let Err(error) = done {
                tracing::error!(command_id = %id, %error, "a command was not looked at; tried again with the next tick");
                again.push(*id);
            }
        }
        again
    }

    async fn set_aside(&self, id: CommandId, what: &'static str) -> Result<(), StoreError> {
        tracing::error!(command_id = %id, what, "a command's record cannot be read: it is ended");
        let caller = Caller::local(self.shared.clock.now());
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(async move { commands::set_aside(connection, &caller, id, what).await })
        });
        self.shared.store.writer.write(work).await
    }
}
