//! `DescribeInstanceInformation`, `DeregisterManagedInstance`, `UpdateManagedInstanceRole`.
//! Never shows a node that was deregistered.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter::{self, Condition, Key, Test};
use holdfast_aws_api::shape::nodes::*;
use holdfast_protocol::NodeId;

use super::context::{Context, non_empty, timestamp};
use crate::hub::NodeChangeError;
use crate::store::{Node, NodeFilter, NodeFilterKey};

/// What kind of source a node is (`InstanceInformation`, *SourceType*).
const SOURCE_TYPE: &str = "AWS::SSM::ManagedInstance";

pub(super) async fn describe(
    context: &Context<'_>,
    asked: DescribeInstanceInformationRequest,
) -> Result<DescribeInstanceInformationResult, ApiError> {
    let conditions = filter::nodes(&asked)?;
    let pager = context.pager(
        "DescribeInstanceInformation",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let mut filters = Vec::with_capacity(conditions.len());
    for condition in conditions {
        match store_filter(&condition) {
            Wanted::Filter(filter) => filters.push(filter),
            Wanted::All => {}
            Wanted::None => return Ok(DescribeInstanceInformationResult::default()),
        }
    }
    let listed = context.store().nodes(&filters, &pager.page).await;
    let listed = listed.map_err(|error| context.store_error(&error))?;
    Ok(DescribeInstanceInformationResult {
        instance_information_list: listed.items.iter().map(shown).collect(),
        next_token: pager.token(listed.next)?,
    })
}

/// What a condition leaves of the nodes.
enum Wanted {
    All,
    None,
    Filter(NodeFilter),
}

fn store_filter(condition: &Condition) -> Wanted {
    let Test::Text { values, .. } = &condition.test else {
        return Wanted::None;
    };
    let key = match &condition.key {
        Key::Named("InstanceIds" | "SourceIds") => NodeFilterKey::InstanceIds,
        Key::Named("AgentVersion") => NodeFilterKey::AgentVersion,
        Key::Named("PingStatus") => NodeFilterKey::PingStatus,
        Key::Named("PlatformTypes") => NodeFilterKey::PlatformTypes,
        Key::Named("ActivationIds") => NodeFilterKey::ActivationIds,
        Key::Named("IamRole") => NodeFilterKey::IamRole,
        Key::Named("ResourceType") => NodeFilterKey::ResourceType,
        Key::Named("SourceTypes") if condition.is_met_by(Some(SOURCE_TYPE)) => return Wanted::All,
        Key::TagKey => NodeFilterKey::TagKey,
        Key::Tag(name) => NodeFilterKey::Tag(name.clone()),
        // No node has an association yet, so none has a status of one.
        Key::Named(_) | Key::Attribute { .. } => return Wanted::None,
    };
    Wanted::Filter(NodeFilter {
        key,
        values: values.clone(),
    })
}

fn shown(node: &Node) -> InstanceInformation {
    InstanceInformation {
        instance_id: Some(node.id.to_string()),
        ping_status: Some(node.connectivity.as_str().to_owned()),
        last_ping_date_time: Some(timestamp(node.last_ping)),
        is_latest_version: Some(node.agent_version == env!("CARGO_PKG_VERSION")),
        agent_version: non_empty(&node.agent_version),
        platform_type: Some("Linux".to_owned()),
        platform_name: non_empty(&node.platform_name),
        platform_version: non_empty(&node.platform_version),
        activation_id: non_empty(&node.activation_id),
        iam_role: non_empty(&node.iam_role),
        registration_date: Some(timestamp(node.registered)),
        resource_type: Some("ManagedInstance".to_owned()),
        name: non_empty(&node.name),
        ip_address: non_empty(&node.ip_address),
        computer_name: non_empty(&node.computer_name),
        source_id: Some(node.id.to_string()),
        source_type: Some(SOURCE_TYPE.to_owned()),
        // Nodes have no associations yet, so there is nothing to say about any.
        association_status: None,
        last_association_execution_date: None,
        last_successful_association_execution_date: None,
        association_overview: None,
        // Only nodes of other services carry one.
        source_location: None,
    }
}

/// The node that a request means by its id.
pub(super) fn node_id(text: &str) -> Result<NodeId, ApiError> {
    text.parse().map_err(|_| unknown(text))
}

/// The node that a request means, which must be registered.
pub(super) async fn registered(context: &Context<'_>, text: &str) -> Result<NodeId, ApiError> {
    let id = node_id(text)?;
    let node = context.store().node(id).await;
    let node = node.map_err(|error| context.store_error(&error))?;
    match node.filter(|node| node.deregistered.is_none()) {
        Some(_) => Ok(id),
        None => Err(unknown(text)),
    }
}

/// The error for a node that is not registered.
pub(super) fn unknown(id: &str) -> ApiError {
    ApiError::invalid_instance_id(format!(
        "{id} is not a node that is registered here; DescribeInstanceInformation lists those there are."
    ))
}

pub(super) async fn deregister(
    context: &Context<'_>,
    asked: DeregisterManagedInstanceRequest,
) -> Result<DeregisterManagedInstanceResult, ApiError> {
    let id = node_id(&asked.instance_id)?;
    match context.hub().deregister(context.actor(), id).await {
        Ok(()) => Ok(DeregisterManagedInstanceResult {}),
        Err(NodeChangeError::NoSuchNode(_)) => Err(unknown(&asked.instance_id)),
        Err(NodeChangeError::Store(error)) => Err(context.store_error(&error)),
    }
}

pub(super) async fn update_role(
    context: &Context<'_>,
    asked: UpdateManagedInstanceRoleRequest,
) -> Result<UpdateManagedInstanceRoleResult, ApiError> {
    let id = node_id(&asked.instance_id)?;
    let role = context.role(&asked.iam_role).map_err(|foreign| {
        // No error of the operation's own is about its role.
        ApiError::validation(format!(
            "1 validation error detected: value '{}' at 'iamRole' cannot be taken: {foreign}.",
            asked.iam_role
        ))
    })?;
    let set = context
        .store()
        .set_node_role(context.actor(), id, role.to_owned());
    match set.await.map_err(|error| context.store_error(&error))? {
        true => Ok(UpdateManagedInstanceRoleResult {}),
        false => Err(unknown(&asked.instance_id)),
    }
}
