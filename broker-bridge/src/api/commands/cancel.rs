//! `CancelCommand`.
//! Never changes what has ended.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::shape::commands::{CancelCommandRequest, CancelCommandResult};
use holdfast_protocol::NodeId;

use super::send::refuse_repeats;
use super::{command_id, unknown_command};
use crate::api::context::Context;
use crate::api::nodes;
use crate::hub::CancelError;

pub(in crate::api) async fn cancel(
    context: &Context<'_>,
    asked: CancelCommandRequest,
) -> Result<CancelCommandResult, ApiError> {
    let id = command_id(&asked.command_id)?;
    let ids = asked.instance_ids.unwrap_or_default();
    refuse_repeats(&ids)?;
    let nodes: Result<Vec<NodeId>, ApiError> = ids.iter().map(|id| nodes::node_id(id)).collect();
    let cancelled = context
        .hub()
        .cancel_command(context.actor(), id, nodes?)
        .await;
    cancelled.map_err(|error| match error {
        CancelError::NoSuchCommand(_) => unknown_command(&asked.command_id),
        CancelError::NotATarget { .. } => ApiError::invalid_instance_id(format!("{error}.")),
        CancelError::Store(error) => context.store_error(&error),
    })?;
    Ok(CancelCommandResult {})
}
