//! When the node gathers of its own accord: inventory and patch scan, online or not.
//! Never gathers the same thing twice at once, and never reads a calendar.

use crate::context::Context;
use crate::effect::{Effect, Gathering};
use crate::input::Monotonic;

/// A gathering that says nothing for so long is taken for lost.
const LOST_MS: u64 = 3_600_000;

#[derive(Debug)]
struct Task {
    what: Gathering,
    next: Monotonic,
    /// Since when it runs.
    running: Option<Monotonic>,
}

/// The schedules.
#[derive(Debug)]
pub(crate) struct Schedule {
    tasks: [Task; 2],
    stopped: bool,
}

impl Schedule {
    /// The first of each comes soon after the start: what changed while the agent was down counts.
    pub(crate) fn new(ctx: &mut Context, now: Monotonic) -> Self {
        let mut task = |what, within_ms| Task {
            what,
            next: now.after(ctx.random.jitter(within_ms)),
            running: None,
        };
        Self {
            tasks: [
                task(Gathering::Inventory, 2_000),
                task(Gathering::Patches, 10_000),
            ],
            stopped: false,
        }
    }

    pub(crate) fn settle(&mut self, ctx: &mut Context, now: Monotonic) {
        for task in &mut self.tasks {
            let lost = task.running.is_some_and(|at| now.since(at) >= LOST_MS);
            if self.stopped || task.next > now || (task.running.is_some() && !lost) {
                continue;
            }
            let every = match task.what {
                Gathering::Inventory => ctx.config.intervals.inventory_ms,
                Gathering::Patches => ctx.config.intervals.patch_scan_ms,
            };
            task.running = Some(now);
            // A tenth of jitter keeps a fleet that booted together apart.
            let every = every.max(1_000);
            task.next = now.after(every - ctx.random.next() % (every / 10 + 1));
            ctx.push(Effect::Gather(task.what));
        }
    }

    pub(crate) fn ended(&mut self, what: Gathering) {
        for task in self.tasks.iter_mut().filter(|task| task.what == what) {
            task.running = None;
        }
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        if self.stopped {
            return None;
        }
        let due = |task: &Task| match task.running {
            Some(since) => task.next.max(since.after(LOST_MS)),
            None => task.next,
        };
        self.tasks.iter().map(due).min()
    }

    pub(crate) fn next_in(&self, now: Monotonic, what: Gathering) -> u64 {
        let task = self.tasks.iter().find(|task| task.what == what);
        task.map_or(0, |task| task.next.since(now))
    }
}
