//! A seeded world: agents and the bridge's real cores under simulated link, clock, disk and crashes.
//! Never sleeps, never reads a clock: a seed is a world, and replays exactly.

mod bridge;
mod disk;
mod machine;
mod random;
mod witness;
mod world;

use std::collections::BTreeSet;
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

/// One world: a seed, and which of its planned events do not happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// Planned events left out, by number; none in a world as its seed makes it.
    pub without: BTreeSet<u32>,
}

impl From<u64> for Case {
    fn from(seed: u64) -> Self {
        Self {
            seed,
            without: BTreeSet::new(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seed {}", self.seed)?;
        for (place, number) in self.without.iter().enumerate() {
            let before = if place == 0 { " --without " } else { "," };
            write!(f, "{before}{number}")?;
        }
        Ok(())
    }
}

/// Runs the world of a seed.
///
/// # Errors
/// [`Violation`], the first.
pub fn run(seed: u64) -> Result<Summary, Violation> {
    run_case(&Case::from(seed))
}

/// A panic is a violation like any other: it must not hide its seed.
fn run_case(case: &Case) -> Result<Summary, Violation> {
    let world = || world::World::new(case, false)?.run().1;
    std::panic::catch_unwind(world).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let what = format!("a panic: {}", text.unwrap_or("without a text"));
        Err(Violation::new(0, what))
    })
}

/// Runs a world and tells what happened in it, a line an event.
pub fn trace(case: &Case) -> (Vec<String>, Result<Summary, Violation>) {
    match world::World::new(case, true) {
        Ok(world) => world.run(),
        Err(why) => (Vec::new(), Err(why)),
    }
}

/// Leaves out of a world that breaks an invariant whatever it breaks without: each planned event
/// in turn, the latest first, until none can go. What remains may break another invariant.
#[must_use]
pub fn shrink(seed: u64) -> Case {
    let mut case = Case::from(seed);
    let planned = world::World::new(&case, false).map_or(0, |world| world.planned());
    loop {
        let before = case.without.len();
        for number in (0..planned).rev() {
            if case.without.insert(number) && run_case(&case).is_ok() {
                case.without.remove(&number);
            }
        }
        if case.without.len() == before {
            return case;
        }
    }
}
