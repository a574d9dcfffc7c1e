//! Scans a Debian root: survey, then each package against the baseline.
//! Never blocks on anything but the disk, so the caller runs it on a thread of its own.

use std::cmp::Ordering;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::baseline::{Baseline, Facts};
use super::evaluate::{Offered, Relation, Subject, evaluate};
use super::report::{Counts, PatchReport, Source};
use crate::inventory::os_release::OsRelease;
use crate::package_manager::apt::{Absent, Archive, Offer, Ranked, Standing, Survey, survey};
use crate::package_manager::debian_version;
use crate::package_manager::dpkg::{DatabaseError, Want};

/// Packages counted as not applicable at most; Debian has 65,000 an architecture.
const NOT_APPLICABLE_MAX: usize = 1 << 20;

/// Why a scan has no result.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// No dpkg here.
    #[error(
        "{path} does not exist: only Debian and its derivatives can be scanned; \
         name another root with `--root`"
    )]
    NotDebian {
        /// Where the database would be.
        path: PathBuf,
    },
    /// What is installed cannot be known.
    #[error("the installed packages cannot be read")]
    Database(#[source] DatabaseError),
}

/// Compares the packages installed below `root` with `baseline`.
///
/// Goes by the lists that were last fetched, however old; [`PatchReport::sources`] says how old.
///
/// # Errors
/// [`ScanError`] where the installed packages cannot be known. Everything else that is missing or
/// damaged is a warning in the report.
pub fn scan(root: &Path, baseline: &Baseline) -> Result<PatchReport, ScanError> {
    let product = OsRelease::read(root).product();
    let mut not_applicable = Distinct::default();
    let absent = match baseline.approves_non_security() {
        true => Absent::All,
        false => Absent::Security,
    };
    let survey = survey(root, absent, &mut |offer| {
        if offer.policy_priority > 0 && baseline.approval(&facts_of(offer, &product)).is_some() {
            not_applicable.add(&(offer.key.name, offer.key.architecture));
        }
    })
    .map_err(refusal)?;

    let mut counts = Counts {
        not_applicable: not_applicable.count(),
        ..Counts::default()
    };
    let patches: Vec<_> = survey
        .standings()
        .filter_map(|standing| {
            let patch = evaluate(baseline, &subject(root, &standing, &product)?);
            counts.add(&patch);
            Some(patch)
        })
        .collect();
    Ok(PatchReport {
        baseline_id: baseline.id.clone(),
        baseline_name: baseline.name.clone(),
        counts,
        patches,
        sources: sources(&survey),
        warnings: survey.warnings,
        product,
    })
}

fn refusal(error: DatabaseError) -> ScanError {
    if let DatabaseError::Open { path, source } = &error
        && source.kind() == io::ErrorKind::NotFound
    {
        return ScanError::NotDebian { path: path.clone() };
    }
    ScanError::Database(error)
}

fn facts_of<'a>(offer: &Offer<'a>, product: &'a str) -> Facts<'a> {
    Facts {
        product,
        name: offer.key.name,
        architecture: offer.key.architecture,
        version: offer.version,
        section: offer.section,
        priority: offer.priority,
        security: offer.security,
    }
}

fn subject<'a>(root: &Path, standing: &Standing<'a>, product: &'a str) -> Option<Subject<'a>> {
    let name = &*standing.package.name;
    let facts = |ranked: &Ranked<'a>| Facts {
        product,
        name,
        architecture: &ranked.version.architecture,
        version: &ranked.version.version,
        section: &ranked.version.section,
        priority: &ranked.version.priority,
        security: ranked.security,
    };
    let installed = standing
        .versions
        .iter()
        .find(|ranked| ranked.is_installed)?;
    let offered = standing.versions.iter().filter_map(|ranked| {
        let order = debian_version::compare(&ranked.version.version, &installed.version.version);
        let relation = match order {
            Ordering::Greater => Relation::Higher,
            Ordering::Equal => Relation::Same,
            Ordering::Less => return None,
        };
        Some(Offered {
            facts: facts(ranked),
            relation,
            // Higher versions win ties, so equal priorities suffice (apt_preferences(5)).
            available: ranked.policy_priority > 0
                && ranked.policy_priority >= installed.policy_priority,
        })
    });
    Some(Subject {
        installed: facts(installed),
        offered: offered.collect(),
        held: standing.package.status.want == Want::Hold,
        installed_seconds: unpacked_at(root, name, &standing.package.architecture),
    })
}

/// dpkg rewrites a package's list of files whenever it unpacks it.
fn unpacked_at(root: &Path, name: &str, architecture: &str) -> Option<u64> {
    let info = root.join("var/lib/dpkg/info");
    let modified = |file: String| fs::metadata(info.join(file)).ok()?.modified().ok();
    let time = modified(format!("{name}.list"))
        .or_else(|| modified(format!("{name}:{architecture}.list")))?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn sources(survey: &Survey) -> Vec<Source> {
    let source = |archive: &Archive| Source {
        site: archive.site.clone(),
        suite: archive.release.suite.clone(),
        codename: archive.release.codename.clone(),
        date: archive.release.date.clone(),
        valid_until: archive.release.valid_until.clone(),
        security: archive.is_security(),
    };
    let lists = survey.archives.iter().filter(|archive| !archive.is_status);
    let mut sources: Vec<_> = lists.map(source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// Counts different things by their hashes, eight bytes each.
#[derive(Default)]
struct Distinct {
    hashes: Vec<u64>,
}

impl Distinct {
    fn add(&mut self, thing: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        if self.hashes.len() == self.hashes.capacity() {
            self.settle();
        }
        if self.hashes.len() < NOT_APPLICABLE_MAX {
            self.hashes.push(hasher.finish());
        }
    }

    fn settle(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    fn count(mut self) -> u32 {
        self.settle();
        u32::try_from(self.hashes.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
