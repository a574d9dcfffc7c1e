//! Ends of commands that a node knows when it is asked, and the bridge has not: after a restore, each
//! is told once more. Never expects what a full stream refused, or what a death kept from the disk.

use crate::machine::Machine;
use holdfast_protocol::{CommandId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// What a slow disk may take for what waits and for what comes after it.
const DURABLE_WITHIN_MS: u64 = 10_000;
/// Room that the short record of an end takes at most.
const RECORD_BYTES: u64 = 1_024;

/// What is owed.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// When a node last said that it knows the end of a command.
    said: BTreeMap<(NodeId, CommandId), u64>,
    /// Where the bridge, which has no end of it, took that word.
    owed: BTreeSet<(NodeId, CommandId)>,
}

impl Again {
    /// A node answers that a command has ended. Without room for a record it has nothing to promise.
    pub(super) fn says(&mut self, now: u64, machine: &Machine, command: CommandId) {
        let Some(core) = &machine.core else {
            return;
        };
        let [results, ..] = core.status(machine.monotonic(now)).queues;
        let taken = results.bytes + results.reserved_bytes;
        let key = (machine.node, command);
        if taken + RECORD_BYTES <= results.cap_bytes {
            self.said.insert(key, now);
        } else {
            self.said.remove(&key);
        }
    }

    /// The bridge takes a node's word, in answer to its own question.
    pub(super) fn heard(&mut self, node: NodeId, command: CommandId) {
        if self.said.contains_key(&(node, command)) {
            self.owed.insert((node, command));
        }
    }

    /// The agent dies: what it was about to write may not be on the disk.
    pub(super) fn dies(&mut self, now: u64, machine: &Machine) {
        let delayed = machine.disk.as_ref().is_some_and(|disk| disk.is_delayed());
        let written = |at: u64| !delayed && at + DURABLE_WITHIN_MS <= now;
        self.said
            .retain(|(node, _), at| *node != machine.node || written(*at));
        let said = &self.said;
        self.owed.retain(|key| said.contains_key(key));
    }

    /// The bridge forgets what it took: it asks anew.
    pub(super) fn forget(&mut self) {
        self.said.clear();
        self.owed.clear();
    }

    pub(super) fn owed(&self) -> impl Iterator<Item = &(NodeId, CommandId)> {
        self.owed.iter()
    }
}
