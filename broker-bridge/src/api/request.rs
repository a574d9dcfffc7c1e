//! A request on its way to its handler: headers, key, body, signature, operation.
//! Never reads a body for a caller whose key is unknown, and never more of one than the bound.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use holdfast_aws_api::sigv4::{AccessKeyId, Caller, KeyRecord, RequestParts, Secret, authenticate};
use holdfast_aws_api::{ApiError, BODY_BYTES_MAX, parse};
use serde_json::Value as Json;
use tokio::sync::SemaphorePermit;

use super::context::Context;
use super::error::{internal, of_store};
use super::{Api, REQUESTS_MAX, dispatch};

/// A body that takes longer to arrive is given up.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// A fresh id for a request; it is in the reply's headers and in the log.
pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Judges a request and runs its operation.
pub(super) async fn answer(api: &Api, id: &str, request: Request) -> Result<Json, ApiError> {
    let _slot = slot(api)?;
    let (context, target, body) = authenticated(api, id, request).await?;
    let target = target.unwrap_or_default();
    let outcome = match parse(&target, &body) {
        Ok(call) => dispatch::call(&context, call).await,
        Err(error) => Err(error),
    };
    let outcome = outcome.and_then(|reply| reply.to_json());
    let code = outcome.as_ref().err().map(ApiError::code);
    tracing::debug!(request_id = id, access_key_id = %context.caller.access_key_id, target, code, "answered");
    outcome
}

/// Takes one of the slots that bound how many requests are held at once.
pub(super) fn slot(api: &Api) -> Result<SemaphorePermit<'_>, ApiError> {
    api.0.requests.try_acquire().map_err(|_| {
        ApiError::throttling(format!(
            "{REQUESTS_MAX} requests are being answered, which is the bound; try again."
        ))
    })
}

/// Who asks, for which target, with which body.
pub(super) async fn authenticated<'a>(
    api: &'a Api,
    id: &'a str,
    request: Request,
) -> Result<(Context<'a>, Option<String>, Vec<u8>), ApiError> {
    let (head, body) = request.into_parts();
    let headers = text_headers(&head)?;
    let now = jiff::Timestamp::from_millisecond(api.0.hub.clock().now());
    let now = now.map_err(|error| internal(id, &error))?;
    let mut parts = RequestParts {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &headers,
        body: &[],
    };

    // The first look only learns which key is meant, so that an unknown one costs no body.
    let mut wanted = None;
    let refused = authenticate(&parts, now, |id| {
        wanted = Some(id.clone());
        None
    });
    let Some(wanted) = wanted else {
        return Err(refused.err().unwrap_or_else(ApiError::unrecognized_client));
    };
    let key = key_record(api, id, &wanted).await?;
    if !key.as_ref().is_some_and(|key| key.enabled) {
        return Err(ApiError::unrecognized_client());
    }
    let body = read(body).await?;
    parts.body = &body;
    let caller: Caller = authenticate(&parts, now, |_| key.clone())?;

    let value = |name: &str| {
        let mut named = headers.iter().filter(|(given, _)| *given == name);
        named.next().map(|(_, value)| (*value).to_owned())
    };
    let context = Context {
        api,
        request_id: id,
        caller,
        now: now.as_millisecond(),
        host: value("host").unwrap_or_default(),
    };
    let target = value("x-amz-target");
    Ok((context, target, body))
}

/// The headers as text: what is signed must be what is read, byte for byte.
fn text_headers(head: &Parts) -> Result<Vec<(&str, &str)>, ApiError> {
    let text = |(name, value): (&'_ axum::http::HeaderName, &'_ axum::http::HeaderValue)| {
        std::str::from_utf8(value.as_bytes())
            .is_ok()
            .then_some(())
            .ok_or_else(|| {
                ApiError::incomplete_signature(format!("The header '{name}' is not UTF-8."))
            })
    };
    head.headers.iter().try_for_each(text)?;
    let headers = head.headers.iter().map(|(name, value)| {
        let value = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        (name.as_str(), value)
    });
    Ok(headers.collect())
}

/// What the store holds about a key. Asked each time: the command line disables keys while the bridge serves.
async fn key_record(
    api: &Api,
    request_id: &str,
    id: &AccessKeyId,
) -> Result<Option<KeyRecord>, ApiError> {
    let found = api.0.hub.store().access_key(id.as_str()).await;
    let found = found.map_err(|error| of_store(request_id, &error))?;
    Ok(found.map(|key| KeyRecord {
        secret: Secret::new(key.secret),
        enabled: key.disabled.is_none(),
        name: key.name,
    }))
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    match tokio::time::timeout(BODY_TIME_MAX, read_all(body)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiError::serialization(format!(
            "The request's body did not arrive within {} s.",
            BODY_TIME_MAX.as_secs()
        ))),
    }
}

async fn read_all(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut stream = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| ApiError::serialization("The request's body broke off."))?;
        if read.len().saturating_add(piece.len()) > BODY_BYTES_MAX {
            return Err(ApiError::request_too_large(BODY_BYTES_MAX));
        }
        read.extend_from_slice(&piece);
    }
    Ok(read)
}
