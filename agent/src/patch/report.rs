//! What a scan found: one row an installed package, counts, and how old the knowledge behind it is.
//! Never holds a time of its own: whoever keeps or sends a report stamps it.

use holdfast_protocol::report::{Table, TableError};
use serde::{Deserialize, Serialize};

use super::baseline::ComplianceLevel;
use crate::inventory::table::table;
use crate::package_manager::file::Warnings;

/// Where a package stands towards a baseline (`PatchComplianceDataState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PatchState {
    /// Approved, offered, and not installed.
    Missing,
    /// Approved and installed.
    Installed,
    /// Installed, and the baseline has nothing to say.
    InstalledOther,
    /// Installed although it is rejected.
    InstalledRejected,
    /// Installed by an installer that did not reboot. A scan of Debian never finds it.
    InstalledPendingReboot,
    /// Its installation failed. A scan never finds it.
    Failed,
}

impl PatchState {
    /// The API's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::Installed => "INSTALLED",
            Self::InstalledOther => "INSTALLED_OTHER",
            Self::InstalledRejected => "INSTALLED_REJECTED",
            Self::InstalledPendingReboot => "INSTALLED_PENDING_REBOOT",
            Self::Failed => "FAILED",
        }
    }
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// The package.
    pub name: String,
    /// Its architecture; that of the version where they differ.
    pub architecture: String,
    /// The version that is missing, else the installed one.
    pub version: String,
    /// The version on the disk.
    pub installed_version: String,
    /// Where it stands.
    pub state: PatchState,
    /// The archive section, by which baselines classify on Debian.
    pub classification: String,
    /// `Required` … `Extra`, by which baselines grade on Debian.
    pub severity: String,
    /// How grave it is when missing.
    pub compliance_level: ComplianceLevel,
    /// Whether a security archive offers that version.
    pub security: bool,
    /// Whether dpkg is told to leave it alone: it stays missing until that is lifted.
    pub held: bool,
    /// When the installed version was unpacked, in seconds since 1970, by the clock of then.
    pub installed_seconds: Option<u64>,
    /// Vulnerabilities the version mends. Debian's package lists name none, so a scan leaves it empty.
    pub cve_ids: Vec<String>,
}

impl Patch {
    /// `name.architecture:version`, as the API shows patches of Linux.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}.{}:{}", self.name, self.architecture, self.version)
    }
}

/// How many of each (`InstancePatchState`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// [`PatchState::Missing`]
    pub missing: u32,
    /// [`PatchState::Installed`]
    pub installed: u32,
    /// [`PatchState::InstalledOther`]
    pub installed_other: u32,
    /// [`PatchState::InstalledRejected`]
    pub installed_rejected: u32,
    /// [`PatchState::InstalledPendingReboot`]
    pub installed_pending_reboot: u32,
    /// [`PatchState::Failed`]
    pub failed: u32,
    /// Approved, but of packages that are not installed.
    pub not_applicable: u32,
    /// Missing, and approved as critical.
    pub critical_non_compliant: u32,
    /// Missing from a security archive, and not approved as critical.
    pub security_non_compliant: u32,
    /// Missing otherwise.
    pub other_non_compliant: u32,
}

impl Counts {
    /// Counts one listed patch.
    pub fn add(&mut self, patch: &Patch) {
        let counter = match patch.state {
            PatchState::Missing => &mut self.missing,
            PatchState::Installed => &mut self.installed,
            PatchState::InstalledOther => &mut self.installed_other,
            PatchState::InstalledRejected => &mut self.installed_rejected,
            PatchState::InstalledPendingReboot => &mut self.installed_pending_reboot,
            PatchState::Failed => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
        if patch.state == PatchState::Missing || patch.state == PatchState::Failed {
            let grave = if patch.compliance_level == ComplianceLevel::Critical {
                &mut self.critical_non_compliant
            } else if patch.security {
                &mut self.security_non_compliant
            } else {
                &mut self.other_non_compliant
            };
            *grave = grave.saturating_add(1);
        }
    }
}

/// An archive whose lists were read, and how old they are by its own word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The host; empty for a local source.
    pub site: String,
    /// `oldstable-security`
    pub suite: String,
    /// `bookworm-security`
    pub codename: String,
    /// When it was published, as its Release file writes it.
    pub date: String,
    /// Until when it calls itself current; past that its lists still count.
    pub valid_until: String,
    /// Whether its offers count as security updates.
    pub security: bool,
}

/// The outcome of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchReport {
    /// The baseline's id.
    pub baseline_id: String,
    /// The baseline's name.
    pub baseline_name: String,
    /// What the node runs, `Debian12`.
    pub product: String,
    /// How many of each.
    pub counts: Counts,
    /// By name, then architecture.
    pub patches: Vec<Patch>,
    /// What the scan went by.
    pub sources: Vec<Source>,
    /// What was passed over.
    pub warnings: Warnings,
}

/// Columns of [`PatchReport::patches_table`], the key first.
pub const PATCH_COLUMNS: [&str; 12] = [
    "Name",
    "Architecture",
    "Version",
    "InstalledVersion",
    "State",
    "Classification",
    "Severity",
    "ComplianceLevel",
    "Security",
    "Held",
    "InstalledTime",
    "CVEIds",
];

impl PatchReport {
    /// The patches as a report's table, of which a delta can be made.
    ///
    /// # Errors
    /// [`TableError`] above the wire's bounds.
    pub fn patches_table(&self) -> Result<Table, TableError> {
        let truth = |value: bool| if value { "true" } else { "" }.to_owned();
        let rows = self.patches.iter().map(|patch| {
            vec![
                patch.name.clone(),
                patch.architecture.clone(),
                patch.version.clone(),
                // Only where it says something new.
                match patch.installed_version == patch.version {
                    true => String::new(),
                    false => patch.installed_version.clone(),
                },
                patch.state.as_str().to_owned(),
                patch.classification.clone(),
                patch.severity.clone(),
                patch.compliance_level.as_str().to_owned(),
                truth(patch.security),
                truth(patch.held),
                patch
                    .installed_seconds
                    .map_or_else(String::new, |s| s.to_string()),
                patch.cve_ids.join(","),
            ]
        });
        table(2, &PATCH_COLUMNS, rows)
    }
}
