//! What stands for each figure of the reliability promise, in the promise's order.
//! Never a bound: the tests hold them.

/// Which build a run takes the two programs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Build {
    /// `target/debug`.
    Debug,
    /// `target/release`.
    Release,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// One test: its package, the name of its file in `tests/` (empty: a unit test), its own full name.
    Test(&'static str, &'static str, &'static str),
    /// Another chore of this program, with its arguments; the second are those of a quick run.
    Chore(&'static [&'static str], &'static [&'static str]),
}

/// One run that records figures.
#[derive(Debug)]
pub(super) struct Proof {
    /// The promise's point.
    pub(super) point: u32,
    /// What it is chosen by, and called in the table.
    pub(super) name: &'static str,
    /// What is run.
    pub(super) run: Run,
    /// With which programs.
    pub(super) build: Build,
}

/// A test on the programs of the debug build, as CI runs it.
const fn test(
    point: u32,
    name: &'static str,
    package: &'static str,
    file: &'static str,
    test: &'static str,
) -> Proof {
    Proof {
        point,
        name,
        run: Run::Test(package, file, test),
        build: Build::Debug,
    }
}

const E2E: &str = "holdfast-e2e";

/// A test of the bridge under a whole fleet, on programs built for speed: one process is the fleet.
const fn fleet(name: &'static str, test: &'static str) -> Proof {
    Proof {
        point: 8,
        name,
        run: Run::Test("holdfast-bench", "fleet", test),
        build: Build::Release,
    }
}

/// All of them.
pub(super) const PROOFS: &[Proof] = &[
    test(
        1,
        "kills",
        E2E,
        "kill",
        "killed_agents_lose_nothing_and_start_nothing_twice",
    ),
    test(
        1,
        "kill-each-call",
        E2E,
        "inject",
        "killed_at_any_call_it_loses_nothing_and_starts_nothing_twice",
    ),
    test(
        2,
        "disk-errors",
        E2E,
        "inject",
        "errors_of_the_disk_are_never_told_as_success_and_work_goes_on_after_them",
    ),
    // Its tests take a machine that the chore makes.
    Proof {
        point: 3,
        name: "power-cuts",
        run: Run::Chore(&["guest"], &["guest"]),
        build: Build::Debug,
    },
    test(
        4,
        "damaged-journals",
        E2E,
        "damaged",
        "an_agent_starts_on_every_damaged_journal_and_says_what_is_missing",
    ),
    test(
        5,
        "queue",
        E2E,
        "queue",
        "results_queued_offline_arrive_once_and_in_order",
    ),
    test(
        5,
        "flaps",
        E2E,
        "lossy",
        "results_come_once_and_in_order_over_a_slow_link_that_loses_packets_and_flaps",
    ),
    test(
        5,
        "slow-link",
        E2E,
        "lossy",
        "a_slow_link_that_loses_packets_is_used_as_well_as_tcp_can",
    ),
    test(
        6,
        "offline",
        E2E,
        "offline",
        "three_days_offline_fit_into_a_journal_of_8_mib",
    ),
    test(
        6,
        "memory",
        E2E,
        "memory",
        "a_hundred_thousand_records_drain_within_16_mib",
    ),
    Proof {
        point: 7,
        name: "amplification",
        run: Run::Chore(&["bench", "journal"], &["bench", "journal", "--quick"]),
        build: Build::Debug,
    },
    test(
        7,
        "idle-day",
        E2E,
        "idle",
        "an_idle_day_costs_the_disk_little",
    ),
    test(
        8,
        "bridge-kills",
        E2E,
        "kill",
        "a_killed_bridge_loses_nothing_and_starts_nothing_twice",
    ),
    fleet(
        "fleet-kills",
        "a_bridge_killed_under_a_fleets_load_loses_no_acknowledged_result",
    ),
    fleet(
        "history",
        "a_killed_bridge_with_a_long_history_serves_again",
    ),
    fleet(
        "hello-storm",
        "the_bridge_answers_its_api_while_a_whole_fleet_says_hello",
    ),
    test(
        9,
        "hostile-frames",
        E2E,
        "forged",
        "hostile_frames_under_wrong_clocks_run_nothing_and_make_nothing_forgotten",
    ),
    test(
        9,
        "mutated-frames",
        E2E,
        "frames_down",
        "mutated_sealed_frames_leave_the_agent_working_and_no_larger",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_proof_each_and_points_are_in_order() {
        let mut names: Vec<_> = PROOFS.iter().map(|proof| proof.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROOFS.len());
        assert!(PROOFS.is_sorted_by_key(|proof| proof.point));
    }

    #[test]
    fn every_test_is_there() {
        let root = crate::tidy::workspace_root().unwrap();
        for proof in PROOFS {
            let Run::Test(package, file, test) = proof.run else {
                continue;
            };
            let room = match package {
                E2E => "tests/e2e",
                "holdfast-journal" => "agent/journal",
                "holdfast-agent-store" => "agent/store",
                "holdfast-sim" => "tests/sim",
                "holdfast-bridge" => "broker-bridge",
                "holdfast-bench" => "tests/bench",
                other => panic!("where is {other}?"),
            };
            let file = root.join(room).join("tests").join(format!("{file}.rs"));
            let source = std::fs::read_to_string(&file).unwrap();
            assert!(source.contains(&format!("fn {test}()")), "{test}");
        }
    }
}
