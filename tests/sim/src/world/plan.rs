//! What people and misfortune will do to a world, and what only a share of the worlds has.
//! Never does it: it puts it into the plan.

use super::fault::{Clock, Fault};
use super::{Event, TROUBLE_MS, World};
use crate::machine::Machine;
use crate::random::Random;

/// Every so many worlds have the nodes' floors of time years ahead for a while.
const FLOORS_AHEAD_ONE_IN: u64 = 16;
/// Every so many worlds have disks with small segments, and ledgers that are full now and then.
const NARROW_DISKS_ONE_IN: u64 = 8;
/// In every so many worlds packages change and are told of faster than they are acknowledged.
const MANY_REPORTS_ONE_IN: u64 = 8;
/// In every so many worlds agents are killed, or their disks fail, in the middle of their writes.
const KILLED_WRITING_ONE_IN: u64 = 4;

impl World {
    /// Starts the machines; what people and misfortune will do to them.
    pub(super) fn plan(&mut self) -> Vec<(u64, Event)> {
        let mut plan = Vec::new();
        if self.random.one_in(FLOORS_AHEAD_ONE_IN) {
            plan.extend(floors_ahead(&mut self.random, self.machines.len()));
            self.machines.iter_mut().for_each(Machine::remembers_few);
        }
        if self.random.one_in(NARROW_DISKS_ONE_IN) {
            for machine in &mut self.machines {
                machine.has_narrow_disk(&mut self.random);
            }
            plan.extend(narrow_disks(&mut self.random, self.machines.len()));
        }
        if self.random.one_in(MANY_REPORTS_ONE_IN) {
            plan.extend(many_reports(&mut self.random, self.machines.len()));
        }
        if self.random.one_in(KILLED_WRITING_ONE_IN) {
            plan.extend(killed_writing(&mut self.random, self.machines.len()));
        }
        for machine in 0..self.machines.len() {
            self.start(machine, true);
            for _ in 0..3 {
                let at = self.random.between(0, TROUBLE_MS);
                plan.push((at, Event::Change { machine }));
            }
        }
        let random = &mut self.random;
        for _ in 0..random.between(3, 14) {
            plan.push((random.between(0, TROUBLE_MS), Event::Submit));
        }
        if random.one_in(12) {
            // It begins on a machine whose battery is empty, or that was set wrong.
            let (clock, ms) = (Clock::any(random), random.between(0, TROUBLE_MS));
            let floors = random.one_in(2);
            plan.push((0, Event::Fault(Fault::ClockWrong { clock, ms, floors })));
        }
        for _ in 0..random.between(0, 16) {
            let at = random.between(0, TROUBLE_MS);
            plan.push((at, Event::Fault(Fault::any(random, self.machines.len()))));
        }
        plan
    }
}

/// A clock years ahead has pushed the nodes' floors there, and nobody thought of them: what is sent
/// counts as expired, on a wire that loses what is said of it, until somebody sets the floors back.
fn floors_ahead(random: &mut Random, machines: usize) -> Vec<(u64, Event)> {
    let clock = Fault::ClockWrong {
        clock: Clock::YearsAhead,
        ms: random.between(5_000, 20_000),
        floors: false,
    };
    let begin = random.between(25_000, TROUBLE_MS / 2);
    let mut plan = vec![(0, Event::Fault(clock))];
    for machine in 0..machines {
        let ms = random.between(60_000, 150_000);
        let wire = Fault::WireHostile { machine, ms };
        plan.push((begin + random.between(0, 5_000), Event::Fault(wire)));
        for _ in 0..3 {
            let ms = random.between(100, 5_000);
            let at = begin + random.between(10_000, 150_000);
            plan.push((at, Event::Fault(Fault::Cut { machine, ms })));
        }
    }
    for _ in 0..random.between(10, 16) {
        plan.push((begin + random.between(0, 60_000), Event::Submit));
    }
    let right = Fault::ClockRight { floors: true };
    plan.push((begin + random.between(20_000, 150_000), Event::Fault(right)));
    plan
}

/// Small disks hold what a long time without a link leaves, and lose power while they give it back.
fn narrow_disks(random: &mut Random, machines: usize) -> Vec<(u64, Event)> {
    let mut plan = Vec::new();
    for machine in 0..machines {
        for _ in 0..3 {
            let (at, ms) = (
                random.between(0, TROUBLE_MS),
                random.between(20_000, 100_000),
            );
            // More than run at once: the others' output waits for the link.
            for _ in 0..5 {
                let before = random.between(400, 2_000);
                plan.push((at.saturating_sub(before), Event::Submit));
            }
            plan.push((at, Event::Fault(Fault::Cut { machine, ms })));
            let cut = Fault::CutAtRemoval { machine };
            plan.push((at + random.between(0, ms), Event::Fault(cut)));
        }
    }
    plan
}

/// Packages change, and are gathered at once, some times in a row.
fn many_reports(random: &mut Random, machines: usize) -> Vec<(u64, Event)> {
    let mut plan = Vec::new();
    for machine in 0..machines {
        for _ in 0..random.between(4, 8) {
            let mut at = random.between(0, TROUBLE_MS);
            for _ in 0..random.between(2, 4) {
                plan.push((at, Event::Change { machine }));
                plan.push((at, Event::Report { machine }));
                at += random.between(50, 2_000);
            }
        }
    }
    plan
}

/// Agents are killed in the middle of what they write, most often while there is much to write, or
/// their disks take no more from there on.
fn killed_writing(random: &mut Random, machines: usize) -> Vec<(u64, Event)> {
    let mut plan = Vec::new();
    for machine in 0..machines {
        for _ in 0..random.between(2, 5) {
            let at = random.between(0, TROUBLE_MS);
            let writes = random.between(0, 12);
            plan.push((at, Event::Submit));
            let end = if random.one_in(3) {
                Fault::ReadOnlyInWrite { machine, writes }
            } else {
                Fault::KillInWrite { machine, writes }
            };
            plan.push((at, Event::Fault(end)));
        }
    }
    plan
}
