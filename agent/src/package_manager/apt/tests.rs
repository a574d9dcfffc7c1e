//! Compares candidates with those of the apt of this machine, on its own databases and on built roots.
//! Never touches the machine's configuration: apt is pointed at the built root by its options.

use super::*;
use std::path::Path;
use std::process::Command;

fn upgrades(root: &Path) -> Vec<String> {
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
    lines
}

/// `apt list --upgradable` as `name architecture installed candidate`, with these options.
fn apt_upgrades(options: &[String]) -> Vec<String> {
    let output = Command::new("apt")
        .args(["list", "--upgradable"])
        .args(options)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("this test asks `apt` (Debian package apt)");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let (package, rest) = line.split_once('/')?;
            let mut words = rest.split(' ').skip(1);
            let (candidate, architecture) = (words.next()?, words.next()?);
            let installed = rest.split("from: ").nth(1)?.trim_end_matches(']');
            Some(format!("{package} {architecture} {installed} {candidate}"))
        })
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn this_machines_candidates_are_those_of_apt() {
    assert_eq!(upgrades(Path::new("/")), apt_upgrades(&[]));
}
