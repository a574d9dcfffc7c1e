//! A modest number of fresh worlds on each run; `HOLDFAST_SEED` repeats one.

use holdfast_sim::Case;
use std::time::{SystemTime, UNIX_EPOCH};

const WORLDS: u64 = 40;

#[test]
fn every_invariant_holds_in_fresh_worlds() {
    let repeated = std::env::var("HOLDFAST_SEED").ok();
    let seeds = match repeated.map(|seed| seed.parse::<u64>().unwrap()) {
        Some(seed) => seed..=seed,
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let from = now.as_secs() << 16;
            from..=from + WORLDS - 1
        }
    };
    println!("seeds {seeds:?}; HOLDFAST_SEED=… repeats one");
    for seed in seeds {
        if let Err(why) = holdfast_sim::run(seed) {
            panic!("HOLDFAST_SEED={seed}: {why}");
        }
    }
}

#[test]
fn a_seed_is_a_world() {
    let traced = |seed| holdfast_sim::trace(&Case::from(seed));
    // The second has the real hub on real SQLite.
    for seed in [7, 100] {
        let (first, second) = (traced(seed), traced(seed));
        assert_eq!(first, second);
        assert!(!first.0.is_empty());
        assert_ne!(first.0, traced(seed + 1).0);
    }
}

/// Worlds that once broke an invariant, each with what it found. A world changes when the
/// simulation learns a new fault: the seeds stay, as worlds like any other.
const BROKEN_ONCE: &[(u64, &str)] = &[
    (
        117_658_238_058_681,
        "a kill between two syncs left a cancelled command as pending",
    ),
    (
        117_658_375_356_807,
        "a bridge restored from a backup had lost the begin of an output",
    ),
    (
        918_273_646_198,
        "a cancel behind a newer counter was dropped in silence, its command given up to the clock",
    ),
    (
        117_658_918_453_561,
        "a command began after its time, which had passed while the disk failed",
    ),
    (
        117_658_929_267_086,
        "a step stopped before it went on after its reboot told that it had written nothing",
    ),
    (
        117_659_833_991_856,
        "a hostile broker kept an answer back, and the model believed the transport's acknowledgement",
    ),
    (
        117_659_833_992_240,
        "the same, of a command under a stale counter",
    ),
    (
        117_659_834_000_227,
        "a node forgot an ended command by a clock that was ahead, and refused it when it came again",
    ),
    (200_000_001_906, "the same, of one that had succeeded"),
    (
        117_659_885_241_905,
        "a restored bridge sent an ended command again, which began once more after the clock was set back",
    ),
    (
        117_659_885_241_488,
        "a command that a new signing key overtook was acknowledged and thrown away",
    ),
    (300_000_003_277, "the same, of another"),
    (
        1_754,
        "a reply to a hello that was on its way while the machine slept was believed for its time",
    ),
    (
        250,
        "a command cancelled while it awaited its reboot was taken for one that never began",
    ),
    (
        2_700,
        "nodes of the real hub could not come back once its clock was before their certificates",
    ),
    (
        117_660_145_355_018,
        "a command that a full disk sent back, again and again, was taken for one that waits",
    ),
    (
        117_660_145_356_704,
        "a power cut took output that no sync had made durable, and left the result behind it",
    ),
    (
        71_206_707_708_519,
        "an agent started again told nothing of a result that a restored bridge had lost, since it did not know that it was acknowledged",
    ),
    (
        197_410_831_752_350,
        "a disk that nobody could read when the agent started, so that it could not look for results, was taken for one that works",
    ),
    (
        223_577_636_499_597,
        "an agent started on a disk that takes no writes answered for a command that a power cut then took",
    ),
    (
        95_831_176_508_494,
        "a copy of a node had nothing of a command that the node began, and the model held both to one slot",
    ),
    (
        246_323_048_224_887,
        "a disk that failed between two looks of the model was taken for one that works",
    ),
];

#[test]
fn worlds_that_broke_an_invariant_hold_now() {
    for (seed, what) in BROKEN_ONCE {
        if let Err(why) = holdfast_sim::run(*seed) {
            panic!("HOLDFAST_SEED={seed}, which once found that {what}: {why}");
        }
    }
}
