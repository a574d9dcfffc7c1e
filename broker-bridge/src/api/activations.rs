//! `CreateActivation`, `DescribeActivations`, `DeleteActivation`.
//! Never keeps an activation's code: it is shown once, and the store holds a key derived from it.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter::{self, Condition, Key, Test};
use holdfast_aws_api::shape::Sensitive;
use holdfast_aws_api::shape::activations::*;
use holdfast_protocol::ActivationId;
use holdfast_protocol::enrol::derive_key;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::context::{Context, count, non_empty, timestamp};
use super::tags::{self, TAGS_MAX};
use crate::store::{self, ActivationFilter, NewActivation, UnixMs};

const HOUR_MS: UnixMs = 3_600_000;
/// When nothing is asked for (`CreateActivation`, *ExpirationDate*).
const LIFE_MS_DEFAULT: UnixMs = 24 * HOUR_MS;
/// As far as an activation may reach (the same).
const LIFE_MS_MAX: UnixMs = 30 * 24 * HOUR_MS;
/// Registrations when nothing is asked for (`CreateActivation`, *RegistrationLimit*).
const LIMIT_DEFAULT: u32 = 1;

pub(super) async fn create(
    context: &Context<'_>,
    asked: CreateActivationRequest,
) -> Result<CreateActivationResult, ApiError> {
    let tags = new_tags(asked.tags.unwrap_or_default())?;
    let expires = match asked.expiration_date {
        None => context.now.saturating_add(LIFE_MS_DEFAULT),
        Some(date) => expiry(date.unix_ms, context.now)?,
    };
    let limit = asked.registration_limit.map(u32::try_from);
    let iam_role = context.role(&asked.iam_role).map_err(|foreign| {
        ApiError::invalid_parameters(format!(
            "IamRole '{}' cannot be taken: {foreign}.",
            asked.iam_role
        ))
    })?;
    let (id, code) = fresh()?;
    let new = NewActivation {
        id,
        code_key: derive_key(&id, &code.0),
        description: asked.description.unwrap_or_default(),
        default_name: asked.default_instance_name.unwrap_or_default(),
        iam_role: iam_role.to_owned(),
        // The model's range has refused what is not a count by now.
        registration_limit: limit.and_then(Result::ok).unwrap_or(LIMIT_DEFAULT),
        expires,
        tags,
    };
    let created = context.store().create_activation(context.actor(), new);
    created.await.map_err(|error| context.store_error(&error))?;
    Ok(CreateActivationResult {
        activation_id: Some(id.to_string()),
        activation_code: Some(code),
    })
}

/// `CreateActivation` declares no error of tags, so theirs become `InvalidParameters`.
fn new_tags(tags: Vec<holdfast_aws_api::shape::tags::Tag>) -> Result<Vec<store::Tag>, ApiError> {
    if tags.len() > TAGS_MAX {
        return Err(ApiError::invalid_parameters(format!(
            "{} tags are given; a node carries at most {TAGS_MAX}.",
            tags.len()
        )));
    }
    tags::checked(tags)
}

fn expiry(asked: UnixMs, now: UnixMs) -> Result<UnixMs, ApiError> {
    let latest = now.saturating_add(LIFE_MS_MAX);
    if asked <= now {
        return Err(ApiError::invalid_parameters(
            "ExpirationDate has passed; give a time within the next 30 days.",
        ));
    }
    if asked > latest {
        return Err(ApiError::invalid_parameters(
            "ExpirationDate is more than 30 days ahead, which is the most that is allowed.",
        ));
    }
    Ok(asked)
}

/// An id and a code of 20 characters with 100 random bits, spelt without characters that look alike.
fn fresh() -> Result<(ActivationId, Sensitive<String>), ApiError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = [0_u8; 36];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| ApiError::internal_server_error("The system gives no randomness."))?;
    let mut id = [0; 16];
    let (first, rest) = random.split_at(16);
    id.copy_from_slice(first);
    let letter = |byte: &u8| {
        let letter = ALPHABET.get(usize::from(byte & 31)).copied();
        char::from(letter.unwrap_or(b'A'))
    };
    Ok((
        ActivationId::from_random(id),
        Sensitive(rest.iter().map(letter).collect()),
    ))
}

pub(super) async fn describe(
    context: &Context<'_>,
    asked: DescribeActivationsRequest,
) -> Result<DescribeActivationsResult, ApiError> {
    let filter = store_filter(filter::activations(&asked)?);
    let pager = context.pager(
        "DescribeActivations",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let listed = context.store().activations(&filter, &pager.page).await;
    let listed = listed.map_err(|error| context.store_error(&error))?;
    let shown = listed
        .items
        .into_iter()
        .map(|item| shown(item, context.now));
    Ok(DescribeActivationsResult {
        activation_list: shown.collect(),
        next_token: pager.token(listed.next)?,
    })
}

/// Several filters of one key must all hold, so their values are intersected.
fn store_filter(conditions: Vec<Condition>) -> ActivationFilter {
    let mut filter = ActivationFilter::default();
    for condition in conditions {
        let Test::Text { values, .. } = condition.test else {
            continue;
        };
        let list = match condition.key {
            Key::Named("ActivationIds") => &mut filter.ids,
            Key::Named("DefaultInstanceName") => &mut filter.default_names,
            Key::Named("IamRole") => &mut filter.iam_roles,
            Key::Named(_) | Key::Tag(_) | Key::TagKey | Key::Attribute { .. } => continue,
        };
        if list.is_empty() {
            *list = values;
        } else {
            list.retain(|value| values.contains(value));
            if list.is_empty() {
                // What no activation can be: an empty list would take all.
                list.push("\0".to_owned());
            }
        }
    }
    filter
}

fn shown(item: store::Activation, now: UnixMs) -> Activation {
    let tags = item.tags.into_iter().map(tags::shown).collect();
    Activation {
        activation_id: Some(item.id.to_string()),
        description: non_empty(&item.description),
        default_instance_name: non_empty(&item.default_name),
        iam_role: non_empty(&item.iam_role),
        registration_limit: Some(count(item.registration_limit)),
        registrations_count: Some(count(item.registrations)),
        expiration_date: Some(timestamp(item.expires)),
        expired: Some(item.expires <= now),
        created_date: Some(timestamp(item.created)),
        tags: Some(tags),
    }
}

pub(super) async fn delete(
    context: &Context<'_>,
    asked: DeleteActivationRequest,
) -> Result<DeleteActivationResult, ApiError> {
    let unknown = || {
        ApiError::invalid_activation_id(format!(
            "There is no activation {}; DescribeActivations lists those there are.",
            asked.activation_id
        ))
    };
    let id = asked.activation_id.parse().map_err(|_| unknown())?;
    let deleted = context.store().delete_activation(context.actor(), id).await;
    match deleted.map_err(|error| context.store_error(&error))? {
        true => Ok(DeleteActivationResult {}),
        false => Err(unknown()),
    }
}
