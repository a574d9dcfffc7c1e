//! `SendCommand`.
//! Never passes on a request that it did not understand whole: each member is read into its type here.

use std::collections::BTreeSet;

use holdfast_aws_api::ApiError;
use holdfast_aws_api::shape::commands::{SendCommandRequest, SendCommandResult, Target};
use holdfast_bridge_core::target::TargetError;
use holdfast_documents::PlanError;
use holdfast_documents::library::{LibraryDocument, LibraryVersion};
use ring::digest;

use super::shown;
use crate::api::context::Context;
use crate::api::{documents, nodes};
use crate::hub::{SendCommand, SendCommandError};

/// Delivery time when none is asked for, as the service's consoles and clients expect it.
const TIMEOUT_SECONDS_DEFAULT: u32 = 3600;

pub(in crate::api) async fn send(
    context: &Context<'_>,
    asked: SendCommandRequest,
) -> Result<SendCommandResult, ApiError> {
    refuse_repeats(asked.instance_ids.as_deref().unwrap_or_default())?;
    let version = asked
        .document_version
        .as_deref()
        .filter(|text| !text.is_empty());
    let (document, found) = documents::find(context, &asked.document_name, version, None)?;
    check_hash(document, found, &asked)?;
    let max_concurrency = rate(asked.max_concurrency.as_deref())?;
    let max_errors = rate(asked.max_errors.as_deref())?;
    let targets = asked.targets.unwrap_or_default().into_iter();
    let timeout = asked.timeout_seconds.map(u32::try_from);
    let request = SendCommand {
        document_name: document.name().to_owned(),
        version: found,
        parameters: asked.parameters.unwrap_or_default().0,
        instance_ids: asked.instance_ids.unwrap_or_default(),
        targets: targets.map(raw).collect(),
        // The model's range has refused what is no time by now.
        timeout_seconds: timeout
            .and_then(Result::ok)
            .unwrap_or(TIMEOUT_SECONDS_DEFAULT),
        max_concurrency,
        max_errors,
        comment: asked.comment.unwrap_or_default(),
    };
    let sent = context.hub().send_command(context.actor(), request).await;
    let command = sent.map_err(|error| refusal(context, &error))?;
    Ok(SendCommandResult {
        command: Some(shown(command)),
    })
}

/// A node that is named twice would get the command once; the service refuses it all the same.
pub(super) fn refuse_repeats(ids: &[String]) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    match ids.iter().find(|id| !seen.insert(id.as_str())) {
        None => Ok(()),
        Some(id) => Err(ApiError::duplicate_instance_id(format!(
            "{id} is given more than once in InstanceIds."
        ))),
    }
}

fn raw(target: Target) -> (String, Vec<String>) {
    (
        target.key.unwrap_or_default(),
        target.values.unwrap_or_default(),
    )
}

/// `MaxConcurrency` or `MaxErrors`, or its default.
fn rate<T>(text: Option<&str>) -> Result<T, ApiError>
where
    T: std::str::FromStr + Default,
    T::Err: std::fmt::Display,
{
    let read = text.map(str::parse).transpose();
    read.map(Option::unwrap_or_default)
        .map_err(|error: T::Err| {
            ApiError::validation(format!("1 validation error detected: {error}."))
        })
}

/// Holds the document's text against the hash that the sender expects of it.
fn check_hash(
    document: &LibraryDocument,
    version: &LibraryVersion,
    asked: &SendCommandRequest,
) -> Result<(), ApiError> {
    let Some(wanted) = &asked.document_hash else {
        return match &asked.document_hash_type {
            None => Ok(()),
            Some(_) => Err(ApiError::validation(
                "1 validation error detected: 'documentHashType' is given without 'documentHash'; give both.",
            )),
        };
    };
    let (name, found) = match asked.document_hash_type.as_deref() {
        Some("Sha1") => ("Sha1", sha1(version.content())),
        Some(_) | None => ("Sha256", version.hash().to_string()),
    };
    if wanted.eq_ignore_ascii_case(&found) {
        return Ok(());
    }
    Err(ApiError::invalid_document(format!(
        "The {name} hash of version {} of document {} is {found}, not the DocumentHash given.",
        version.number(),
        document.name()
    )))
}

/// Sha1 is the service's older choice; it guards nothing here but against a document that is not the one meant.
fn sha1(content: &str) -> String {
    hex::encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        content.as_bytes(),
    ))
}

fn refusal(context: &Context<'_>, error: &SendCommandError) -> ApiError {
    let said = format!("{error}.");
    match error {
        SendCommandError::Parameters(_) => ApiError::invalid_parameters(said),
        SendCommandError::Plan(PlanError::InvalidPlatform { .. }) => {
            ApiError::unsupported_platform_type(said)
        }
        SendCommandError::Plan(PlanError::TooLarge { .. }) | SendCommandError::TooLarge(_) => {
            ApiError::max_document_size_exceeded(said)
        }
        SendCommandError::Plan(_) => ApiError::invalid_parameters(said),
        SendCommandError::Target(error) => target_refusal(error),
        SendCommandError::Store(error) => context.store_error(error),
        SendCommandError::Document(error) => context.internal(error),
    }
}

fn target_refusal(error: &TargetError) -> ApiError {
    let said = format!("{error}.");
    match error {
        TargetError::InvalidNode { id } => nodes::unknown(id),
        TargetError::Unknown { .. } => ApiError::invalid_instance_id(format!(
            "{said} DescribeInstanceInformation lists the nodes there are."
        )),
        // No error of the operation's own is about the form of its targets.
        TargetError::Missing
        | TargetError::Both
        | TargetError::TooMany { .. }
        | TargetError::Key { .. }
        | TargetError::NoValues { .. }
        | _ => ApiError::validation(format!("1 validation error detected: {said}")),
    }
}
