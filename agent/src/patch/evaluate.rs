//! Decides where a package stands towards a baseline, from values alone.
//! Never reads a file, and never counts as missing what the node's own policy would not install.

use super::baseline::{Baseline, ComplianceLevel, Facts, RejectedAction};
use super::report::{Patch, PatchState};

/// How a version relates to the installed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Above it.
    Higher,
    /// The installed version itself, or another build that bears the same version.
    Same,
}

/// A version of an installed package.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// What the baseline goes by.
    pub facts: Facts<'a>,
    /// How it relates to the installed one.
    pub relation: Relation,
    /// Whether apt would install it if it alone were offered. Pins and `NotAutomatic` say no: they
    /// choose what exists for this node. A hold does not: it only delays.
    pub available: bool,
}

/// An installed package with its versions from the installed one upwards.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The installed version.
    pub installed: Facts<'a>,
    /// Descending. The installed version is among them.
    pub offered: Vec<Offered<'a>>,
    /// Whether dpkg is told to leave it alone.
    pub held: bool,
    /// When it was unpacked, in seconds since 1970.
    pub installed_seconds: Option<u64>,
}

/// The state of one package under a baseline.
#[must_use]
pub fn evaluate(baseline: &Baseline, subject: &Subject<'_>) -> Patch {
    let approved = |relation| {
        subject
            .offered
            .iter()
            .filter(move |offered| offered.relation == relation)
            .filter(|offered| relation == Relation::Same || offered.available)
            .find_map(|offered| Some((offered.facts, baseline.approval(&offered.facts)?)))
    };
    let installed = subject.installed;
    if let Some((facts, level)) = approved(Relation::Higher) {
        return patch(subject, &facts, PatchState::Missing, level);
    }
    if let Some((facts, level)) = approved(Relation::Same) {
        return patch(subject, &facts, PatchState::Installed, level);
    }
    let is_blocked = baseline.rejected_action == RejectedAction::Block;
    let state = match is_blocked && baseline.rejects(&installed) {
        true => PatchState::InstalledRejected,
        false => PatchState::InstalledOther,
    };
    patch(subject, &installed, state, ComplianceLevel::Unspecified)
}

fn patch(
    subject: &Subject<'_>,
    facts: &Facts<'_>,
    state: PatchState,
    compliance_level: ComplianceLevel,
) -> Patch {
    Patch {
        name: facts.name.to_owned(),
        architecture: facts.architecture.to_owned(),
        version: facts.version.to_owned(),
        installed_version: subject.installed.version.to_owned(),
        state,
        classification: facts.section.to_owned(),
        severity: capitalised(facts.priority),
        compliance_level,
        security: facts.security,
        held: subject.held,
        installed_seconds: subject.installed_seconds,
        cve_ids: Vec::new(),
    }
}

/// `optional` as baselines write it: `Optional`.
fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + characters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: &str, security: bool) -> Facts<'_> {
        Facts {
            product: "Debian12",
            name: "p",
            architecture: "amd64",
            version,
            section: "libs",
            priority: "optional",
            security,
        }
    }

    fn offered(version: &str, security: bool, relation: Relation, available: bool) -> Offered<'_> {
        Offered {
            facts: facts(version, security),
            relation,
            available,
        }
    }

    fn state(baseline: &Baseline, offered: Vec<Offered<'_>>) -> (PatchState, String) {
        let installed = offered.last().unwrap().facts;
        let subject = Subject {
            installed,
            offered,
            held: false,
            installed_seconds: None,
        };
        let patch = evaluate(baseline, &subject);
        assert_eq!(patch.installed_version, installed.version);
        (patch.state, patch.version)
    }

    #[test]
    fn a_security_version_below_the_newest_is_still_missing() {
        let offers = vec![
            offered("3", false, Relation::Higher, true),
            offered("2", true, Relation::Higher, true),
            offered("1", false, Relation::Same, true),
        ];
        let found = state(&Baseline::debian_default(), offers);
        assert_eq!(found, (PatchState::Missing, "2".to_owned()));
    }

    #[test]
    fn the_highest_of_several_approved_versions_is_named() {
        let offers = vec![
            offered("3", true, Relation::Higher, true),
            offered("2", true, Relation::Higher, true),
            offered("1", true, Relation::Same, true),
        ];
        let found = state(&Baseline::debian_default(), offers);
        assert_eq!(found, (PatchState::Missing, "3".to_owned()));
    }

    #[test]
    fn an_installed_security_version_is_installed_and_others_are_other() {
        let offers = |security| {
            vec![
                offered("2", false, Relation::Higher, true),
                offered("1", security, Relation::Same, true),
            ]
        };
        let baseline = Baseline::debian_default();
        assert_eq!(state(&baseline, offers(true)).0, PatchState::Installed);
        assert_eq!(
            state(&baseline, offers(false)).0,
            PatchState::InstalledOther
        );
    }

    #[test]
    fn what_policy_would_not_install_is_not_missing() {
        let offers = vec![
            offered("2", true, Relation::Higher, false),
            offered("1", false, Relation::Same, true),
        ];
        let found = state(&Baseline::debian_default(), offers);
        assert_eq!(found, (PatchState::InstalledOther, "1".to_owned()));
    }

    #[test]
    fn a_rejected_package_is_rejected_only_under_block() {
        let offers = || {
            vec![
                offered("2", true, Relation::Higher, true),
                offered("1", true, Relation::Same, true),
            ]
        };
        let mut baseline = Baseline::debian_default();
        baseline.rejected = vec!["p*".to_owned()];
        assert_eq!(state(&baseline, offers()).0, PatchState::InstalledOther);
        baseline.rejected_action = RejectedAction::Block;
        assert_eq!(state(&baseline, offers()).0, PatchState::InstalledRejected);
        baseline.rejected = vec!["p-2".to_owned()];
        assert_eq!(state(&baseline, offers()).0, PatchState::Installed);
    }
}
