//! Patch states in the API's terms: the summary of a scan, and each patch with its state.
//! Never decides which patches are missing: the node's scan did.
//!
//! A scan comes as two reports, `AWS:PatchSummary` with one row and `AWS:PatchState` with a row
//! for each patch; columns have the names of the API's members and are read by name.

use crate::inventory::cell;
use holdfast_documents::DocumentHash;
use holdfast_protocol::report::Table;
use serde::{Deserialize, Serialize};

/// Report type of a scan's summary.
pub const SUMMARY_TYPE: &str = "AWS:PatchSummary";
/// Report type of a scan's patches.
pub const STATE_TYPE: &str = "AWS:PatchState";

/// Summary of the last scan or installation on a node (`InstancePatchState`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the members are the API's own, by its names")]
pub struct PatchSummary {
    pub baseline_id: String,
    pub patch_group: String,
    pub snapshot_id: String,
    /// `Scan` or `Install`.
    pub operation: String,
    /// As the node wrote it: RFC 3339, or seconds since 1970.
    pub operation_start_time: String,
    /// As [`Self::operation_start_time`].
    pub operation_end_time: String,
    pub installed: u32,
    pub installed_other: u32,
    pub installed_pending_reboot: u32,
    pub installed_rejected: u32,
    pub missing: u32,
    pub failed: u32,
    pub not_applicable: u32,
    pub critical_non_compliant: u32,
    pub security_non_compliant: u32,
    pub other_non_compliant: u32,
    pub owner_information: String,
    pub install_override_list: String,
    pub reboot_option: String,
    pub execution_id: String,
    pub execution_type: String,
}

/// One patch on a node (`PatchComplianceData`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the members are the API's own, by its names")]
pub struct Patch {
    pub title: String,
    pub arch: String,
    pub kb_id: String,
    pub classification: String,
    pub severity: String,
    /// `Missing`, `Installed`, …, as [`state_name`] writes it.
    pub state: String,
    pub installed_time: String,
    pub cve_ids: String,
}

/// The API's spelling of a state (`PatchComplianceDataState`), whatever the case it came in:
/// `INSTALLED_OTHER` and `InstalledOther` are one.
#[must_use]
pub fn state_name(state: &str) -> &str {
    const NAMES: [&str; 8] = [
        "Installed",
        "InstalledOther",
        "InstalledPendingReboot",
        "InstalledRejected",
        "Missing",
        "NotApplicable",
        "Failed",
        "AvailableSecurityUpdate",
    ];
    let same = |name: &&str| {
        let plain = state.chars().filter(|c| *c != '_');
        plain
            .map(|c| c.to_ascii_lowercase())
            .eq(name.chars().map(|c| c.to_ascii_lowercase()))
    };
    NAMES.into_iter().find(same).unwrap_or(state)
}

/// A baseline's id in the API's form, `pb-` and 17 hexadecimal digits. Nodes name a baseline without an id, such as
/// the built-in ones, by its name: its id is then taken from the name's hash, the same on every bridge.
#[must_use]
pub fn baseline_id(given: &str) -> String {
    let digits = given.strip_prefix("pb-").unwrap_or_default();
    let is_id = digits.len() == 17
        && digits
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_id || given.is_empty() {
        return given.to_owned();
    }
    let hash = DocumentHash::of(given.as_bytes()).to_string();
    let digits: String = hash.chars().take(17).collect();
    format!("pb-{digits}")
}

impl PatchSummary {
    /// Reads the one row of a summary's table; `None` when it has none.
    #[must_use]
    pub fn from_table(table: &Table) -> Option<Self> {
        table.rows().first()?;
        let text = |column: &str| cell(table, 0, column).to_owned();
        let count = |column: &str| cell(table, 0, column).trim().parse().unwrap_or(0);
        Some(Self {
            baseline_id: baseline_id(cell(table, 0, "BaselineId")),
            patch_group: text("PatchGroup"),
            snapshot_id: text("SnapshotId"),
            operation: text("Operation"),
            operation_start_time: text("OperationStartTime"),
            operation_end_time: text("OperationEndTime"),
            installed: count("InstalledCount"),
            installed_other: count("InstalledOtherCount"),
            installed_pending_reboot: count("InstalledPendingRebootCount"),
            installed_rejected: count("InstalledRejectedCount"),
            missing: count("MissingCount"),
            failed: count("FailedCount"),
            not_applicable: count("NotApplicableCount"),
            critical_non_compliant: count("CriticalNonCompliantCount"),
            security_non_compliant: count("SecurityNonCompliantCount"),
            other_non_compliant: count("OtherNonCompliantCount"),
            owner_information: text("OwnerInformation"),
            install_override_list: text("InstallOverrideList"),
            reboot_option: text("RebootOption"),
            execution_id: text("ExecutionId"),
            execution_type: text("ExecutionType"),
        })
    }
}

/// Reads the patches of a table, in the order of their keys.
pub fn patches(table: &Table) -> impl Iterator<Item = Patch> + '_ {
    (0..table.rows().len()).map(|row| {
        let text = |column: &str| cell(table, row, column).to_owned();
        Patch {
            title: text("Title"),
            arch: text("Arch"),
            kb_id: text("KBId"),
            classification: text("Classification"),
            severity: text("Severity"),
            state: state_name(cell(table, row, "State")).to_owned(),
            installed_time: text("InstalledTime"),
            cve_ids: text("CVEIds"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::report::{Cell, Row};

    fn table(columns: &[&str], rows: &[&[&str]]) -> Table {
        let row = |cells: &&[&str]| {
            Row::new(cells.iter().map(|cell| Cell::new(*cell).unwrap()).collect()).unwrap()
        };
        Table::new(1, columns, rows.iter().map(row).collect()).unwrap()
    }

    #[test]
    fn columns_are_read_by_name_and_may_be_missing() {
        let summary = table(
            &["BaselineId", "MissingCount", "Operation", "FailedCount"],
            &[&["pb-0123456789abcdef0", "7", "Scan", "many"]],
        );
        let summary = PatchSummary::from_table(&summary).unwrap();
        assert_eq!(
            (summary.baseline_id.as_str(), summary.missing),
            ("pb-0123456789abcdef0", 7)
        );
        assert_eq!((summary.failed, summary.patch_group.as_str()), (0, ""));
        assert_eq!(PatchSummary::from_table(&table(&["BaselineId"], &[])), None);
    }

    #[test]
    fn a_baseline_that_is_named_has_an_id_of_the_apis_form_all_the_same() {
        let built_in = baseline_id("AWS-DebianDefaultPatchBaseline");
        assert_eq!(built_in, baseline_id("AWS-DebianDefaultPatchBaseline"));
        assert_ne!(built_in, baseline_id("pb-1"));
        for id in [built_in, baseline_id("pb-0123456789ABCDEF0")] {
            assert_eq!(baseline_id(&id), id, "an id stays what it is");
            assert_eq!(id.len(), 20);
        }
    }

    #[test]
    fn states_have_the_apis_spelling() {
        for (found, name) in [
            ("MISSING", "Missing"),
            ("INSTALLED_OTHER", "InstalledOther"),
            ("InstalledPendingReboot", "InstalledPendingReboot"),
            ("Odd", "Odd"),
        ] {
            assert_eq!(state_name(found), name);
        }
        let states = table(
            &["Title", "State"],
            &[&["bash", "MISSING"], &["apt", "INSTALLED"]],
        );
        let states: Vec<_> = patches(&states)
            .map(|patch| (patch.title, patch.state))
            .collect();
        assert_eq!(
            states,
            [
                ("apt".into(), "Installed".into()),
                ("bash".into(), "Missing".into())
            ]
        );
    }
}
