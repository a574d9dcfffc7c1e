//! A seeded world: agents and the bridge's real cores under simulated link, clock, disk and crashes.
//! Never sleeps, never reads a clock: a seed is a world, and replays exactly.

mod bridge;
mod disk;
mod machine;
mod random;
mod witness;
mod world;

use std::fmt;

/// What happened in a world that held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events handled.
    pub events: u64,
    /// Commands sent through the API.
    pub commands: u64,
    /// Steps begun on machines.
    pub steps: u64,
    /// Connections made.
    pub connections: u64,
    /// Things that went wrong.
    pub faults: u64,
    /// Agents killed.
    pub kills: u64,
    /// Machines that lost power or rebooted.
    pub power_cuts: u64,
    /// Bridges killed.
    pub bridge_deaths: u64,
    /// Bridges restored from a backup.
    pub restores: u64,
    /// Disks rolled back.
    pub roll_backs: u64,
    /// Records that the bridge counts as lost.
    pub gaps: u64,
}

impl Summary {
    /// Adds another world's figures.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.commands += other.commands;
        self.steps += other.steps;
        self.connections += other.connections;
        self.faults += other.faults;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.bridge_deaths += other.bridge_deaths;
        self.restores += other.restores;
        self.roll_backs += other.roll_backs;
        self.gaps += other.gaps;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events, {} commands, {} steps, {} connections, {} faults ({} kills, {} power cuts, \
             {} bridge deaths, {} restores, {} roll-backs), {} records counted as lost",
            self.events,
            self.commands,
            self.steps,
            self.connections,
            self.faults,
            self.kills,
            self.power_cuts,
            self.bridge_deaths,
            self.restores,
            self.roll_backs,
            self.gaps
        )
    }
}

/// An invariant does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("after {at_ms} ms: {what}")]
pub struct Violation {
    /// Milliseconds since the world began.
    pub at_ms: u64,
    /// What does not hold.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(at_ms: u64, what: impl fmt::Display) -> Self {
        Self {
            at_ms,
            what: what.to_string(),
        }
    }
}

/// Runs the world of a seed.
///
/// # Errors
/// [`Violation`], the first.
pub fn run(seed: u64) -> Result<Summary, Violation> {
    world::World::new(seed, false)?.run().1
}

/// Runs the world of a seed and tells what happened in it, a line an event.
pub fn trace(seed: u64) -> (Vec<String>, Result<Summary, Violation>) {
    match world::World::new(seed, true) {
        Ok(world) => world.run(),
        Err(why) => (Vec::new(), Err(why)),
    }
}
