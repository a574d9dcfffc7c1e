//! A patch baseline for Debian-likes, as `GetPatchBaseline` describes one, and what it says of a version.
//! Never looks at approval delays: Debian's archives do not say when a version appeared, so AWS ignores them too.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::package_manager::apt::pattern::glob_matches;

/// Approval rules of a baseline (`PatchRuleList`).
const RULES_MAX: usize = 10;
/// Filters of a group (`PatchFilterList`).
const FILTERS_MAX: usize = 5;
/// Values of a filter (`PatchFilterValueList`).
const VALUES_MAX: usize = 20;
/// Approved and rejected patches (`PatchIdList`).
const PATCHES_MAX: usize = 50;
/// The longest value of a filter or patch id.
const TEXT_BYTES_MAX: usize = 100;
/// The longest baseline file: all lists full come to less than half of it.
pub const BASELINE_BYTES_MAX: usize = 256 * 1024;

/// A baseline was refused.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Longer than [`BASELINE_BYTES_MAX`].
    #[error("the baseline has {bytes} bytes, {BASELINE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON of the expected shape.
    #[error("the baseline is not JSON as `aws ssm get-patch-baseline` prints it")]
    Json(#[source] serde_json::Error),
    /// A list or text is longer than the API allows.
    #[error("{member} has {length} entries or bytes, at most {limit} are allowed")]
    TooMany {
        /// The member concerned.
        member: &'static str,
        /// What it has.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A member that this node cannot honour.
    #[error("{member} cannot be honoured on Debian: {value}; allowed: {allowed}")]
    Unsupported {
        /// The member concerned.
        member: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        allowed: &'static str,
    },
}

/// How grave it is when an approved patch is missing; later ones are graver.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum ComplianceLevel {
    /// Nobody said.
    #[default]
    Unspecified,
    /// For information.
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

impl ComplianceLevel {
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
}

/// What becomes of rejected patches that are installed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RejectedAction {
    /// They may be there as dependencies.
    #[default]
    AllowAsDependency,
    /// They may not be there at all.
    Block,
}

/// By what a filter selects on Debian-likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKey {
    /// The distribution and its version, `Debian12`.
    Product,
    /// The archive section, `admin`.
    Section,
    /// `Required` … `Extra`.
    Priority,
}

/// Selects versions of which the key has one of the values; `*` is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// By what.
    pub key: FilterKey,
    /// Which values.
    pub values: Vec<String>,
}

/// Approves what all its filters select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it approves.
    pub filters: Vec<Filter>,
    /// Also what no security archive offers.
    pub enable_non_security: bool,
    /// How grave a missing one is.
    pub compliance_level: ComplianceLevel,
}

/// Which patches a node should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// `pb-…`, or the name of a built-in one.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What must match before anything is approved.
    pub global_filters: Vec<Filter>,
    /// Any of these approves.
    pub rules: Vec<Rule>,
    /// Patches approved by name.
    pub approved: Vec<String>,
    /// How grave a missing one of those is.
    pub approved_level: ComplianceLevel,
    /// Approved by name also without a security archive.
    pub approved_non_security: bool,
    /// Patches rejected by name.
    pub rejected: Vec<String>,
    /// What a rejected patch that is installed counts as.
    pub rejected_action: RejectedAction,
}

/// A version as a baseline sees it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The distribution and its version, `Debian12`.
    pub product: &'a str,
    /// The package.
    pub name: &'a str,
    /// Its architecture.
    pub architecture: &'a str,
    /// The version.
    pub version: &'a str,
    /// The archive section.
    pub section: &'a str,
    /// `required` … `extra`.
    pub priority: &'a str,
    /// Whether a security archive offers it.
    pub security: bool,
}

impl Baseline {
    /// AWS-DebianDefaultBaseline: security updates of every product, section and priority.
    #[must_use]
    pub fn debian_default() -> Self {
        let filter = |key, values: &[&str]| Filter {
            key,
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        let priorities = ["Required", "Important", "Standard", "Optional", "Extra"];
        Self {
            id: "AWS-DebianDefaultBaseline".to_owned(),
            name: "AWS-DebianDefaultBaseline".to_owned(),
            global_filters: Vec::new(),
            rules: vec![Rule {
                filters: vec![
                    filter(FilterKey::Product, &["*"]),
                    filter(FilterKey::Section, &["*"]),
                    filter(FilterKey::Priority, &priorities),
                ],
                enable_non_security: false,
                compliance_level: ComplianceLevel::Unspecified,
            }],
            approved: Vec::new(),
            approved_level: ComplianceLevel::Unspecified,
            approved_non_security: false,
            rejected: Vec::new(),
            rejected_action: RejectedAction::AllowAsDependency,
        }
    }

    /// Reads the JSON that `aws ssm get-patch-baseline` prints.
    ///
    /// # Errors
    /// [`BaselineError`] for what is no baseline, is out of the API's bounds, or asks for what
    /// Debian has not: nothing is passed over in silence.
    pub fn from_json(text: &str) -> Result<Self, BaselineError> {
        if text.len() > BASELINE_BYTES_MAX {
            return Err(BaselineError::TooLong { bytes: text.len() });
        }
        let wire: Wire = serde_json::from_str(text).map_err(BaselineError::Json)?;
        wire.into_baseline()
    }

    /// Whether what no security archive offers can be approved at all.
    #[must_use]
    pub fn approves_non_security(&self) -> bool {
        let by_rule = self.rules.iter().any(|rule| rule.enable_non_security);
        by_rule || (self.approved_non_security && !self.approved.is_empty())
    }

    /// How grave its absence is where the version is approved, the gravest of all reasons;
    /// `None` where it is not approved.
    #[must_use]
    pub fn approval(&self, facts: &Facts<'_>) -> Option<ComplianceLevel> {
        let passes = self
            .global_filters
            .iter()
            .all(|filter| filter.matches(facts));
        if !passes || self.rejects(facts) {
            return None;
        }
        let by_rule = self
            .rules
            .iter()
            .filter(|rule| rule.enable_non_security || facts.security)
            .filter(|rule| rule.filters.iter().all(|filter| filter.matches(facts)))
            .map(|rule| rule.compliance_level);
        let by_name = (self.approved_non_security || facts.security)
            .then(|| names_any(&self.approved, facts).then_some(self.approved_level))
            .flatten();
        by_rule.chain(by_name).max()
    }

    /// Whether the version is rejected by name.
    #[must_use]
    pub fn rejects(&self, facts: &Facts<'_>) -> bool {
        names_any(&self.rejected, facts)
    }
}

impl Filter {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        let actual = match self.key {
            FilterKey::Product => facts.product,
            FilterKey::Section => facts.section,
            FilterKey::Priority => facts.priority,
        };
        self.values
            .iter()
            .any(|value| value == "*" || value.eq_ignore_ascii_case(actual))
    }
}

/// Whether a list names the version in one of the forms that AWS accepts: `n`, `v`, `n.a`, `n-v`,
/// `a:v`, `n.a:v`, each with `*` and without regard to case.
fn names_any(patterns: &[String], facts: &Facts<'_>) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let Facts {
        name: n,
        architecture: a,
        version: v,
        ..
    } = *facts;
    let forms = [
        n.to_owned(),
        v.to_owned(),
        format!("{n}.{a}"),
        format!("{n}-{v}"),
        format!("{a}:{v}"),
        format!("{n}.{a}:{v}"),
    ];
    patterns.iter().any(|pattern| {
        forms
            .iter()
            .any(|form| glob_matches(pattern.as_bytes(), form.as_bytes()))
    })
}

/// The API's shape. What only describes the baseline is accepted and not needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Wire {
    baseline_id: Option<String>,
    #[serde(default)]
    name: String,
    operating_system: Option<String>,
    #[serde(default)]
    global_filters: WireGroup,
    #[serde(default)]
    approval_rules: WireRules,
    #[serde(default)]
    approved_patches: Vec<String>,
    #[serde(default)]
    approved_patches_compliance_level: ComplianceLevel,
    #[serde(default)]
    approved_patches_enable_non_security: bool,
    #[serde(default)]
    rejected_patches: Vec<String>,
    #[serde(default)]
    rejected_patches_action: RejectedAction,
    #[serde(default)]
    sources: Vec<IgnoredAny>,
    #[serde(rename = "PatchGroups")]
    _patch_groups: Option<IgnoredAny>,
    #[serde(rename = "CreatedDate")]
    _created_date: Option<IgnoredAny>,
    #[serde(rename = "ModifiedDate")]
    _modified_date: Option<IgnoredAny>,
    #[serde(rename = "Description")]
    _description: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct WireGroup {
    #[serde(default)]
    patch_filters: Vec<WireFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct WireFilter {
    key: String,
    values: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct WireRules {
    #[serde(default)]
    patch_rules: Vec<WireRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct WireRule {
    patch_filter_group: WireGroup,
    #[serde(default)]
    compliance_level: ComplianceLevel,
    #[serde(default)]
    enable_non_security: bool,
    #[serde(rename = "ApproveAfterDays")]
    _approve_after_days: Option<IgnoredAny>,
    #[serde(rename = "ApproveUntilDate")]
    _approve_until_date: Option<IgnoredAny>,
}

impl Wire {
    fn into_baseline(self) -> Result<Baseline, BaselineError> {
        let system = self.operating_system.unwrap_or_else(|| "DEBIAN".to_owned());
        if !matches!(system.as_str(), "DEBIAN" | "UBUNTU" | "RASPBIAN") {
            return Err(BaselineError::Unsupported {
                member: "OperatingSystem",
                value: system,
                allowed: "DEBIAN, UBUNTU, RASPBIAN",
            });
        }
        if !self.sources.is_empty() {
            return Err(BaselineError::Unsupported {
                member: "Sources",
                value: format!("{} of them", self.sources.len()),
                allowed: "none: name repositories in the node's own sources",
            });
        }
        within(
            "ApprovalRules",
            self.approval_rules.patch_rules.len(),
            RULES_MAX,
        )?;
        let rules = self.approval_rules.patch_rules.into_iter().map(|rule| {
            Ok(Rule {
                filters: rule.patch_filter_group.into_filters()?,
                enable_non_security: rule.enable_non_security,
                compliance_level: rule.compliance_level,
            })
        });
        Ok(Baseline {
            id: self.baseline_id.unwrap_or_else(|| self.name.clone()),
            name: self.name,
            global_filters: self.global_filters.into_filters()?,
            rules: rules.collect::<Result<_, _>>()?,
            approved: patches("ApprovedPatches", self.approved_patches)?,
            approved_level: self.approved_patches_compliance_level,
            approved_non_security: self.approved_patches_enable_non_security,
            rejected: patches("RejectedPatches", self.rejected_patches)?,
            rejected_action: self.rejected_patches_action,
        })
    }
}

impl WireGroup {
    fn into_filters(self) -> Result<Vec<Filter>, BaselineError> {
        within("PatchFilters", self.patch_filters.len(), FILTERS_MAX)?;
        let filters = self.patch_filters.into_iter().map(|filter| {
            within("Values", filter.values.len(), VALUES_MAX)?;
            for value in &filter.values {
                within("a value of a filter", value.len(), TEXT_BYTES_MAX)?;
            }
            let key = match filter.key.as_str() {
                "PRODUCT" => FilterKey::Product,
                "SECTION" => FilterKey::Section,
                "PRIORITY" => FilterKey::Priority,
                _ => {
                    return Err(BaselineError::Unsupported {
                        member: "PatchFilters.Key",
                        value: filter.key,
                        allowed: "PRODUCT, SECTION, PRIORITY",
                    });
                }
            };
            let values = filter.values;
            Ok(Filter { key, values })
        });
        filters.collect()
    }
}

fn patches(member: &'static str, list: Vec<String>) -> Result<Vec<String>, BaselineError> {
    within(member, list.len(), PATCHES_MAX)?;
    for patch in &list {
        within(member, patch.len(), TEXT_BYTES_MAX)?;
    }
    Ok(list)
}

fn within(member: &'static str, length: usize, limit: usize) -> Result<(), BaselineError> {
    if length > limit {
        return Err(BaselineError::TooMany {
            member,
            length,
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(name: &str, security: bool) -> Facts<'_> {
        Facts {
            product: "Debian12",
            name,
            architecture: "amd64",
            version: "1:2.0-1",
            section: "admin",
            priority: "optional",
            security,
        }
    }

    #[test]
    fn the_default_baseline_approves_security_updates_only() {
        let baseline = Baseline::debian_default();
        assert!(baseline.approval(&facts("a", true)).is_some());
        assert!(baseline.approval(&facts("a", false)).is_none());
        assert!(!baseline.approves_non_security());
    }

    #[test]
    fn the_gravest_of_all_reasons_counts() {
        let baseline = Baseline::from_json(
            r#"{"Name": "n", "BaselineId": "pb-1", "OperatingSystem": "DEBIAN",
                "ApprovalRules": {"PatchRules": [
                  {"PatchFilterGroup": {"PatchFilters": [{"Key": "SECTION", "Values": ["ADMIN"]}]},
                   "ComplianceLevel": "LOW", "ApproveAfterDays": 7, "EnableNonSecurity": true},
                  {"PatchFilterGroup": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["Debian11"]}]},
                   "ComplianceLevel": "CRITICAL", "EnableNonSecurity": true}]},
                "ApprovedPatches": ["a.amd*"], "ApprovedPatchesComplianceLevel": "HIGH"}"#,
        )
        .unwrap();
        assert_eq!(
            baseline.approval(&facts("a", true)),
            Some(ComplianceLevel::High)
        );
        assert_eq!(
            baseline.approval(&facts("a", false)),
            Some(ComplianceLevel::Low)
        );
        assert!(baseline.approves_non_security());
    }

    #[test]
    fn global_filters_and_rejections_come_before_approval() {
        let mut baseline = Baseline::debian_default();
        baseline.approved = vec!["a".to_owned()];
        baseline.rejected = vec!["b-1:2*".to_owned()];
        assert!(baseline.approval(&facts("b", true)).is_none());
        assert!(baseline.rejects(&facts("b", false)));
        baseline.global_filters = vec![Filter {
            key: FilterKey::Section,
            values: vec!["net".to_owned()],
        }];
        assert!(baseline.approval(&facts("a", true)).is_none());
    }

    #[test]
    fn every_form_of_a_name_is_understood() {
        for pattern in [
            "A",
            "1:2.0-1",
            "a.amd64",
            "a-1:2.0-1",
            "amd64:1:2.0-1",
            "a.amd64:1:2.0-1",
            "a*",
        ] {
            assert!(
                names_any(&[pattern.to_owned()], &facts("a", false)),
                "{pattern}"
            );
        }
        assert!(!names_any(
            &["aa".to_owned(), "a.i386".to_owned()],
            &facts("a", false)
        ));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (text, named) in [
            (r#"{"OperatingSystem": "WINDOWS"}"#, "WINDOWS"),
            (
                r#"{"GlobalFilters": {"PatchFilters": [{"Key": "MSRC_SEVERITY", "Values": []}]}}"#,
                "MSRC_SEVERITY",
            ),
            (r#"{"Sources": [{}]}"#, "Sources"),
        ] {
            let refused = Baseline::from_json(text).unwrap_err();
            assert!(refused.to_string().contains(named), "{refused}");
        }
        let patches = vec!["x"; PATCHES_MAX + 1];
        let text = serde_json::json!({ "RejectedPatches": patches }).to_string();
        assert!(matches!(
            Baseline::from_json(&text),
            Err(BaselineError::TooMany {
                limit: PATCHES_MAX,
                ..
            })
        ));
        assert!(matches!(
            Baseline::from_json(r#"{"Nmae": ""}"#),
            Err(BaselineError::Json(_))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([{}\":,\\[\\]]|Name|Rules|1|PatchRules|ApprovalRules){0,40}") {
            let _ = Baseline::from_json(&text);
        }
    }
}
