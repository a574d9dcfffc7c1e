//! `AddTagsToResource`, `ListTagsForResource`, `RemoveTagsFromResource`, and the rules of tags.
//! Never tags a resource that is not there.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::shape::tags::*;

use super::context::Context;
use super::documents;
use crate::store::{self, ResourceType, TagError};

/// Tags that a resource carries at most.
pub(super) const TAGS_MAX: usize = 50;

pub(super) async fn add(
    context: &Context<'_>,
    asked: AddTagsToResourceRequest,
) -> Result<AddTagsToResourceResult, ApiError> {
    let resource_type = resource_type(&asked.resource_type)?;
    let id = resource_id(context, resource_type, asked.resource_id)?;
    let tags = checked(asked.tags)?;
    let added = context
        .store()
        .add_tags(context.actor(), resource_type, id, tags);
    added.await.map_err(|error| wrong(context, error))?;
    Ok(AddTagsToResourceResult {})
}

pub(super) async fn list(
    context: &Context<'_>,
    asked: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResult, ApiError> {
    let resource_type = resource_type(&asked.resource_type)?;
    let id = resource_id(context, resource_type, asked.resource_id)?;
    let tags = context.store().tags(resource_type, &id);
    let tags = tags.await.map_err(|error| wrong(context, error))?;
    Ok(ListTagsForResourceResult {
        tag_list: tags.into_iter().map(shown).collect(),
    })
}

pub(super) async fn remove(
    context: &Context<'_>,
    asked: RemoveTagsFromResourceRequest,
) -> Result<RemoveTagsFromResourceResult, ApiError> {
    let resource_type = resource_type(&asked.resource_type)?;
    let id = resource_id(context, resource_type, asked.resource_id)?;
    let removed = context
        .store()
        .remove_tags(context.actor(), resource_type, id, asked.tag_keys);
    removed.await.map_err(|error| wrong(context, error))?;
    Ok(RemoveTagsFromResourceResult {})
}

/// The id under which a resource carries its tags: documents may be named by their ARN as well.
fn resource_id(
    context: &Context<'_>,
    resource_type: ResourceType,
    id: String,
) -> Result<String, ApiError> {
    if resource_type != ResourceType::Document {
        return Ok(id);
    }
    let document = documents::named(context, &id);
    let document = document.map_err(ApiError::invalid_resource_id)?;
    Ok(document.name().to_owned())
}

/// The types whose resources exist here.
fn resource_type(name: &str) -> Result<ResourceType, ApiError> {
    match name {
        "ManagedInstance" => Ok(ResourceType::ManagedInstance),
        "Document" => Ok(ResourceType::Document),
        other => Err(ApiError::invalid_resource_type(format!(
            "There are no resources of type {other} here; ManagedInstance and Document carry tags."
        ))),
    }
}

/// Tags by the rules that the model does not hold: no reserved key, and no key twice.
pub(super) fn checked(tags: Vec<Tag>) -> Result<Vec<store::Tag>, ApiError> {
    let mut seen = std::collections::BTreeSet::new();
    for tag in &tags {
        let reserved = tag
            .key
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        if reserved {
            return Err(ApiError::validation(format!(
                "1 validation error detected: the tag key '{}' begins with 'aws:', which is reserved for the service.",
                tag.key
            )));
        }
        if !seen.insert(&tag.key) {
            return Err(ApiError::validation(format!(
                "1 validation error detected: the tag key '{}' is given more than once.",
                tag.key
            )));
        }
    }
    let stored = tags.into_iter().map(|tag| store::Tag {
        key: tag.key,
        value: tag.value,
    });
    Ok(stored.collect())
}

pub(super) fn shown(tag: store::Tag) -> Tag {
    Tag {
        key: tag.key,
        value: tag.value,
    }
}

fn wrong(context: &Context<'_>, error: TagError) -> ApiError {
    match error {
        TagError::NoSuchResource { .. } => ApiError::invalid_resource_id(format!("{error}.")),
        TagError::TooMany { .. } => ApiError::too_many_tags(format!("{error}.")),
        TagError::Store(error) => context.store_error(&error),
    }
}
