//! Commands and their invocations: what is shared by the operations on them.
//! Never decides a status: the core did, and the store keeps it.

mod cancel;
mod filters;
mod invocation;
mod list;
mod plugins;
mod send;

pub(super) use cancel::cancel;
pub(super) use invocation::get;
pub(super) use list::{list, list_invocations};
pub(super) use send::send;

use holdfast_aws_api::ApiError;
use holdfast_aws_api::shape::Parameters;
use holdfast_aws_api::shape::commands::{self as shape, Target};
use holdfast_protocol::CommandId;

use super::context::{count, timestamp};
use crate::store::Command;

/// The command that a request means by its id.
fn command_id(text: &str) -> Result<CommandId, ApiError> {
    text.parse().map_err(|_| unknown_command(text))
}

/// The error for a command that is not there.
fn unknown_command(id: &str) -> ApiError {
    ApiError::invalid_command_id(format!(
        "There is no command {id}; ListCommands lists those there are."
    ))
}

/// A command as replies show it.
fn shown(command: Command) -> shape::Command {
    let targets = command.targets.into_iter().map(|(key, values)| Target {
        key: Some(key),
        values: Some(values),
    });
    shape::Command {
        command_id: Some(command.id.to_string()),
        document_name: Some(command.document_name),
        document_version: Some(command.document_version),
        comment: Some(command.comment),
        expires_after: Some(timestamp(command.expires)),
        parameters: Some(Parameters(command.parameters)),
        instance_ids: Some(command.instance_ids),
        targets: Some(targets.collect()),
        requested_date_time: Some(timestamp(command.requested)),
        status: Some(command.details.command_status().as_str().to_owned()),
        status_details: Some(command.details.api_name().to_owned()),
        max_concurrency: Some(command.max_concurrency),
        max_errors: Some(command.max_errors),
        target_count: Some(count(command.target_count)),
        completed_count: Some(count(command.completed_count)),
        error_count: Some(count(command.error_count)),
        delivery_timed_out_count: Some(count(command.delivery_timed_out_count)),
        timeout_seconds: Some(count(command.timeout_seconds)),
        ..shape::Command::default()
    }
}
