//! Nodes: what is known of them, their role, their end.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use std::collections::BTreeMap;

use super::Timestamp;
use super::shapes;

shapes! {
    /// What `DescribeInstanceInformation` is asked.
    pub struct DescribeInstanceInformationRequest {
        instance_information_filter_list: Option<Vec<InstanceInformationFilter>>,
        filters: Option<Vec<InstanceInformationStringFilter>>,
        max_results: Option<i32>,
        next_token: Option<String>,
    }

    /// The older form of a node filter: its key is one of a fixed set.
    pub struct InstanceInformationFilter {
        #[serde(rename = "key")]
        key: String,
        #[serde(rename = "valueSet")]
        value_set: Vec<String>,
    }

    /// Narrows nodes to those with one of these values; the key may be a tag.
    pub struct InstanceInformationStringFilter {
        key: String,
        values: Vec<String>,
    }

    /// What `DescribeInstanceInformation` answers.
    pub struct DescribeInstanceInformationResult {
        #[serde(default)]
        instance_information_list: Vec<InstanceInformation>,
        next_token: Option<String>,
    }

    /// What is known of a node.
    pub struct InstanceInformation {
        instance_id: Option<String>,
        ping_status: Option<String>,
        last_ping_date_time: Option<Timestamp>,
        agent_version: Option<String>,
        is_latest_version: Option<bool>,
        platform_type: Option<String>,
        platform_name: Option<String>,
        platform_version: Option<String>,
        activation_id: Option<String>,
        iam_role: Option<String>,
        registration_date: Option<Timestamp>,
        resource_type: Option<String>,
        name: Option<String>,
        #[serde(rename = "IPAddress")]
        ip_address: Option<String>,
        computer_name: Option<String>,
        association_status: Option<String>,
        last_association_execution_date: Option<Timestamp>,
        last_successful_association_execution_date: Option<Timestamp>,
        association_overview: Option<InstanceAggregatedAssociationOverview>,
        source_id: Option<String>,
        source_type: Option<String>,
        source_location: Option<String>,
    }

    /// How a node's associations fare, counted by status.
    pub struct InstanceAggregatedAssociationOverview {
        detailed_status: Option<String>,
        instance_association_status_aggregated_count: Option<BTreeMap<String, i32>>,
    }

    /// What `DeregisterManagedInstance` is asked.
    pub struct DeregisterManagedInstanceRequest {
        instance_id: String,
    }

    /// What `DeregisterManagedInstance` answers.
    pub struct DeregisterManagedInstanceResult {}

    /// What `UpdateManagedInstanceRole` is asked.
    pub struct UpdateManagedInstanceRoleRequest {
        instance_id: String,
        iam_role: String,
    }

    /// What `UpdateManagedInstanceRole` answers.
    pub struct UpdateManagedInstanceRoleResult {}
}
