//! `ListDocuments`, `DescribeDocument`, `GetDocument`: the documents that come with the bridge.
//! Never shows a document's text other than it runs, but for its format where another is asked for.
//!
//! The built-in documents answer as owned by `Amazon`. They are Holdfast's own texts; but they stand under the
//! service's names, and scripts find them by asking for that owner. Nothing else is claimed: they carry no creation
//! date, no version name and no hash but their own.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter::{self, Condition, Key};
use holdfast_aws_api::shape::documents::*;
use holdfast_documents::library::{self, LibraryDocument, LibraryVersion};
use holdfast_documents::{Description, DocumentError, ParameterType, VersionSelector};

use super::context::Context;
use super::{tags, yaml};
use crate::store::{ResourceType, Tag, TagError};

/// Who owns the built-in documents, to clients.
const OWNER: &str = "Amazon";
/// The values of the filter *Owner* that take them.
const OWNERS: [&str; 3] = [OWNER, "Public", "All"];

pub(super) async fn list(
    context: &Context<'_>,
    asked: ListDocumentsRequest,
) -> Result<ListDocumentsResult, ApiError> {
    let conditions = filter::documents(&asked)?;
    let pager = context.pager(
        "ListDocuments",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let after = pager.page.after.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for document in library::all()
        .iter()
        .filter(|document| document.name() > after)
    {
        let description = described(context, document, document.default_version())?;
        let tags = tags_of(context, document.name()).await?;
        if conditions
            .iter()
            .all(|condition| meets(condition, &description, &tags))
        {
            found.push(identifier(description, tags));
        }
    }
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().and_then(|document| document.name.clone());
    Ok(ListDocumentsResult {
        document_identifiers: found,
        next_token: pager.token(last.filter(|_| more))?,
    })
}

fn meets(condition: &Condition, document: &Description, tags: &[Tag]) -> bool {
    let platforms = document
        .platform_types
        .iter()
        .map(|platform| platform.as_str());
    match &condition.key {
        Key::Named("Name") => condition.is_met_by(Some(&document.name)),
        Key::Named("Owner") => condition.is_met_by_any(OWNERS),
        Key::Named("PlatformTypes") => condition.is_met_by_any(platforms),
        Key::Named("DocumentType") => condition.is_met_by(Some(document.document_type.as_str())),
        Key::Tag(name) => {
            let tag = tags.iter().find(|tag| tag.key == *name);
            condition.is_met_by(tag.map(|tag| tag.value.as_str()))
        }
        Key::TagKey => condition.is_met_by_any(tags.iter().map(|tag| tag.key.as_str())),
        // The built-in documents are for no one type of target.
        Key::Named(_) | Key::Attribute { .. } => condition.is_met_by(None),
    }
}

fn identifier(document: Description, tags: Vec<Tag>) -> DocumentIdentifier {
    DocumentIdentifier {
        owner: Some(OWNER.to_owned()),
        platform_types: Some(platforms(&document)),
        document_version: Some(document.version.to_string()),
        document_type: Some(document.document_type.as_str().to_owned()),
        schema_version: Some(document.schema.to_string()),
        document_format: Some(document.format.as_str().to_owned()),
        tags: Some(tags.into_iter().map(tags::shown).collect()),
        name: Some(document.name),
        ..DocumentIdentifier::default()
    }
}

pub(super) async fn describe(
    context: &Context<'_>,
    asked: DescribeDocumentRequest,
) -> Result<DescribeDocumentResult, ApiError> {
    let (document, version) = find(
        context,
        &asked.name,
        asked.document_version.as_deref(),
        asked.version_name.as_deref(),
    )?;
    let description = described(context, document, version)?;
    let tags = tags_of(context, document.name()).await?;
    Ok(DescribeDocumentResult {
        document: Some(shown(description, tags)),
    })
}

fn shown(document: Description, tags: Vec<Tag>) -> DocumentDescription {
    DocumentDescription {
        hash: Some(document.hash.to_string()),
        hash_type: Some("Sha256".to_owned()),
        owner: Some(OWNER.to_owned()),
        status: Some(document.status.as_str().to_owned()),
        document_version: Some(document.version.to_string()),
        platform_types: Some(platforms(&document)),
        document_type: Some(document.document_type.as_str().to_owned()),
        schema_version: Some(document.schema.to_string()),
        latest_version: Some(document.latest_version.to_string()),
        default_version: Some(document.default_version.to_string()),
        document_format: Some(document.format.as_str().to_owned()),
        tags: Some(tags.into_iter().map(tags::shown).collect()),
        parameters: Some(document.parameters.into_iter().map(parameter).collect()),
        description: document.description,
        name: Some(document.name),
        ..DocumentDescription::default()
    }
}

fn parameter(parameter: holdfast_documents::ParameterDescription) -> DocumentParameter {
    // The service's reply knows two types only: what takes one value, and what takes several.
    let kind = match parameter.kind {
        ParameterType::String
        | ParameterType::Boolean
        | ParameterType::Integer
        | ParameterType::StringMap => ParameterType::String,
        ParameterType::StringList | ParameterType::MapList => ParameterType::StringList,
    };
    DocumentParameter {
        name: Some(parameter.name),
        r#type: Some(kind.as_str().to_owned()),
        description: parameter.description,
        default_value: parameter.default_value,
    }
}

fn platforms(document: &Description) -> Vec<String> {
    let names = document
        .platform_types
        .iter()
        .map(|platform| platform.as_str().to_owned());
    names.collect()
}

pub(super) fn get(
    context: &Context<'_>,
    asked: GetDocumentRequest,
) -> Result<GetDocumentResult, ApiError> {
    let (document, version) = find(
        context,
        &asked.name,
        asked.document_version.as_deref(),
        asked.version_name.as_deref(),
    )?;
    let format = asked.document_format.unwrap_or_else(|| "JSON".to_owned());
    Ok(GetDocumentResult {
        name: Some(document.name().to_owned()),
        document_version: Some(version.number().to_string()),
        status: Some("Active".to_owned()),
        content: Some(content(version, &format)?),
        document_type: Some(document.document_type().as_str().to_owned()),
        document_format: Some(format),
        ..GetDocumentResult::default()
    })
}

/// The text in a format; `TEXT` is the text as it was written.
fn content(version: &LibraryVersion, format: &str) -> Result<String, ApiError> {
    let written = version.content();
    if format != "YAML" {
        return Ok(written.to_owned());
    }
    let tree = serde_json::from_str(written).map_err(|error| {
        ApiError::internal_server_error(format!("A built-in document is not JSON: {error}"))
    })?;
    Ok(yaml::write(&tree))
}

/// The built-in document of a name or an ARN, in the version asked for.
pub(super) fn find(
    context: &Context<'_>,
    name: &str,
    version: Option<&str>,
    version_name: Option<&str>,
) -> Result<(&'static LibraryDocument, &'static LibraryVersion), ApiError> {
    let document = named(context, name).map_err(ApiError::invalid_document)?;
    let selector = version.map_or(Ok(VersionSelector::Default), str::parse);
    let found = selector
        .ok()
        .and_then(|selector| document.version(selector));
    let found = found.ok_or_else(|| {
        ApiError::invalid_document_version(format!(
            "Document {} has no version {}; it has {}.",
            document.name(),
            version.unwrap_or_default(),
            numbers(document)
        ))
    })?;
    match version_name.filter(|name| !name.is_empty()) {
        None => Ok((document, found)),
        Some(named) => Err(ApiError::invalid_document_version(format!(
            "Document {} has no version named '{named}': versions of built-in documents have numbers only.",
            document.name()
        ))),
    }
}

/// The built-in document of a name or an ARN; else why there is none.
pub(super) fn named(context: &Context<'_>, name: &str) -> Result<&'static LibraryDocument, String> {
    let wanted = context
        .document(name)
        .map_err(|foreign| format!("Document with name {name} does not exist here: {foreign}."))?;
    let found = library::find(wanted.name);
    match found.filter(|_| !wanted.is_own) {
        Some(document) => Ok(document),
        None if wanted.is_own => Err(format!(
            "Document with name {name} does not exist: the account has no documents of its own, and the ARN of \
             a built-in one names no account; ListDocuments lists those there are."
        )),
        None => Err(format!(
            "Document with name {name} does not exist; ListDocuments lists those there are."
        )),
    }
}

fn numbers(document: &LibraryDocument) -> String {
    let numbers: Vec<String> = document
        .versions()
        .map(|version| version.number().to_string())
        .collect();
    numbers.join(", ")
}

fn described(
    context: &Context<'_>,
    document: &LibraryDocument,
    version: &LibraryVersion,
) -> Result<Description, ApiError> {
    let description = document.describe(version);
    description.map_err(|error: DocumentError| context.internal(&error))
}

async fn tags_of(context: &Context<'_>, name: &str) -> Result<Vec<Tag>, ApiError> {
    match context.store().tags(ResourceType::Document, name).await {
        Ok(tags) => Ok(tags),
        Err(TagError::Store(error)) => Err(context.store_error(&error)),
        Err(error @ (TagError::NoSuchResource { .. } | TagError::TooMany { .. })) => {
            Err(context.internal(&error))
        }
    }
}
