//! The steps of an invocation as the API's plugins: status, times, output and where all of it is to be had.
//! Never shows a running step's output: as with the service, it comes with the invocation's end.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::shape::commands::CommandPlugin;
use holdfast_bridge_core::invocation::{Status, StatusDetails};
use holdfast_documents::Document;
use holdfast_protocol::up::OutputStream;

use crate::api::context::{Context, timestamp};
use crate::api::output;
use crate::store::{Command, InvocationRecord, OutputKey, Step};

/// A plugin's output in a list, in characters (`CommandPlugin`, *Output*).
const OUTPUT_CHARS_MAX: usize = 2500;
const OUTPUT_TRUNCATED: &str = "\n---Output truncated---";
const ERROR_TRUNCATED: &str = "\n---Error truncated----";
/// What stands between a plugin's standard output and its standard error.
const ERROR_TITLE: &str = "\n----------ERROR-------\n";

/// The plugins of an invocation: its steps once it has ended, before that the steps that its document names.
pub(super) async fn of(
    context: &Context<'_>,
    command: &Command,
    record: &InvocationRecord,
) -> Result<Vec<CommandPlugin>, ApiError> {
    if record.steps.is_empty() {
        let awaited = step_names(command).into_iter();
        return Ok(awaited.map(|name| awaited_plugin(name, record)).collect());
    }
    let mut plugins = Vec::with_capacity(record.steps.len());
    for (at, step) in (0_u8..).zip(&record.steps) {
        plugins.push(ended_plugin(context, record, at, step).await?);
    }
    Ok(plugins)
}

/// The names of the steps of a command's document, in order.
pub(super) fn step_names(command: &Command) -> Vec<String> {
    // It was parsed before it was sent, so it parses now.
    let document = Document::parse(&command.content);
    let names = document.map(|document| {
        let names = document.steps().iter().map(|step| step.name().to_owned());
        names.collect()
    });
    names.unwrap_or_default()
}

fn awaited_plugin(name: String, record: &InvocationRecord) -> CommandPlugin {
    CommandPlugin {
        name: Some(name),
        status: Some(awaited_status(record.state.details.status()).to_owned()),
        status_details: Some(record.state.details.api_name().to_owned()),
        response_code: Some(-1),
        output: Some(String::new()),
        standard_output_url: Some(String::new()),
        standard_error_url: Some(String::new()),
        ..CommandPlugin::default()
    }
}

/// A plugin's status before its invocation has one: `CommandPluginStatus` has neither `Delayed` nor `Cancelling`.
fn awaited_status(invocation: Status) -> &'static str {
    match invocation {
        Status::Delayed => Status::Pending.as_str(),
        Status::Cancelling => Status::InProgress.as_str(),
        Status::Pending
        | Status::InProgress
        | Status::Success
        | Status::Cancelled
        | Status::TimedOut
        | Status::Failed => invocation.as_str(),
    }
}

async fn ended_plugin(
    context: &Context<'_>,
    record: &InvocationRecord,
    at: u8,
    step: &Step,
) -> Result<CommandPlugin, ApiError> {
    let (status, details) = status(step);
    // One more than fits tells that something was cut.
    let most = OUTPUT_CHARS_MAX + 1;
    let stdout = text(context, record, at, OutputStream::Stdout, most).await?;
    let stderr = text(context, record, at, OutputStream::Stderr, most).await?;
    let stderr = with_detail(stderr, &step_reason(step), most);
    Ok(CommandPlugin {
        name: Some(step.name.clone()),
        status: Some(status.to_owned()),
        status_details: Some(details.to_owned()),
        response_code: Some(step.exit_code),
        response_start_date_time: step.started.map(timestamp),
        response_finish_date_time: step.ended.map(timestamp),
        output: Some(combined(&stdout, &stderr)),
        standard_output_url: Some(output::url(context, record, at, OutputStream::Stdout)),
        standard_error_url: Some(output::url(context, record, at, OutputStream::Stderr)),
        ..CommandPlugin::default()
    })
}

/// A step's status and its details, in the API's names. One that was not run shows as a success, as with the service.
pub(super) fn status(step: &Step) -> (&'static str, &'static str) {
    match step.state.as_str() {
        "Success" | "Skipped" => ("Success", "Success"),
        "TimedOut" => ("TimedOut", "ExecutionTimedOut"),
        "Cancelled" => ("Cancelled", "Cancelled"),
        _ => ("Failed", "Failed"),
    }
}

/// What an interrupted run's reason begins with: no status of the API says it.
const INTERRUPTED: &str = "Interrupted: ";

/// Why an invocation stands as it does, in the agent's words.
pub(super) fn reason(record: &InvocationRecord) -> String {
    reason_of(
        record.state.details == StatusDetails::Interrupted,
        &record.detail,
    )
}

/// Why a step ended as it did, in the agent's words.
pub(super) fn step_reason(step: &Step) -> String {
    reason_of(step.state == "Interrupted", &step.detail)
}

fn reason_of(is_interrupted: bool, detail: &str) -> String {
    let mark = if is_interrupted { INTERRUPTED } else { "" };
    format!("{mark}{detail}")
}

/// The first characters of a step's output.
pub(super) async fn text(
    context: &Context<'_>,
    record: &InvocationRecord,
    step: u8,
    stream: OutputStream,
    chars: usize,
) -> Result<String, ApiError> {
    let key = OutputKey {
        command: record.command,
        node: record.node,
        step,
        stream,
    };
    let found = context.store().output_text(key, chars).await;
    let (text, _) = found.map_err(|error| context.store_error(&error))?;
    Ok(text)
}

/// Standard error with what the agent has to say of the step after it: why it was refused, stopped or not started.
/// No other member of a reply has room for that. Where both do not fit into `chars`, the agent's word stays.
pub(super) fn with_detail(mut stderr: String, detail: &str, chars: usize) -> String {
    if detail.is_empty() {
        return stderr;
    }
    if !stderr.is_empty() && !stderr.ends_with('\n') {
        stderr.push('\n');
    }
    let room = chars.saturating_sub(detail.chars().count());
    let kept = stderr.chars().take(room).chain(detail.chars());
    kept.take(chars).collect()
}

/// Where an invocation's output is, when there is just one step whose it can be.
pub(super) fn invocation_urls(context: &Context<'_>, record: &InvocationRecord) -> [String; 2] {
    let streams = [OutputStream::Stdout, OutputStream::Stderr];
    match record.steps.len() {
        1 => streams.map(|stream| output::url(context, record, 0, stream)),
        _ => [String::new(), String::new()],
    }
}

/// Standard output and standard error in the characters that a list shows. Where both do not fit, standard error
/// gets what standard output leaves, and at least half.
fn combined(stdout: &str, stderr: &str) -> String {
    let title = if stderr.is_empty() { "" } else { ERROR_TITLE };
    let (out_chars, err_chars) = (stdout.chars().count(), stderr.chars().count());
    let room = OUTPUT_CHARS_MAX - title.len();
    if out_chars + err_chars <= room {
        return [stdout, title, stderr].concat();
    }
    let err_room = err_chars.min((room / 2).max(room.saturating_sub(out_chars)));
    let stdout = cut(stdout, out_chars, room - err_room, OUTPUT_TRUNCATED);
    let stderr = cut(stderr, err_chars, err_room, ERROR_TRUNCATED);
    [stdout.as_str(), title, stderr.as_str()].concat()
}

/// A text of `chars` characters, cut to `room` of them with a mark at its end.
fn cut(text: &str, chars: usize, room: usize, mark: &str) -> String {
    if chars <= room {
        return text.to_owned();
    }
    let kept = text.chars().take(room.saturating_sub(mark.len()));
    kept.chain(mark.chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_is_shown_whole_with_the_error_after_the_output() {
        assert_eq!(combined("out\n", ""), "out\n");
        assert_eq!(
            combined("out\n", "bad\n"),
            "out\n\n----------ERROR-------\nbad\n"
        );
        let exact = "x".repeat(OUTPUT_CHARS_MAX);
        assert_eq!(combined(&exact, ""), exact);
    }

    #[test]
    fn what_is_cut_says_so_at_its_end() {
        let long = "x".repeat(OUTPUT_CHARS_MAX + 1);
        let shown = combined(&long, "");
        assert_eq!(shown.chars().count(), OUTPUT_CHARS_MAX);
        assert!(shown.ends_with("x\n---Output truncated---"));
        let shown = combined(&long, "short");
        assert!(shown.ends_with("---Output truncated---\n----------ERROR-------\nshort"));
        let shown = combined("short", &long);
        assert!(shown.starts_with("short\n----------ERROR-------\nxxx"));
        assert!(shown.ends_with("\n---Error truncated----"));
    }

    #[test]
    fn what_the_agent_says_stands_after_standard_error_and_is_not_cut_for_it() {
        assert_eq!(with_detail("bad\n".into(), "", 8), "bad\n");
        assert_eq!(with_detail(String::new(), "why", 8), "why");
        assert_eq!(with_detail("bad".into(), "why", 8), "bad\nwhy");
        assert_eq!(with_detail("worse".into(), "why", 4), "wwhy");
        assert_eq!(with_detail("worse".into(), "because", 4), "beca");
    }

    proptest! {
        #[test]
        fn a_plugins_output_never_exceeds_its_characters(out in 0_usize..4000, err in 0_usize..4000) {
            let shown = combined(&"ö".repeat(out), &"ü".repeat(err));
            prop_assert!(shown.chars().count() <= OUTPUT_CHARS_MAX);
            prop_assert_eq!(shown.contains("truncated"), out + err + if err > 0 { ERROR_TITLE.len() } else { 0 } > OUTPUT_CHARS_MAX);
        }
    }
}
