//! Ranks the versions of each installed package, and says which of them apt would choose.
//! Never reads anything: it works on what a survey found.

use super::policy::{self, Archive, PackageKey};
use super::survey::{Package, Survey};
use super::version::Version;
use crate::package_manager::debian_version;
use crate::package_manager::dpkg::Want;

/// One version as policy sees it beside the others of its package.
#[derive(Debug, Clone, Copy)]
pub struct Ranked<'a> {
    /// The version.
    pub version: &'a Version,
    /// What policy gives it.
    pub policy_priority: i16,
    /// Whether it is the one on the disk.
    pub is_installed: bool,
    /// Whether a security archive offers it.
    pub security: bool,
}

/// An installed package's versions in descending order, and apt's choice among them.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The package.
    pub package: &'a Package,
    /// Descending; builds of one version as apt orders them, the installed one last.
    pub versions: Vec<Ranked<'a>>,
    /// An index into `versions`.
    pub candidate: Option<usize>,
}

/// A line of `apt list --upgradable`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upgrade {
    /// The package.
    pub name: String,
    /// The installed version's architecture, which may be `all`, as apt shows it.
    pub architecture: String,
    /// The version on the disk.
    pub installed: String,
    /// The version that would replace it.
    pub candidate: String,
    /// Whether dpkg is told to leave it alone.
    pub held: bool,
}

impl Survey {
    /// Each installed package with its versions ranked and apt's choice, by name and architecture.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.packages.iter().map(|package| self.standing(package))
    }

    fn standing<'a>(&'a self, package: &'a Package) -> Standing<'a> {
        let rank = |(at, version): (usize, &'a Version)| {
            let key = PackageKey {
                name: &package.name,
                source: &version.source,
                architecture: &package.architecture,
                is_native: *package.architecture == *self.native,
            };
            let archives = &version.archives;
            Ranked {
                version,
                policy_priority: policy::priority_of(
                    &version.version,
                    archives,
                    &self.archives,
                    key,
                    &self.preferences,
                ),
                is_installed: at == 0,
                security: archives
                    .iter()
                    .any(|index| self.archive(*index).is_some_and(Archive::is_security)),
            }
        };
        let mut versions: Vec<_> = package.versions.iter().enumerate().map(rank).collect();
        versions.sort_by(|a, b| {
            debian_version::compare(&b.version.version, &a.version.version)
                .then(a.is_installed.cmp(&b.is_installed))
        });
        let offered: Vec<_> = versions
            .iter()
            .map(|ranked| (ranked.version, ranked.policy_priority))
            .collect();
        let installed = package.installed().map(|version| &*version.version);
        let candidate = policy::candidate(&offered, installed);
        Standing {
            package,
            versions,
            candidate,
        }
    }

    /// What `apt list --upgradable` lists, held packages included, by name and architecture.
    #[must_use]
    pub fn upgrades(&self) -> Vec<Upgrade> {
        self.standings()
            .filter_map(|standing| {
                let candidate = standing.versions.get(standing.candidate?)?;
                let installed_at = standing.versions.iter().position(|v| v.is_installed)?;
                let installed = standing.versions.get(installed_at)?;
                (standing.candidate? < installed_at).then(|| Upgrade {
                    name: standing.package.name.to_string(),
                    architecture: installed.version.architecture.to_string(),
                    installed: installed.version.version.to_string(),
                    candidate: candidate.version.version.to_string(),
                    held: standing.package.status.want == Want::Hold,
                })
            })
            .collect()
    }
}
