//! Every write and flush of the machine's disk in one scripted run, played again to each flush: at no
//! moment may a cut leave less than what had been told by then.
//! Never a simulated file system: the kernel recovers ext4, and a real agent starts on it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{PATIENCE, Random, cases, say, until};
use holdfast_guest::disk::{Event, Recording};
use holdfast_guest::replay::{Replay, Replica};
use holdfast_guest::{Load, Parts, Started, Told, ledger_faults};
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest time that an agent may take to go through a short journal.
const RECOVERY: Duration = Duration::from_secs(30);

/// Only root may mount an image.
fn may_mount() -> bool {
    rustix::process::geteuid().is_root()
}

/// A life of the machine, in the order that its disk saw: enrolled, driven, cut off, back, cut short.
/// Returns the position from which on it is a node.
fn live(load: &mut Load) -> usize {
    let position = load.guest.disk().position();
    let node_since = position();
    load.online().unwrap();
    for seconds in [0.0, 0.3, 0.1] {
        load.send(seconds).unwrap();
    }
    until_seen(load, 0);
    let words: Vec<String> = (0..3).map(|_| load.send(0.5).unwrap()).collect();
    until("they have begun", PATIENCE, || {
        let begun = words.iter().all(|word| load.witness.times(word) == 1);
        Ok(begun.then_some(()))
    })
    .unwrap();
    load.world.link.cut();
    load.world.until_online(&load.node, false).unwrap();
    load.world.link.restore();
    load.world.until_online(&load.node, true).unwrap();
    for _ in 0..2 {
        load.send(0.0).unwrap();
    }
    // It runs for longer than the machine does.
    let last = load.send(3600.0).unwrap();
    until("the last one has begun", PATIENCE, || {
        Ok((load.witness.times(&last) == 1).then_some(()))
    })
    .unwrap();
    until_seen(load, 1);
    node_since
}

fn until_seen(load: &mut Load, open: usize) {
    until("commands have ended", PATIENCE, || {
        load.look()?;
        Ok((load.open() == open).then_some(()))
    })
    .unwrap();
}

/// What is still wrong after so long with what a medium holds, for all that was told by then.
fn faults(
    load: &Load,
    image: &[u8],
    told: &[Told],
    patience: Duration,
) -> anyhow::Result<Vec<String>> {
    let log = load.world.path("replica.log");
    let replica = Replica::start(&load.world.binaries, image, &log)?;
    let mut faults = Vec::new();
    // It ends what was in progress soon after its start.
    let none = until("the journal knows all that was told", patience, || {
        let inspected = replica.verb(&["journal", "inspect", "--json"])?;
        faults = ledger_faults(&inspected, told, Started::Yes)?;
        Ok(faults.is_empty().then_some(()))
    });
    match none {
        Err(error) if faults.is_empty() => Err(error),
        Ok(()) | Err(_) => Ok(faults),
    }
}

/// The positions just after each flush from one on.
fn flushes(recording: &Recording, since: usize) -> Vec<usize> {
    let events = recording.events.iter().zip(1..);
    events
        .filter(|(event, position)| **event == Event::Flush && *position >= since)
        .map(|(_, position)| position)
        .collect()
}

/// Some of them, the last always.
fn chosen(flushes: &[usize], random: &mut Random) -> BTreeSet<usize> {
    let count = cases(16, flushes.len()).min(flushes.len());
    let mut chosen: BTreeSet<usize> = flushes.last().copied().into_iter().collect();
    while chosen.len() < count {
        chosen.extend(random.of_these(flushes));
    }
    chosen
}

#[test]
fn at_each_flush_the_disk_holds_what_was_told() {
    let test = "at_each_flush_the_disk_holds_what_was_told";
    let Some(parts) = Parts::find(test) else {
        return;
    };
    if !may_mount() {
        say(format!("{test}: not run, only root may mount an image"));
        return;
    }
    let mut random = Random::of(test);
    let mut load = Load::start(&parts, true).unwrap();
    let node_since = live(&mut load);
    load.guest.kill().unwrap();
    let recording = load.guest.disk().take_recording().unwrap();
    let told = load.told();

    let flushes = flushes(&recording, node_since);
    let chosen = chosen(&flushes, &mut random);
    let mut replay = Replay::new(&recording);
    let (mut found, mut looked) = (Vec::new(), 0);
    while replay.next_flush().is_some() {
        let position = replay.position();
        if Some(&position) == flushes.first() {
            // It cannot know what was told later: this check is one that can fail.
            let faults = faults(&load, replay.medium(), &told, Duration::ZERO).unwrap();
            assert_eq!(faults.len(), told.len(), "{faults:#?}");
        }
        if !chosen.contains(&position) {
            continue;
        }
        let holds_until = replay.holds_until();
        let known = told.iter().filter(|told| told.position <= holds_until);
        let known: Vec<Told> = known.cloned().collect();
        for image in [replay.medium().to_vec(), replay.cut(&mut random)] {
            looked += 1;
            let faults = faults(&load, &image, &known, RECOVERY)
                .unwrap_or_else(|error| vec![format!("does not start: {error:#}")]);
            found.extend(faults.iter().map(|fault| format!("at {position}: {fault}")));
        }
    }
    let (events, flushes, count) = (recording.events.len(), flushes.len(), found.len() as f64);
    let told = told.len();
    say(format!(
        "{events} events, {flushes} flushes of a node's disk, {told} things told"
    ));
    let none = Bound::Exactly(0.0);
    let states = "states of the recorded disk";
    figures::record(states, f64::from(looked), "", Bound::None);
    figures::record("told and not on the disk", count, "", none);
    assert!(found.is_empty(), "{found:#?}");
}
