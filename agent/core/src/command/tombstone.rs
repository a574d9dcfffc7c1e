//! What is remembered of commands that have ended, how long, and what is told of them once more.
//! Never forgets one that somebody could still ask for.

use super::{Commands, recover};
use crate::context::{Context, Purpose};
use crate::effect::Write;
use crate::input::{Entry, Monotonic, StreamFigures};
use crate::store::command_key;
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::up::{Class, InvocationState, InvocationUpdate, Record, Stamp};

/// What is remembered of a command that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tombstone {
    pub(super) state: InvocationState,
    pub(super) expires_unix_ms: u64,
    /// Its result lies in stream *result* at this sequence or below.
    pub(super) result_up_to: u64,
    /// An earlier process ended it, and its result was not seen in the stream since: where that lies, if
    /// it is still there, is only known to be no higher than this.
    pub(super) restored: bool,
}

impl Tombstone {
    /// Whether the bridge has said that it has the result.
    fn is_acknowledged(&self, results: StreamFigures) -> bool {
        self.result_up_to <= results.released
    }

    /// Nobody can ask for it any more: a bridge that has its result does not send it again, and one
    /// that sends it after its time is refused. By time alone it could begin once more: a bridge
    /// whose clock was ahead and is set back sends within its time what had expired before.
    fn is_over(&self, certain_unix_ms: u64, results: StreamFigures) -> bool {
        self.expires_unix_ms <= certain_unix_ms && self.is_acknowledged(results)
    }
}

impl Commands {
    /// Forgets the tombstones that are over.
    pub(crate) fn sweep(&mut self, ctx: &mut Context, now: Monotonic) {
        let certain = ctx.record.clock.certain(now);
        let results = self.results;
        let over = |_: &CommandId, tombstone: &mut Tombstone| tombstone.is_over(certain, results);
        let writes: Vec<Write> = self
            .tombstones
            .extract_if(.., over)
            .map(|(id, _)| Write::Remove {
                key: command_key(&id),
            })
            .collect();
        if !writes.is_empty() {
            ctx.persist(Purpose::Note, writes);
        }
    }

    /// Tells once more how a command ended, if the bridge had acknowledged that: one that sends or
    /// cancels it all the same was restored from a backup of before, and nothing else would tell it.
    pub(super) fn tell_again(&mut self, ctx: &mut Context, now: Monotonic, id: CommandId) {
        let results = self.results;
        let Some(tombstone) = self.tombstones.get_mut(&id) else {
            return;
        };
        if !tombstone.is_acknowledged(results) {
            // The result is on its way, or was acknowledged to an earlier process: the
            // acknowledgement of all that lay there tells which, if anybody still waits then.
            if tombstone.restored {
                self.asked.insert(id);
            }
            return;
        }
        let stored = told_again(id, tombstone.state, ctx.record.clock.stamp(now));
        // An update without steps is always within the bounds of a record.
        let Ok(stored) = stored.to_stored() else {
            return;
        };
        // Nobody has it until it is written, and acknowledged again.
        tombstone.result_up_to = u64::MAX;
        let append = Write::Append {
            class: Class::Result,
            key: 0,
            stored,
            reserved: None,
        };
        ctx.persist(Purpose::TellAgain(id), vec![append]);
    }

    /// These lie in stream *result* and are being sent: what they tell is on its way.
    pub(crate) fn sending(&mut self, entries: &[Entry]) {
        let is_restored = |tombstone: &Tombstone| tombstone.restored;
        if !self.tombstones.values().any(is_restored) {
            return;
        }
        for entry in entries {
            if let Some((id, _)) = recover::ended(entry)
                && let Some(tombstone) = self.tombstones.get_mut(&id)
            {
                tombstone.restored = false;
                tombstone.result_up_to = entry.last();
                self.asked.remove(&id);
            }
        }
    }

    /// Tells again what was asked for before it was clear that the bridge had had it.
    pub(crate) fn tell_asked(&mut self, ctx: &mut Context, now: Monotonic) {
        let results = self.results;
        let is_clear = |id: &CommandId| {
            let tombstone = self.tombstones.get(id);
            tombstone.is_none_or(|tombstone| tombstone.is_acknowledged(results))
        };
        let clear: Vec<CommandId> = self.asked.iter().copied().filter(is_clear).collect();
        for id in clear {
            self.asked.remove(&id);
            self.tell_again(ctx, now, id);
        }
    }

    /// A result that was told again is durable, or the journal has no room: then the next question
    /// brings the next try.
    pub(crate) fn told_again(&mut self, id: CommandId, durable: bool) {
        let head = self.results.head;
        if let Some(tombstone) = self.tombstones.get_mut(&id) {
            tombstone.result_up_to = if durable { head } else { 0 };
        }
    }
}

fn told_again(command: CommandId, state: InvocationState, stamp: Stamp) -> Record {
    let detail = "the bridge had this result and asks again, as after a restore: \
                  its steps and output are no longer on the node";
    Record::Invocation(InvocationUpdate {
        command,
        state,
        stamp,
        steps: List::default(),
        detail: Text::cut(detail),
    })
}
