//! `GetCommandInvocation`: one command on one node, or one step of it.
//! Never waits for anything: an invocation is there as soon as `SendCommand` has answered.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::shape::commands::{GetCommandInvocationRequest, GetCommandInvocationResult};
use holdfast_protocol::up::OutputStream;

use super::{command_id, plugins};
use crate::api::context::Context;
use crate::api::{nodes, output};
use crate::store::{Command, InvocationRecord, UnixMs};

/// Standard output in the reply, in characters (`GetCommandInvocationResult`).
const STDOUT_CHARS_MAX: usize = 24_000;
/// Standard error in the reply, in characters (the same).
const STDERR_CHARS_MAX: usize = 8_000;

pub(in crate::api) async fn get(
    context: &Context<'_>,
    asked: GetCommandInvocationRequest,
) -> Result<GetCommandInvocationResult, ApiError> {
    let id = command_id(&asked.command_id)?;
    let node = nodes::node_id(&asked.instance_id)?;
    let fault = |error| context.store_error(&error);
    let record = context.store().invocation(id, node).await.map_err(fault)?;
    let command = context.store().command(id).await.map_err(fault)?;
    let (Some(record), Some(command)) = (record, command) else {
        return Err(ApiError::invocation_does_not_exist(format!(
            "Command {} was not sent to node {}.",
            asked.command_id, asked.instance_id
        )));
    };
    let names = plugins::step_names(&command);
    let about = about(&names, asked.plugin_name.as_deref())?;
    let mut reply = whole(&command, &record);
    if let Some(at) = about {
        reply.plugin_name = names.get(at).cloned();
        about_step(context, &record, at, &mut reply).await?;
    }
    Ok(reply)
}

/// Which step the reply is about: the one named, else the only one. None: the invocation as a whole.
fn about(names: &[String], plugin: Option<&str>) -> Result<Option<usize>, ApiError> {
    let Some(plugin) = plugin else {
        return Ok((names.len() == 1).then_some(0));
    };
    let found = names.iter().position(|name| name == plugin);
    found.map(Some).ok_or_else(|| {
        ApiError::invalid_plugin_name(format!(
            "The command's document has no step '{plugin}'; it has: {}.",
            names.join(", ")
        ))
    })
}

fn whole(command: &Command, record: &InvocationRecord) -> GetCommandInvocationResult {
    let details = record.state.details;
    GetCommandInvocationResult {
        command_id: Some(command.id.to_string()),
        instance_id: Some(record.node.to_string()),
        comment: Some(command.comment.clone()),
        document_name: Some(command.document_name.clone()),
        document_version: Some(command.document_version.clone()),
        plugin_name: Some(String::new()),
        response_code: Some(record.response_code()),
        execution_start_date_time: Some(date(record.started)),
        execution_elapsed_time: Some(elapsed(record.started, record.ended)),
        execution_end_date_time: Some(date(record.ended.filter(|_| record.started.is_some()))),
        status: Some(details.status().as_str().to_owned()),
        status_details: Some(details.api_name().to_owned()),
        standard_output_content: Some(String::new()),
        standard_output_url: Some(String::new()),
        // Without a step there is no output, but there may be a reason.
        standard_error_content: Some(plugins::reason(record)),
        standard_error_url: Some(String::new()),
        cloud_watch_output_config: None,
    }
}

/// Fills in what only a step has, once its invocation has ended.
async fn about_step(
    context: &Context<'_>,
    record: &InvocationRecord,
    at: usize,
    reply: &mut GetCommandInvocationResult,
) -> Result<(), ApiError> {
    let (Some(step), Ok(number)) = (record.steps.get(at), u8::try_from(at)) else {
        return Ok(());
    };
    if record.steps.len() > 1 {
        let (status, details) = plugins::status(step);
        reply.status = Some(status.to_owned());
        reply.status_details = Some(details.to_owned());
    }
    let text = async |stream, chars| plugins::text(context, record, number, stream, chars).await;
    reply.response_code = Some(step.exit_code);
    reply.execution_start_date_time = Some(date(step.started));
    reply.execution_elapsed_time = Some(elapsed(step.started, step.ended));
    reply.execution_end_date_time = Some(date(step.ended));
    reply.standard_output_content = Some(text(OutputStream::Stdout, STDOUT_CHARS_MAX).await?);
    let stderr = text(OutputStream::Stderr, STDERR_CHARS_MAX).await?;
    let stderr = plugins::with_detail(stderr, &plugins::step_reason(step), STDERR_CHARS_MAX);
    reply.standard_error_content = Some(stderr);
    let url = |stream| Some(output::url(context, record, number, stream));
    reply.standard_output_url = url(OutputStream::Stdout);
    reply.standard_error_url = url(OutputStream::Stderr);
    Ok(())
}

/// ISO 8601 in UTC with milliseconds; empty for what has not happened.
fn date(at: Option<UnixMs>) -> String {
    let time = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    time.map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// ISO 8601's form of a duration, such as `PT1.003S`; empty before both ends are known.
fn elapsed(started: Option<UnixMs>, ended: Option<UnixMs>) -> String {
    let Some((started, ended)) = started.zip(ended) else {
        return String::new();
    };
    let ms = ended.saturating_sub(started).max(0);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    if ms == 0 {
        return format!("PT{seconds}S");
    }
    let fraction = format!("{ms:03}");
    format!("PT{seconds}.{}S", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_services_forms() {
        assert_eq!(date(Some(1_768_478_400_050)), "2026-01-15T12:00:00.050Z");
        assert_eq!(date(None), "");
        for (ms, text) in [
            (0, "PT0S"),
            (4, "PT0.004S"),
            (1500, "PT1.5S"),
            (61_000, "PT61S"),
            (-5, "PT0S"),
        ] {
            assert_eq!(elapsed(Some(1000), Some(1000 + ms)), text);
        }
        assert_eq!(elapsed(Some(1), None), "");
    }

    #[test]
    fn a_reply_is_about_the_named_step_or_the_only_one() {
        let names = ["a", "b"].map(str::to_owned);
        assert_eq!(about(&names, Some("b")), Ok(Some(1)));
        assert_eq!(about(&names, None), Ok(None));
        assert_eq!(about(&names[..1], None), Ok(Some(0)));
        assert_eq!(
            about(&names, Some("c")).unwrap_err().code(),
            "InvalidPluginName"
        );
    }
}
