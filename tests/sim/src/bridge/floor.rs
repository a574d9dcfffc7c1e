//! Floors of time that a person has set back, by the one message that the root seals.
//! Never asks twice for what a node has confirmed.

use super::Bridge;
use holdfast_protocol::NodeId;
use holdfast_protocol::down::{Down, FloorReset};
use holdfast_protocol::up::Event;

impl Bridge {
    /// The operator wants the floor of every node set back: connected ones are told at once.
    pub(crate) fn reset_floors(&mut self, now: u64) {
        let nodes: Vec<NodeId> = self.store.nodes.keys().copied().collect();
        if self.is_real() {
            let out = self.ask_real(now, |real| real.reset_floors(&nodes));
            return self.out.extend(out);
        }
        for node in nodes {
            if let Some(row) = self.store.nodes.get_mut(&node) {
                row.floor_reset = Some(None);
            }
            if self.sessions.get(&node).is_some_and(|session| session.open) {
                self.send_floor_reset(now, node);
            }
        }
    }

    /// Tells a node its floor, where somebody wants that; recorded before it leaves.
    pub(super) fn send_floor_reset(&mut self, now: u64, node: NodeId) {
        let unix_ms = self.unix_ms(now);
        let wanted = self.store.nodes.get_mut(&node);
        let Some(wanted) = wanted.and_then(|row| row.floor_reset.as_mut()) else {
            return;
        };
        *wanted = Some(unix_ms);
        if let Some(session) = self.sessions.get(&node) {
            let nonce = session.nonce;
            self.send(node, &Down::FloorReset(FloorReset { nonce, unix_ms }), None);
        }
    }

    /// A word on an earlier reset is none on a later one.
    pub(super) fn confirm_floor(&mut self, node: NodeId, event: &Event) {
        if event.name.as_str() != FloorReset::CONFIRMATION {
            return;
        }
        let confirmed = FloorReset::confirmed(&event.detail);
        if let Some(row) = self.store.nodes.get_mut(&node)
            && row
                .floor_reset
                .flatten()
                .is_some_and(|sent| Some(sent) == confirmed)
        {
            row.floor_reset = None;
        }
    }
}
