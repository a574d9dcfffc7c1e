//! Compares candidates with those of the apt of this machine, on its own databases and on built roots.
//! Never compares with a number written down here where apt itself can be asked.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::fixture::{Repository, Root, any_parts, ask, upgradable};
use super::*;
use crate::package_manager::file::Warnings;

fn upgrades(root: &Path) -> (Vec<String>, Warnings) {
    let survey = survey(root, Absent::Ignore, &mut |_| {}).unwrap();
    let mut lines: Vec<_> = survey
        .upgrades()
        .into_iter()
        .map(|u| {
            format!(
                "{} {} {} {}",
                u.name, u.architecture, u.installed, u.candidate
            )
        })
        .collect();
    lines.sort_unstable();
    (lines, survey.warnings)
}

/// What apt lists for a built root, after a check that we list the same and choose the same.
fn agreed(root: &Root) -> Vec<String> {
    let output = root.ask("apt", &["list", "--upgradable"], "apt");
    assert!(
        output.status.success(),
        "apt refused the fixture: {output:?}"
    );
    let of_apt = upgradable(&output);
    assert_eq!(upgrades(root.path()).0, of_apt);

    let survey = survey(root.path(), Absent::Ignore, &mut |_| {}).unwrap();
    let candidate = |standing: Standing<'_>| {
        let version = standing
            .candidate
            .map(|at| &*standing.versions[at].version.version);
        let Package {
            name, architecture, ..
        } = standing.package;
        (
            format!("{name}:{architecture}"),
            version.unwrap_or("(none)").to_owned(),
        )
    };
    for (package, ours) in survey.standings().map(candidate) {
        let output = root.ask("apt-cache", &["policy", &package], "apt");
        let text = std::str::from_utf8(&output.stdout).unwrap();
        let of_apt = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "));
        assert_eq!(of_apt, Some(ours.as_str()), "{package}: {text}");
    }
    of_apt
}

#[test]
fn this_machines_candidates_are_those_of_apt() {
    let output = ask("apt", &["list", "--upgradable"], "apt", None);
    let of_apt = upgradable(&output);
    let (ours, _) = upgrades(Path::new("/"));
    let only_ours: Vec<_> = ours.iter().filter(|line| !of_apt.contains(line)).collect();
    let only_apts: Vec<_> = of_apt.iter().filter(|line| !ours.contains(line)).collect();
    assert_eq!((only_ours, only_apts), (vec![], vec![]));
}

#[test]
fn numbers_are_compared_as_numbers() {
    let main = Repository::main().offering(&[
        "a amd64 9.10-1",
        "a amd64 9.9-1",
        "b amd64 1:0.1",
        "c amd64 1.0~rc1",
    ]);
    let root = Root::installed(&["a amd64 9.8-1", "b amd64 3.0", "c amd64 1.0"]).with(&main);
    assert_eq!(agreed(&root), ["a amd64 9.8-1 9.10-1", "b amd64 3.0 1:0.1"]);
}

#[test]
fn held_packages_are_candidates_too() {
    let root = Root::installed(&[]).with(&Repository::main().offering(&["a amd64 2", "b all 2"]));
    root.add("a amd64 1", "hold ok installed", "");
    root.add("b all 1", "install ok installed", "");
    assert_eq!(agreed(&root), ["a amd64 1 2", "b all 1 2"]);
    let survey = survey(root.path(), Absent::Ignore, &mut |_| {}).unwrap();
    let held: Vec<_> = survey
        .upgrades()
        .into_iter()
        .map(|upgrade| upgrade.held)
        .collect();
    assert_eq!(held, [true, false]);
}

#[test]
fn what_is_half_installed_has_candidates_and_what_was_removed_has_none() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let offers: Vec<_> = names.iter().map(|name| format!("{name} amd64 2")).collect();
    let offers: Vec<_> = offers.iter().map(String::as_str).collect();
    let root = Root::installed(&[]).with(&Repository::main().offering(&offers));
    root.add("a amd64 1", "install reinstreq half-installed", "");
    root.add(
        "b amd64 1",
        "install ok triggers-pending",
        "Triggers-Pending: t\n",
    );
    root.add("c amd64 1", "deinstall ok config-files", "");
    root.add("d amd64 1", "install ok half-configured", "");
    root.add("e amd64 1", "install ok unpacked", "");
    root.add(
        "f amd64 1",
        "install ok triggers-awaited",
        "Triggers-Awaited: b\n",
    );
    let expected = ["a", "b", "d", "e", "f"].map(|name| format!("{name} amd64 1 2"));
    assert_eq!(agreed(&root), expected);
}

#[test]
fn the_journal_decides_what_is_installed() {
    let root = Root::installed(&["a amd64 1"]).with(&Repository::main().offering(&["a amd64 2"]));
    let record = "Package: a\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 2\n";
    root.write("var/lib/dpkg/updates/0000", record);
    assert_eq!(upgrades(root.path()).0, Vec::<String>::new());
}

#[test]
fn pins_choose_as_in_apt() {
    let main = || {
        Repository::main().offering(&[
            "a amd64 2",
            "b amd64 2",
            "c amd64 2",
            "c i386 2",
            "d amd64 2",
            "d amd64 0.5",
        ])
    };
    let backports = Repository::backports("NotAutomatic: yes\nButAutomaticUpgrades: yes\n")
        .offering(&[
            "a amd64 3~bpo12+1",
            "b amd64 3~bpo12+1",
            "d amd64 3~bpo12+1",
        ]);
    for preferences in [
        "",
        "Package: a\nPin: version 2\nPin-Priority: -1\n",
        "Package: a\nPin: release n=bookworm\nPin-Priority: -1\n",
        "Package: d\nPin: version 0.5\nPin-Priority: 1001\n",
        "Package: d\nPin: version 0.*\nPin-Priority: 999\n",
        "Package: *\nPin: release a=stable-backports\nPin-Priority: 600\n",
        "Package: *\nPin: release n=*backports, o=debian\nPin-Priority: 500\n",
        "Package: /^[ab]$/ c\nPin: origin deb.example\nPin-Priority: -10\n",
        "Package: c:any\nPin: version *\nPin-Priority: -1\n",
        "Package: c\nPin: version *\nPin-Priority: -1\n",
        "Package: c:i386\nPin: release *\nPin-Priority: 50\n",
        "Package: c?\nPin: release *\nPin-Priority: 50\n",
        "Package: [a-c]\nPin: release a=now\nPin-Priority: 900\n",
        "# comment\nExplanation: none\nPackage: *\nPin: release l=Backports\nPin-Priority: never\n",
        "Package: *\nPin: release 12*\nPin-Priority: 50\n\nPackage: *\nPin: release bookworm\nPin-Priority: 990\n",
        "Package: a\nPin: release o=Debian\nPin-Priority: 50\n\nPackage: a\nPin: version 2\nPin-Priority: 990\n",
        "Package: src:s*\nPin: version 2\nPin-Priority: 5\n",
        "Package: a\nPin: origin \"\"\nPin-Priority: 5\n",
    ] {
        let root = Root::installed(&["a amd64 1", "b amd64 1"])
            .with(&main())
            .with(&backports)
            .preferences(preferences);
        root.add(
            "c amd64 1",
            "install ok installed",
            "Multi-Arch: same\nSource: sc (7)\n",
        );
        root.add("c i386 1", "install ok installed", "Multi-Arch: same\n");
        root.add("d amd64 1", "install ok installed", "");
        agreed(&root);
    }
}

#[test]
fn archives_that_are_not_automatic_only_follow_what_came_from_them() {
    for extra in [
        "NotAutomatic: yes\n",
        "NotAutomatic: yes\nButAutomaticUpgrades: yes\n",
        "",
    ] {
        let backports = Repository::backports(extra).offering(&["a amd64 3", "b amd64 3"]);
        let main = Repository::main().offering(&["a amd64 1"]);
        let root = Root::installed(&["a amd64 1", "b amd64 2~bpo"])
            .with(&main)
            .with(&backports);
        agreed(&root);
    }
}

#[test]
fn the_default_release_is_preferred() {
    let backports = || Repository::backports("NotAutomatic: yes\n").offering(&["a amd64 3"]);
    for conf in [
        "APT::Default-Release \"stable-backports\";",
        "APT { Default-Release \"bookworm\"; };",
    ] {
        let root = Root::installed(&["a amd64 1"])
            .with(&Repository::main().offering(&["a amd64 2"]))
            .with(&backports());
        root.write("etc/apt/apt.conf.d/50release", conf);
        assert_eq!(agreed(&root).len(), 1);
    }
}

#[test]
fn architectures_are_kept_apart_and_all_is_native() {
    let offers = ["a amd64 2", "a i386 3", "b all 2", "c amd64 2", "d i386 2"];
    let root =
        Root::installed(&["c all 1", "d amd64 1"]).with(&Repository::main().offering(&offers));
    let same = "Multi-Arch: same\n";
    root.add("a amd64 1", "install ok installed", same);
    root.add("a i386 1", "install ok installed", same);
    root.add("b amd64 1", "install ok installed", "");
    let expected = ["a amd64 1 2", "a i386 1 3", "b amd64 1 2", "c all 1 2"];
    assert_eq!(agreed(&root), expected);
}

#[test]
fn several_kernels_stand_beside_each_other() {
    let offers = [
        "linux-image-6.1.0-1-amd64 amd64 6.1.1-1",
        "linux-image-6.1.0-9-amd64 amd64 6.1.9-1",
        "linux-image-amd64 amd64 6.1.9-1",
    ];
    let installed = [
        "linux-image-6.1.0-1-amd64 amd64 6.1.1-1",
        "linux-image-6.1.0-2-amd64 amd64 6.1.2-1",
        "linux-image-amd64 amd64 6.1.2-1",
    ];
    let root = Root::installed(&installed).with(&Repository::main().offering(&offers));
    assert_eq!(agreed(&root), ["linux-image-amd64 amd64 6.1.2-1 6.1.9-1"]);
}

#[test]
fn a_rebuild_under_the_same_version_is_a_candidate() {
    let main = Repository::main()
        .offering_with(
            "a amd64 1",
            "Depends: libc6 (>= 2.36),  libx\nInstalled-Size: 7\n",
        )
        .offering_with(
            "b amd64 1",
            "Depends: libc6 (<< 3), libX (<= 2)\nMulti-Arch: no\n",
        )
        .offering_with("c amd64 1", "Multi-Arch: foreign\n");
    let root = Root::installed(&["c amd64 1"]).with(&main);
    root.add(
        "a amd64 1",
        "install ok installed",
        "Depends: libc6 (>= 2.36), liby\nInstalled-Size: 7\n",
    );
    root.add(
        "b amd64 1",
        "install ok installed",
        "Depends: libc6 (<< 3), libx (< 2)\n",
    );
    assert_eq!(agreed(&root), ["a amd64 1 1", "c amd64 1 1"]);
}

#[test]
fn lists_nobody_configures_any_more_do_not_count() {
    let root = Root::installed(&["a amd64 1"]).with(&Repository::main().offering(&["a amd64 2"]));
    root.write(
        "etc/apt/sources.list",
        "deb http://other.example/debian stable main\n",
    );
    assert_eq!(agreed(&root), Vec::<String>::new());
    let (_, warnings) = upgrades(root.path());
    assert!(
        warnings.list[0].problem.contains("never fetched"),
        "{warnings:?}"
    );
}

#[test]
fn every_compression_is_read_as_apt_reads_it() {
    for (program, arguments, extension, package) in [
        ("lz4", &["-q", "-m", "--rm"][..], ".lz4", "lz4"),
        ("gzip", &["-9"][..], ".gz", "gzip"),
        ("xz", &["-9"][..], ".xz", "xz-utils"),
        ("zstd", &["-q", "--rm", "-19"][..], ".zst", "zstd"),
    ] {
        let main = Repository::main().offering(&["a amd64 2"]);
        let root = Root::installed(&["a amd64 1"]).with(&main);
        let list = root.path().join("var/lib/apt/lists").join(main.list_name());
        let mut arguments = arguments.to_vec();
        arguments.push(list.to_str().unwrap());
        assert!(ask(program, &arguments, package, None).status.success());
        let packed = format!("{}{extension}", list.display());
        assert!(Path::new(&packed).exists() && !list.exists(), "{packed}");
        assert_eq!(agreed(&root), ["a amd64 1 2"], "{program}");
        assert_eq!(upgrades(root.path()).1, Warnings::default());

        // Cut in the middle it is a warning, never a panic, and the scan goes on.
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        let (_, warnings) = upgrades(root.path());
        assert_eq!(warnings.list.len(), 1, "{program}: {warnings:?}");
    }
}

#[test]
fn a_list_cut_short_is_told_and_what_is_left_counts() {
    let main = Repository::main().offering(&["a amd64 2", "b amd64 2"]);
    let root = Root::installed(&["a amd64 1", "b amd64 1"]).with(&main);
    let list = root.path().join("var/lib/apt/lists").join(main.list_name());
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, &text[..text.find("\n\n").unwrap() + 2]).unwrap();
    let (lines, warnings) = upgrades(root.path());
    assert_eq!(lines, ["a amd64 1 2"]);
    assert!(
        warnings.list[0].problem.contains("promises"),
        "{warnings:?}"
    );
}

#[test]
fn a_list_that_is_not_the_promised_one_is_told() {
    let main = Repository::main().offering(&["a amd64 2"]);
    let root = Root::installed(&["a amd64 1"]).with(&main);
    let list = root.path().join("var/lib/apt/lists").join(main.list_name());
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace("Version: 2", "Version: 3")).unwrap();
    let (lines, warnings) = upgrades(root.path());
    assert_eq!(lines, ["a amd64 1 3"]);
    assert!(warnings.list[0].problem.contains("SHA-256"), "{warnings:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn agrees_with_apt_on_any_root(parts in any_parts()) {
        agreed(&parts.root());
    }
}
