//! Power cuts at moments that the seed picks, under load: whatever the cache loses, nothing that was
//! told is lost, nothing runs twice, and the agent always starts.
//! Never believes the agent about itself: witness and API say what was told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::text;
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{PATIENCE, Random, cases, say, until};
use holdfast_guest::{Load, Parts};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// Longest time from the load to the cut: several commands of the emulated machine.
const MOMENT_MS_MAX: usize = 2500;
/// Writes of the disk among which the cut is: what such a load makes at least.
const WRITES_MAX: usize = 12;
/// Time for so many.
const WRITES_WITHIN: Duration = Duration::from_secs(20);

/// Brings the machine near one of the states, so that each is met.
fn approach(load: &mut Load, state: usize) {
    match state {
        // More than run at once: some wait.
        0 => (0..7).for_each(|_| drop(load.send(0.2).unwrap())),
        1 => (0..2).for_each(|_| drop(load.send(0.5).unwrap())),
        // They end while nobody can be told.
        2 => {
            let words: Vec<String> = (0..3).map(|_| load.send(0.1).unwrap()).collect();
            until("all have begun", PATIENCE, || {
                let begun = words.iter().filter(|word| load.witness.times(word) == 1);
                Ok((begun.count() == words.len()).then_some(()))
            })
            .unwrap();
            load.world.link.cut();
        }
        // Results that are acknowledged while others begin.
        _ => (0..4).for_each(|_| drop(load.send(0.0).unwrap())),
    }
}

/// Waits for the moment of the cut: at a write, when its answer is still owed and the cache holds
/// something, or at any time.
fn moment(load: &Load, random: &mut Random) {
    let disk = load.guest.disk();
    if random.below(4) > 0 {
        disk.power_off_at_write(1 + random.below(WRITES_MAX));
        // A load that makes fewer writes is cut when it is over.
        let _ = until("the power has gone", WRITES_WITHIN, || {
            Ok((!disk.has_power()).then_some(()))
        });
        return;
    }
    let end = Instant::now() + Duration::from_millis(random.below(MOMENT_MS_MAX) as u64);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        park_timeout(left);
    }
}

#[test]
fn power_cuts_lose_nothing_that_was_told_and_the_agent_always_starts() {
    let test = "power_cuts_lose_nothing_that_was_told_and_the_agent_always_starts";
    let Some(parts) = Parts::find(test) else {
        return;
    };
    let cuts = cases(3, 100);
    let mut random = Random::of(test);
    let mut load = Load::start(&parts, false).unwrap();
    load.online().unwrap();
    let mut faults = Vec::new();
    let mut unflushed = 0;
    for number in 0..cuts {
        approach(&mut load, number % 4);
        moment(&load, &mut random);
        load.look().unwrap();
        let cut = load.guest.cut(&mut random).unwrap();
        say(format!("cut {number}: {cut}"));
        load.world.link.restore();
        unflushed += usize::from(cut.unflushed > 0);
        let booted = load.guest.boot().unwrap().as_secs_f64();
        let found = load.faults_of_disk().unwrap();
        say(format!("up after {booted:.1} s; faults: {found:?}"));
        faults.extend(found);
        load.online().unwrap();
    }
    let settled = load.settle().unwrap();
    say(format!("commands by their end: {:?}", settled.by_end));
    let lost: Vec<_> = settled
        .gaps
        .as_array()
        .unwrap()
        .iter()
        // A newer state took its place; or the cut tore it while it was written, told to nobody, and its
        // number is not given out again.
        .filter(|gap| !["superseded", "damaged"].contains(&text(gap, "reason")))
        .collect();
    say(format!("gaps: {}", settled.gaps));
    load.guest.shut_down().unwrap();
    let none = Bound::Exactly(0.0);
    let met = format!("power cuts, {unflushed} of them with writes not flushed");
    figures::record(&met, cuts as f64, "", Bound::None);
    // Cuts that find nothing to lose show nothing.
    assert!(cuts < 20 || unflushed * 3 >= cuts, "{unflushed} of {cuts}");
    let count = (faults.len() + lost.len()) as f64;
    figures::record("told and lost in power cuts", count, "", none);
    let twice = settled.twice.len() as f64;
    figures::record("started twice after power cuts", twice, "", none);
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(lost.is_empty(), "{lost:?}");
    assert!(settled.twice.is_empty(), "{:?}", settled.twice);
}
