//! All that is kept of a step's output, over HTTP: `GET /output/COMMAND/NODE/STEP/stdout` or `stderr`.
//! Never gives it to anybody without a signature: `curl --aws-sigv4 aws:amz:REGION:ssm` makes one.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use holdfast_aws_api::ApiError;
use holdfast_protocol::limits::{STDERR_BYTES_MAX, STDOUT_BYTES_MAX};
use holdfast_protocol::up::OutputStream;

use super::context::Context;
use super::{Api, request, respond};
use crate::store::{InvocationRecord, OutputKey};

/// The route's pattern.
pub(super) const ROUTE: &str = "/output/{command}/{node}/{step}/{stream}";

/// Where a step's output is to be had, under the host that the client asked.
pub(super) fn url(
    context: &Context<'_>,
    record: &InvocationRecord,
    step: u8,
    stream: OutputStream,
) -> String {
    let (scheme, host) = (context.api.0.config.scheme, &context.host);
    let (command, node) = (record.command, record.node);
    let stream = match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    };
    format!("{scheme}://{host}/output/{command}/{node}/{step}/{stream}")
}

/// The names in the route, as text.
type Names = (String, String, String, String);

/// Answers the route.
pub(super) async fn serve(
    State(api): State<Api>,
    names: Result<Path<Names>, axum::extract::rejection::PathRejection>,
    asked: Request,
) -> Response {
    let id = request::new_id();
    match output(&api, &id, names.ok().map(|Path(names)| names), asked).await {
        Ok(bytes) => respond::bytes(&id, bytes),
        Err(error) => respond::error(&id, &error),
    }
}

async fn output(
    api: &Api,
    id: &str,
    names: Option<Names>,
    asked: Request,
) -> Result<Vec<u8>, ApiError> {
    let _slot = request::slot(api)?;
    let (context, _, _) = request::authenticated(api, id, asked).await?;
    let key = names.and_then(key).ok_or_else(none)?;
    let found = context.store().invocation(key.command, key.node).await;
    let record = found.map_err(|error| context.store_error(&error))?;
    let step = record
        .as_ref()
        .and_then(|record| record.steps.get(usize::from(key.step)));
    if step.is_none() {
        return Err(none());
    }
    let kept = match key.stream {
        OutputStream::Stdout => STDOUT_BYTES_MAX,
        OutputStream::Stderr => STDERR_BYTES_MAX,
    };
    let output = context.store().output(key, 0, kept).await;
    let (bytes, _) = output.map_err(|error| context.store_error(&error))?;
    Ok(bytes)
}

fn key((command, node, step, stream): Names) -> Option<OutputKey> {
    Some(OutputKey {
        command: command.parse().ok()?,
        node: node.parse().ok()?,
        step: step.parse().ok()?,
        stream: match stream.as_str() {
            "stdout" => OutputStream::Stdout,
            "stderr" => OutputStream::Stderr,
            _ => return None,
        },
    })
}

fn none() -> ApiError {
    ApiError::invocation_does_not_exist(
        "There is no such output: the invocation is unknown or has not ended, or it has no such step.",
    )
}
