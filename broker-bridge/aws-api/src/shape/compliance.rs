//! Compliance: items, and summaries by type and by node.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use std::collections::BTreeMap;

use super::Timestamp;
use super::shapes;

shapes! {
    /// What `ListComplianceItems` is asked.
    pub struct ListComplianceItemsRequest {
        filters: Option<Vec<ComplianceStringFilter>>,
        resource_ids: Option<Vec<String>>,
        resource_types: Option<Vec<String>>,
        next_token: Option<String>,
        max_results: Option<i32>,
    }

    /// Narrows compliance data by an attribute.
    pub struct ComplianceStringFilter {
        key: Option<String>,
        values: Option<Vec<String>>,
        r#type: Option<String>,
    }

    /// What `ListComplianceItems` answers.
    pub struct ListComplianceItemsResult {
        #[serde(default)]
        compliance_items: Vec<ComplianceItem>,
        next_token: Option<String>,
    }

    /// Whether a resource complies in one point.
    pub struct ComplianceItem {
        compliance_type: Option<String>,
        resource_type: Option<String>,
        resource_id: Option<String>,
        id: Option<String>,
        title: Option<String>,
        status: Option<String>,
        severity: Option<String>,
        execution_summary: Option<ComplianceExecutionSummary>,
        details: Option<BTreeMap<String, String>>,
    }

    /// When and by what compliance was found.
    pub struct ComplianceExecutionSummary {
        execution_time: Timestamp,
        execution_id: Option<String>,
        execution_type: Option<String>,
    }

    /// What `ListComplianceSummaries` is asked.
    pub struct ListComplianceSummariesRequest {
        filters: Option<Vec<ComplianceStringFilter>>,
        next_token: Option<String>,
        max_results: Option<i32>,
    }

    /// What `ListComplianceSummaries` answers.
    pub struct ListComplianceSummariesResult {
        #[serde(default)]
        compliance_summary_items: Vec<ComplianceSummaryItem>,
        next_token: Option<String>,
    }

    /// Compliance counted over all resources, of one type.
    pub struct ComplianceSummaryItem {
        compliance_type: Option<String>,
        compliant_summary: Option<CompliantSummary>,
        non_compliant_summary: Option<NonCompliantSummary>,
    }

    /// What complies, by severity.
    pub struct CompliantSummary {
        compliant_count: Option<i32>,
        severity_summary: Option<SeveritySummary>,
    }

    /// Counts by severity.
    pub struct SeveritySummary {
        critical_count: Option<i32>,
        high_count: Option<i32>,
        medium_count: Option<i32>,
        low_count: Option<i32>,
        informational_count: Option<i32>,
        unspecified_count: Option<i32>,
    }

    /// What does not comply, by severity.
    pub struct NonCompliantSummary {
        non_compliant_count: Option<i32>,
        severity_summary: Option<SeveritySummary>,
    }

    /// What `ListResourceComplianceSummaries` is asked.
    pub struct ListResourceComplianceSummariesRequest {
        filters: Option<Vec<ComplianceStringFilter>>,
        next_token: Option<String>,
        max_results: Option<i32>,
    }

    /// What `ListResourceComplianceSummaries` answers.
    pub struct ListResourceComplianceSummariesResult {
        #[serde(default)]
        resource_compliance_summary_items: Vec<ResourceComplianceSummaryItem>,
        next_token: Option<String>,
    }

    /// Compliance counted over one resource, of one type.
    pub struct ResourceComplianceSummaryItem {
        compliance_type: Option<String>,
        resource_type: Option<String>,
        resource_id: Option<String>,
        status: Option<String>,
        overall_severity: Option<String>,
        execution_summary: Option<ComplianceExecutionSummary>,
        compliant_summary: Option<CompliantSummary>,
        non_compliant_summary: Option<NonCompliantSummary>,
    }
}
