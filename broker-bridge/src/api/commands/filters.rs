//! The filters of `ListCommands` and `ListCommandInvocations`, as the store takes them.
//! Never takes one key twice: which of the two would hold is nobody's guess.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter::{Condition, Key, Test};

use crate::api::context::Context;
use crate::store::UnixMs;

/// What both lists are narrowed by.
#[derive(Debug, Default)]
pub(super) struct Narrowed {
    pub(super) after: Option<UnixMs>,
    pub(super) before: Option<UnixMs>,
    pub(super) statuses: Vec<String>,
    pub(super) documents: Vec<String>,
    pub(super) executing: Option<bool>,
}

/// Reads conditions that the operation's own rules have passed.
pub(super) fn narrowed(
    context: &Context<'_>,
    conditions: Vec<Condition>,
) -> Result<Narrowed, ApiError> {
    let mut narrowed = Narrowed::default();
    let mut seen = Vec::new();
    for condition in conditions {
        if seen.contains(&condition.key) {
            return Err(ApiError::invalid_filter_key(
                "A filter's key is given more than once; give each key once.",
            ));
        }
        match (&condition.key, condition.test) {
            (_, Test::NotBefore { unix_ms }) => narrowed.after = Some(unix_ms),
            (_, Test::Before { unix_ms }) => narrowed.before = Some(unix_ms),
            (Key::Named("Status"), Test::Text { values, .. }) => narrowed.statuses = values,
            (Key::Named("DocumentName"), Test::Text { values, .. }) => {
                // Commands keep the name; an ARN from elsewhere stays what it is, and no command has it.
                let name = |value: String| match context.document(&value) {
                    Ok(document) if !document.is_own => document.name.to_owned(),
                    Ok(_) | Err(_) => value,
                };
                narrowed.documents = values.into_iter().map(name).collect();
            }
            (Key::Named("ExecutionStage"), Test::Text { values, .. }) => {
                narrowed.executing = Some(values.iter().any(|value| value == "Executing"));
            }
            (
                Key::Named(_) | Key::Tag(_) | Key::TagKey | Key::Attribute { .. },
                Test::Text { .. },
            ) => {}
        }
        seen.push(condition.key);
    }
    Ok(narrowed)
}
