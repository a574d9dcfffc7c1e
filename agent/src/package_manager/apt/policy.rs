//! Chooses candidates as apt does: priorities of archives and pins, then the rules of apt_preferences(5).
//! Never reads a file: archives, pins and versions come in as values. Phased updates are Ubuntu's, and ignored.

use std::cmp::Ordering;

use super::preferences::{NEVER, Preferences};
use super::release::Release;
use super::version::Version;
use crate::package_manager::debian_version;

/// Where versions come from: one package list, or dpkg's own database.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// What the archive says of itself.
    pub release: Release,
    /// The host; empty for a local source.
    pub site: String,
    /// `main`; empty in a flat repository.
    pub component: String,
    /// The architecture of the list.
    pub architecture: String,
    /// apt takes its signature, or the administrator's word for it, and it is not a local disk.
    pub trusted: bool,
    /// dpkg's own database.
    pub is_status: bool,
    /// The priority of what it offers, unless a specific pin speaks.
    pub priority: i16,
}

impl Archive {
    /// dpkg's own database, as apt's policy sees it.
    #[must_use]
    pub fn status(preferences: &Preferences) -> Self {
        let mut archive = Self {
            is_status: true,
            ..Self::default()
        };
        "now".clone_into(&mut archive.release.suite);
        archive.set_priority(preferences);
        archive
    }

    /// The general pins' word, else what the archive asks for.
    pub fn set_priority(&mut self, preferences: &Preferences) {
        let default = if self.is_status || self.release.but_automatic_upgrades {
            100
        } else if self.release.not_automatic {
            1
        } else {
            500
        };
        self.priority = preferences.of_archive(self).unwrap_or(default);
    }

    /// Whether what it offers counts as a security update: a trusted archive whose suite or codename
    /// contains `security`, or whose label is `Debian-Security`.
    #[must_use]
    pub fn is_security(&self) -> bool {
        self.trusted
            && (self.release.suite.contains("security")
                || self.release.codename.contains("security")
                || self.release.label == "Debian-Security")
    }
}

/// What pins select a package by.
#[derive(Debug, Clone, Copy)]
pub struct PackageKey<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its source package's name.
    pub source: &'a str,
    /// Its architecture, `all` being the native one.
    pub architecture: &'a str,
    /// Whether that is the native one.
    pub is_native: bool,
}

/// The priority of a version: a specific pin's, else the highest of its archives.
#[must_use]
pub fn priority_of(
    version: &str,
    archives: &[u16],
    all: &[Archive],
    key: PackageKey<'_>,
    preferences: &Preferences,
) -> i16 {
    let offering = || {
        archives
            .iter()
            .filter_map(|index| all.get(usize::from(*index)))
    };
    let pinned = preferences
        .for_package(key)
        .find(|(rule, _)| rule.matches(version, offering()))
        .map(|(_, priority)| priority)
        // Archives that are never to be used are not made usable by a specific pin.
        .filter(|_| offering().any(|archive| archive.priority != NEVER));
    pinned.unwrap_or_else(|| {
        let highest = offering().map(|archive| archive.priority).max();
        highest.unwrap_or(0)
    })
}

/// The version apt would install: the highest priority, then the highest version; a lower one than
/// the installed only from priority 1000. `versions` descend, the installed one last among equals.
///
/// The result is an index into `versions`.
#[must_use]
pub fn candidate(versions: &[(&Version, i16)], installed: Option<&str>) -> Option<usize> {
    let mut best: Option<(usize, i16)> = None;
    for (index, (version, priority)) in versions.iter().enumerate() {
        let is_lower = installed.is_some_and(|installed| {
            debian_version::compare(&version.version, installed) == Ordering::Less
        });
        let beats = *priority != 0 && *priority > best.map_or(-1, |(_, priority)| priority);
        if beats && (!is_lower || *priority >= 1000) {
            best = Some((index, *priority));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version {
            version: text.into(),
            build: 0,
            source: "".into(),
            archives: Vec::new(),
            architecture: "amd64".into(),
            section: "".into(),
            priority: "".into(),
        }
    }

    fn chosen(installed: Option<&str>, offered: &[(&str, i16)]) -> Option<String> {
        let versions: Vec<_> = offered
            .iter()
            .map(|(text, priority)| (version(text), *priority))
            .collect();
        let borrowed: Vec<_> = versions.iter().map(|(version, p)| (version, *p)).collect();
        candidate(&borrowed, installed).map(|index| versions[index].0.version.to_string())
    }

    #[test]
    fn the_highest_version_of_the_highest_priority_is_the_candidate() {
        let offered = [("9.10", 500), ("9.9", 500), ("9.8", 100)];
        assert_eq!(chosen(Some("9.8"), &offered).as_deref(), Some("9.10"));
        let offered = [("3", 100), ("2", 500), ("1", 100)];
        assert_eq!(chosen(Some("1"), &offered).as_deref(), Some("2"));
    }

    #[test]
    fn only_a_priority_of_1000_goes_back() {
        let offered = |priority| [("2", 100), ("1", priority)];
        assert_eq!(chosen(Some("2"), &offered(999)).as_deref(), Some("2"));
        assert_eq!(chosen(Some("2"), &offered(1001)).as_deref(), Some("1"));
        assert_eq!(chosen(None, &offered(500)).as_deref(), Some("1"));
    }

    #[test]
    fn a_negative_priority_is_never_chosen() {
        assert_eq!(
            chosen(Some("1"), &[("2", -1), ("1", 100)]).as_deref(),
            Some("1")
        );
        assert_eq!(chosen(Some("1"), &[("2", -1), ("1", -1)]), None);
    }

    #[test]
    fn security_needs_a_trusted_archive() {
        let mut archive = Archive::default();
        archive.release.suite = "stable-security".to_owned();
        assert!(!archive.is_security());
        archive.trusted = true;
        assert!(archive.is_security());
        archive.release.suite = "stable".to_owned();
        assert!(!archive.is_security());
        archive.release.label = "Debian-Security".to_owned();
        assert!(archive.is_security());
    }
}
