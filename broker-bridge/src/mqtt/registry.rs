//! Who is connected now: closes a node's first connection when a second comes, and all at the end.
//! Never more than one living connection of a node.

use super::mailbox::Mailbox;
use super::sessions::{CloseReason, ConnectionId};
use holdfast_protocol::NodeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    mailboxes: HashMap<ConnectionId, Arc<Mailbox>>,
    nodes: HashMap<NodeId, ConnectionId>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<State>);

impl Registry {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock, and the state is valid between statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection and closes an older one of the same node.
    pub(super) fn enter(
        &self,
        connection: ConnectionId,
        node: Option<NodeId>,
        mailbox: &Arc<Mailbox>,
    ) {
        let mut state = self.state();
        if state.closed {
            mailbox.close(CloseReason::Shutdown);
        }
        state.mailboxes.insert(connection, Arc::clone(mailbox));
        let before = node.and_then(|node| state.nodes.insert(node, connection));
        if let Some(before) = before.and_then(|before| state.mailboxes.get(&before)) {
            before.close(CloseReason::TakenOver);
        }
    }

    /// Closes the connection of a node, if it has one.
    pub(super) fn close_node(&self, node: &NodeId, reason: CloseReason) -> bool {
        let state = self.state();
        let mailbox = state
            .nodes
            .get(node)
            .and_then(|connection| state.mailboxes.get(connection));
        if let Some(mailbox) = mailbox {
            mailbox.close(reason);
        }
        mailbox.is_some()
    }

    /// Removes a connection that is over.
    pub(super) fn leave(&self, connection: ConnectionId, node: Option<NodeId>) {
        let mut state = self.state();
        state.mailboxes.remove(&connection);
        if let Some(node) = node
            && state.nodes.get(&node) == Some(&connection)
        {
            state.nodes.remove(&node);
        }
    }

    /// Closes every connection, and each that enters from now on.
    pub(super) fn close_all(&self, reason: CloseReason) {
        let mut state = self.state();
        state.closed = true;
        for mailbox in state.mailboxes.values() {
            mailbox.close(reason);
        }
    }
}
