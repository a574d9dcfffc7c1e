//! Patch states of nodes, and the patches behind them.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use super::Timestamp;
use super::shapes;

shapes! {
    /// What `DescribeInstancePatchStates` is asked.
    pub struct DescribeInstancePatchStatesRequest {
        instance_ids: Vec<String>,
        next_token: Option<String>,
        max_results: Option<i32>,
    }

    /// What `DescribeInstancePatchStates` answers.
    pub struct DescribeInstancePatchStatesResult {
        #[serde(default)]
        instance_patch_states: Vec<InstancePatchState>,
        next_token: Option<String>,
    }

    /// A node's patches, counted by state.
    pub struct InstancePatchState {
        instance_id: String,
        patch_group: String,
        baseline_id: String,
        snapshot_id: Option<String>,
        install_override_list: Option<String>,
        owner_information: Option<String>,
        installed_count: Option<i32>,
        installed_other_count: Option<i32>,
        installed_pending_reboot_count: Option<i32>,
        installed_rejected_count: Option<i32>,
        missing_count: Option<i32>,
        failed_count: Option<i32>,
        unreported_not_applicable_count: Option<i32>,
        not_applicable_count: Option<i32>,
        available_security_update_count: Option<i32>,
        operation_start_time: Timestamp,
        operation_end_time: Timestamp,
        operation: String,
        last_no_reboot_install_operation_time: Option<Timestamp>,
        reboot_option: Option<String>,
        critical_non_compliant_count: Option<i32>,
        security_non_compliant_count: Option<i32>,
        other_non_compliant_count: Option<i32>,
    }

    /// What `DescribeInstancePatches` is asked.
    pub struct DescribeInstancePatchesRequest {
        instance_id: String,
        filters: Option<Vec<PatchOrchestratorFilter>>,
        next_token: Option<String>,
        max_results: Option<i32>,
    }

    /// Narrows patches to those with one of these values.
    pub struct PatchOrchestratorFilter {
        key: Option<String>,
        values: Option<Vec<String>>,
    }

    /// What `DescribeInstancePatches` answers.
    pub struct DescribeInstancePatchesResult {
        #[serde(default)]
        patches: Vec<PatchComplianceData>,
        next_token: Option<String>,
    }

    /// A patch's state on a node.
    pub struct PatchComplianceData {
        title: String,
        #[serde(rename = "KBId")]
        kb_id: String,
        classification: String,
        severity: String,
        state: String,
        installed_time: Timestamp,
        #[serde(rename = "CVEIds")]
        cve_ids: Option<String>,
    }
}
