//! Scans of built roots and of this machine, with apt's own library as judge of what is missing.
//! Never trusts the fixture alone: where apt can be asked, it is.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::package_manager::apt::fixture::{Repository, Root, any_parts, ask};
use crate::patch::report::PatchState;

const ORACLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/patch/debian/oracle.py");

fn scanned(root: &Path) -> PatchReport {
    scan(root, &Baseline::debian_default()).unwrap()
}

fn missing(report: &PatchReport) -> Vec<String> {
    let missing = report
        .patches
        .iter()
        .filter(|patch| patch.state == PatchState::Missing);
    let mut lines: Vec<_> = missing
        .map(|patch| format!("{} {} {}", patch.name, patch.architecture, patch.version))
        .collect();
    lines.sort_unstable();
    lines
}

fn lines(output: &std::process::Output) -> Vec<String> {
    assert!(
        output.status.success(),
        "the oracle failed (Debian package python3-apt is needed): {output:?}"
    );
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// What is missing by apt's library, after a check that the scan says the same.
fn agreed(root: &Root) -> Vec<String> {
    let oracle = lines(&root.ask("/usr/bin/python3", &[ORACLE], "python3-apt"));
    assert_eq!(missing(&scanned(root.path())), oracle);
    oracle
}

fn state(report: &PatchReport, name: &str) -> PatchState {
    report
        .patches
        .iter()
        .find(|patch| patch.name == name)
        .unwrap()
        .state
}

#[test]
fn this_machines_missing_patches_are_those_of_apts_library() {
    let oracle = lines(&ask("/usr/bin/python3", &[ORACLE], "python3-apt", None));
    let report = scanned(Path::new("/"));
    let found = missing(&report);
    let only_here: Vec<_> = found.iter().filter(|line| !oracle.contains(line)).collect();
    let only_there: Vec<_> = oracle.iter().filter(|line| !found.contains(line)).collect();
    assert_eq!((only_here, only_there), (vec![], vec![]));
    assert_eq!(report.counts.missing as usize, oracle.len());
}

#[test]
fn each_installed_package_has_one_state_and_all_are_counted() {
    let main = Repository::main().offering(&["other amd64 2", "plain amd64 1"]);
    let security = Repository::security().offering(&[
        "missing all 2",
        "current amd64 1",
        "absent amd64 1",
        "absent i386 1",
        "absent amd64 2",
    ]);
    let installed = [
        "missing all 1",
        "current amd64 1",
        "other amd64 1",
        "plain amd64 1",
        "local amd64 1",
    ];
    let root = Root::installed(&installed).with(&main).with(&security);
    root.add("gone amd64 1", "deinstall ok config-files", "");
    assert_eq!(agreed(&root), ["missing all 2"]);

    let report = scanned(root.path());
    assert_eq!(report.product, "Debian12");
    assert_eq!(
        report.counts,
        Counts {
            missing: 1,
            installed: 1,
            installed_other: 3,
            not_applicable: 2,
            security_non_compliant: 1,
            ..Counts::default()
        }
    );
    assert_eq!(state(&report, "current"), PatchState::Installed);
    assert_eq!(state(&report, "other"), PatchState::InstalledOther);
    let patch = report
        .patches
        .iter()
        .find(|patch| patch.name == "missing")
        .unwrap();
    assert_eq!(patch.title(), "missing.all:2");
    assert_eq!(
        (patch.installed_version.as_str(), patch.severity.as_str()),
        ("1", "Optional")
    );
    let order: Vec<_> = report
        .patches
        .iter()
        .map(|patch| patch.name.as_str())
        .collect();
    assert_eq!(order, ["current", "local", "missing", "other", "plain"]);
    assert_eq!(report.patches_table().unwrap().rows().len(), 5);
}

#[test]
fn a_held_package_is_missing_and_says_that_it_is_held() {
    let root = Root::installed(&[]).with(&Repository::security().offering(&["a amd64 2"]));
    root.add("a amd64 1", "hold ok installed", "");
    assert_eq!(agreed(&root), ["a amd64 2"]);
    assert!(scanned(root.path()).patches[0].held);
}

#[test]
fn a_security_version_counts_though_main_has_a_newer_one_or_the_same() {
    let main = Repository::main().offering(&["a amd64 3", "b amd64 2"]);
    let security = Repository::security().offering(&["a amd64 2", "b amd64 2"]);
    let root = Root::installed(&["a amd64 1", "b amd64 1"])
        .with(&main)
        .with(&security);
    assert_eq!(agreed(&root), ["a amd64 2", "b amd64 2"]);
}

#[test]
fn a_suite_that_became_oldstable_is_still_security() {
    let mut security = Repository::security().offering(&["a amd64 2"]);
    security.release = security
        .release
        .replace("Suite: stable", "Suite: oldstable");
    let root = Root::installed(&["a amd64 1"]).with(&security);
    assert_eq!(agreed(&root), ["a amd64 2"]);
}

#[test]
fn what_nobody_vouches_for_is_not_security() {
    let unsigned = Repository {
        signed: false,
        ..Repository::security()
    };
    let distrusted = Repository {
        options: "[trusted=no]",
        ..Repository::security()
    };
    let local = Repository {
        uri: "file:/srv/security",
        ..Repository::security()
    };
    let cdrom = Repository {
        uri: "cdrom:disk",
        ..Repository::security()
    };
    for repository in [unsigned, distrusted, local] {
        let root = Root::installed(&["a amd64 1"]).with(&repository.offering(&["a amd64 2"]));
        assert_eq!(agreed(&root), Vec::<String>::new());
    }
    let root = Root::installed(&["a amd64 1"]).with(&cdrom.offering(&["a amd64 2"]));
    assert_eq!(missing(&scanned(root.path())), Vec::<String>::new());
    let vouched = Repository {
        options: "[trusted=yes]",
        signed: false,
        ..Repository::security()
    };
    let root = Root::installed(&["a amd64 1"]).with(&vouched.offering(&["a amd64 2"]));
    assert_eq!(agreed(&root), ["a amd64 2"]);
}

#[test]
fn pins_say_which_versions_exist_for_a_node() {
    let security = || Repository::security().offering(&["a amd64 2"]);
    let root = |preferences| {
        Root::installed(&["a amd64 1"])
            .with(&security())
            .preferences(preferences)
    };
    assert_eq!(agreed(&root("")), ["a amd64 2"]);
    for preferences in [
        "Package: a\nPin: version 2\nPin-Priority: -1\n",
        "Package: a\nPin: version 1\nPin-Priority: 1001\n",
        "Package: *\nPin: release l=Debian-Security\nPin-Priority: -1\n",
    ] {
        assert_eq!(
            agreed(&root(preferences)),
            Vec::<String>::new(),
            "{preferences}"
        );
    }
}

#[test]
fn foreign_architectures_are_missing_on_their_own() {
    let same = "Multi-Arch: same\n";
    let security = Repository::security()
        .offering_with("a amd64 2", same)
        .offering_with("a i386 2", same);
    let root = Root::installed(&[]).with(&security);
    root.add("a amd64 2", "install ok installed", same);
    root.add("a i386 1", "install ok installed", same);
    assert_eq!(agreed(&root), ["a i386 2"]);
}

#[test]
fn a_version_without_a_known_priority_is_not_approved() {
    let security = Repository::security().offering_with("a amd64 2", "Priority: odd\n");
    let root = Root::installed(&["a amd64 1"]).with(&security);
    assert_eq!(missing(&scanned(root.path())), Vec::<String>::new());
}

#[test]
fn the_journal_of_an_interrupted_upgrade_decides() {
    let root =
        Root::installed(&["a amd64 1"]).with(&Repository::security().offering(&["a amd64 2"]));
    assert_eq!(missing(&scanned(root.path())), ["a amd64 2"]);
    let record =
        "Package: a\nStatus: install ok half-configured\nArchitecture: amd64\nVersion: 2\n";
    root.write("var/lib/dpkg/updates/0003", record);
    let report = scanned(root.path());
    assert_eq!(state(&report, "a"), PatchState::Installed);
}

#[test]
fn what_expired_still_counts_and_its_age_is_told() {
    let mut security = Repository::security().offering(&["a amd64 2"]);
    security.release +=
        "Date: Thu, 01 Jan 1970 00:00:00 UTC\nValid-Until: Thu, 08 Jan 1970 00:00:00 UTC\n";
    let report = scanned(Root::installed(&["a amd64 1"]).with(&security).path());
    assert_eq!(missing(&report), ["a amd64 2"]);
    assert_eq!(
        report.sources[0].valid_until,
        "Thu, 08 Jan 1970 00:00:00 UTC"
    );
    assert!(report.sources[0].security);
}

#[test]
fn a_baseline_for_everything_counts_every_candidate() {
    let baseline = Baseline::from_json(
        r#"{"Name": "all", "OperatingSystem": "DEBIAN", "RejectedPatches": ["r*"],
            "ApprovalRules": {"PatchRules": [{"PatchFilterGroup": {"PatchFilters": [
                {"Key": "PRODUCT", "Values": ["Debian12"]}]},
                "EnableNonSecurity": true, "ComplianceLevel": "CRITICAL"}]}}"#,
    )
    .unwrap();
    let main = Repository::main().offering(&["a amd64 2", "r amd64 2", "n amd64 1", "n i386 1"]);
    let backports = Repository::backports("NotAutomatic: yes\n").offering(&["a amd64 3"]);
    let root = Root::installed(&["a amd64 1", "r amd64 1"])
        .with(&main)
        .with(&backports);
    let report = scan(root.path(), &baseline).unwrap();
    // `r` is allowed as a dependency; backports are not what this node follows.
    let expected = Counts {
        missing: 1,
        installed_other: 1,
        not_applicable: 2,
        critical_non_compliant: 1,
        ..Counts::default()
    };
    assert_eq!(report.counts, expected);
    assert_eq!(missing(&report), ["a amd64 2"]);
}

#[test]
fn a_root_without_dpkg_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let refused = scan(root.path(), &Baseline::debian_default()).unwrap_err();
    assert!(matches!(refused, ScanError::NotDebian { .. }));
    assert!(refused.to_string().contains("--root"));
}

#[test]
fn two_scans_of_one_state_are_equal() {
    let root = Root::installed(&["a amd64 1", "b amd64 1"])
        .with(&Repository::security().offering(&["a amd64 2"]));
    assert_eq!(scanned(root.path()), scanned(root.path()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn agrees_with_apts_library_on_any_root(parts in any_parts()) {
        agreed(&parts.root());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn damaged_lists_and_databases_never_stop_the_agent(
        at in 0usize..2000,
        byte in any::<u8>(),
        cut in any::<bool>(),
        which in 0usize..4,
    ) {
        let security = Repository::security().offering(&["a amd64 2", "b all 3"]);
        let root = Root::installed(&["a amd64 1", "b all 1"]).with(&security).preferences("Package: a\nPin: release a=x\nPin-Priority: 5\n");
        let list = format!("var/lib/apt/lists/{}", security.list_name());
        let release = list.replace("main_binary-amd64_Packages", "InRelease");
        let path = ["var/lib/dpkg/status", &list, &release, "etc/apt/preferences"][which];
        let path = root.path().join(path);
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] = byte,
        }
        fs::write(&path, bytes).unwrap();
        let _ = scan(root.path(), &Baseline::debian_default());
    }
}
