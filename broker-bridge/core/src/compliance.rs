//! Compliance of a node as its patches show it: items, and their summary by severity.
//! Never invents an item: without a scan there is none.

use crate::patch::{Patch, PatchSummary};
use serde::{Deserialize, Serialize};

/// The compliance type of patches.
pub const PATCH_TYPE: &str = "Patch";

/// `ComplianceSeverity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// None given.
    Unspecified,
    /// Informational.
    Informational,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// The API's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Informational => "INFORMATIONAL",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }

    /// The severity that a patch's own word means; distributions have their own for each.
    #[must_use]
    pub fn of_patch(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "important" | "high" => Self::High,
            "medium" | "moderate" => Self::Medium,
            "low" => Self::Low,
            "informational" | "negligible" => Self::Informational,
            _ => Self::Unspecified,
        }
    }
}

/// One item (`ComplianceItem`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Unique on the node.
    pub id: String,
    /// The patch's title.
    pub title: String,
    /// Whether it complies.
    pub compliant: bool,
    /// How much it matters.
    pub severity: Severity,
    /// `Classification`, `PatchState`, `PatchSeverity`, `InstalledTime`, `PatchBaselineId`,
    /// `PatchGroup`, `CVEIds`, `DocumentName`: those that are not empty.
    pub details: Vec<(&'static str, String)>,
}

/// Items by severity (`SeveritySummary`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the members are the API's own, by its names")]
pub struct BySeverity {
    pub critical: u32,
    pub high: u32,
    pub medium: u32,
    pub low: u32,
    pub informational: u32,
    pub unspecified: u32,
}

impl BySeverity {
    /// Counts one more.
    pub fn add(&mut self, severity: Severity) {
        let count = match severity {
            Severity::Critical => &mut self.critical,
            Severity::High => &mut self.high,
            Severity::Medium => &mut self.medium,
            Severity::Low => &mut self.low,
            Severity::Informational => &mut self.informational,
            Severity::Unspecified => &mut self.unspecified,
        };
        *count = count.saturating_add(1);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u32 {
        [
            self.critical,
            self.high,
            self.medium,
            self.low,
            self.informational,
            self.unspecified,
        ]
        .into_iter()
        .fold(0, u32::saturating_add)
    }
}

/// A node's compliance in one type (`ResourceComplianceSummaryItem`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Items that comply.
    pub compliant: BySeverity,
    /// Items that do not.
    pub non_compliant: BySeverity,
    /// Highest severity of those that do not.
    pub overall: Severity,
    /// When the scan ended, as the node wrote it.
    pub execution_time: String,
    /// The command or schedule that scanned.
    pub execution_id: String,
    /// Such as `Command`.
    pub execution_type: String,
}

impl Summary {
    /// Whether the node complies: every item does.
    #[must_use]
    pub fn is_compliant(&self) -> bool {
        self.non_compliant.total() == 0
    }
}

/// What a state means (`PatchComplianceDataState`): installed in whatever approved way complies.
fn complies(state: &str) -> bool {
    !matches!(
        state,
        "Missing" | "Failed" | "InstalledRejected" | "InstalledPendingReboot"
    )
}

/// The items of a node's patches. What does not apply is no item.
pub fn items<'a>(
    summary: &'a PatchSummary,
    patches: impl IntoIterator<Item = Patch> + 'a,
) -> impl Iterator<Item = Item> + 'a {
    patches
        .into_iter()
        .filter(|patch| patch.state != "NotApplicable")
        .map(|patch| {
            let id = [patch.kb_id.as_str(), patch.title.as_str()]
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_default();
            // A KBId may end with the architecture already, as apt's packages are named.
            let named = patch.arch.is_empty()
                || id
                    .strip_suffix(&patch.arch)
                    .is_some_and(|name| name.ends_with('.'));
            let id = if named {
                id.to_owned()
            } else {
                format!("{id}.{}", patch.arch)
            };
            let details = [
                ("Classification", patch.classification),
                ("CVEIds", patch.cve_ids),
                ("DocumentName", "AWS-RunPatchBaseline".to_owned()),
                ("InstalledTime", patch.installed_time),
                ("PatchBaselineId", summary.baseline_id.clone()),
                ("PatchGroup", summary.patch_group.clone()),
                ("PatchSeverity", patch.severity.clone()),
                ("PatchState", patch.state.clone()),
            ];
            Item {
                id,
                title: patch.title,
                compliant: complies(&patch.state),
                severity: Severity::of_patch(&patch.severity),
                details: details
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .collect(),
            }
        })
}

/// Sums items up.
#[must_use]
pub fn summarise(scan: &PatchSummary, items: impl IntoIterator<Item = Item>) -> Summary {
    let mut summary = Summary {
        compliant: BySeverity::default(),
        non_compliant: BySeverity::default(),
        overall: Severity::Unspecified,
        execution_time: scan.operation_end_time.clone(),
        execution_id: scan.execution_id.clone(),
        execution_type: scan.execution_type.clone(),
    };
    for item in items {
        if item.compliant {
            summary.compliant.add(item.severity);
        } else {
            summary.non_compliant.add(item.severity);
            summary.overall = summary.overall.max(item.severity);
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(title: &str, state: &str, severity: &str) -> Patch {
        Patch {
            title: title.into(),
            state: state.into(),
            severity: severity.into(),
            ..Patch::default()
        }
    }

    #[test]
    fn what_is_missing_does_not_comply_and_what_does_not_apply_is_no_item() {
        let scan = PatchSummary {
            baseline_id: "pb-1".into(),
            ..PatchSummary::default()
        };
        let patches = [
            patch("a", "Missing", "Critical"),
            patch("b", "Installed", "Important"),
            patch("c", "InstalledOther", ""),
            patch("d", "NotApplicable", ""),
            patch("e", "InstalledRejected", "low"),
        ];
        let items: Vec<_> = items(&scan, patches).collect();
        assert_eq!(items.len(), 4);
        assert_eq!(
            items[0].details,
            [
                ("DocumentName", "AWS-RunPatchBaseline".to_owned()),
                ("PatchBaselineId", "pb-1".to_owned()),
                ("PatchSeverity", "Critical".to_owned()),
                ("PatchState", "Missing".to_owned()),
            ]
        );
        let summary = summarise(&scan, items);
        assert_eq!(
            (summary.compliant.total(), summary.non_compliant.total()),
            (2, 2)
        );
        assert_eq!((summary.compliant.high, summary.non_compliant.low), (1, 1));
        assert_eq!(summary.overall, Severity::Critical);
        assert!(!summary.is_compliant());
    }

    #[test]
    fn a_node_without_findings_complies() {
        assert!(summarise(&PatchSummary::default(), []).is_compliant());
    }
}
