//! What every handler is given beside its request: who asks, when, and how lists are paged.
//! Never changes during a request.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::arn::{DocumentRef, ForeignArn};
use holdfast_aws_api::page::{self, Query};
use holdfast_aws_api::shape::Timestamp;
use holdfast_aws_api::sigv4::Caller;
use serde::Serialize;

use super::Api;
use super::error::{internal, of_store};
use crate::hub::Hub;
use crate::store::{self, Page, Store, StoreError, UnixMs};

/// One authenticated request.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) api: &'a Api,
    pub(super) request_id: &'a str,
    pub(super) caller: Caller,
    /// When the request came in.
    pub(super) now: UnixMs,
    /// The host that the client signed for; URLs lead back to it.
    pub(super) host: String,
}

impl Context<'_> {
    pub(super) fn store(&self) -> &Store {
        self.api.0.hub.store()
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.api.0.hub
    }

    /// The document that a request means by its name or ARN.
    pub(super) fn document<'n>(&self, name_or_arn: &'n str) -> Result<DocumentRef<'n>, ForeignArn> {
        let account = &self.api.0.config.account;
        account.document(&self.caller.region, name_or_arn)
    }

    /// The name of the role that a request means by its name or ARN.
    pub(super) fn role<'n>(&self, name_or_arn: &'n str) -> Result<&'n str, ForeignArn> {
        self.api.0.config.account.role(name_or_arn)
    }

    /// Who is recorded for a change.
    pub(super) fn actor(&self) -> store::Caller {
        store::Caller {
            access_key_id: self.caller.access_key_id.as_str().to_owned(),
            now: self.now,
        }
    }

    /// The error for what the store says.
    pub(super) fn store_error(&self, error: &StoreError) -> ApiError {
        of_store(self.request_id, error)
    }

    /// The error for a fault of the bridge's own.
    pub(super) fn internal(&self, error: &dyn std::error::Error) -> ApiError {
        internal(self.request_id, error)
    }

    /// The page that a list request asks for.
    pub(super) fn pager(
        &self,
        operation: &'static str,
        request: &impl Serialize,
        max_results: Option<i32>,
        next_token: Option<&str>,
    ) -> Result<Pager<'_>, ApiError> {
        let query = Query::of(operation, request)?;
        let after = query.place(&self.api.0.token_key, next_token)?;
        let limit = page::size(operation, max_results);
        Ok(Pager {
            api: self.api,
            query,
            page: Page {
                limit: u32::try_from(limit).unwrap_or(u32::MAX),
                after,
            },
        })
    }
}

/// A list that is being paged.
#[derive(Debug)]
pub(super) struct Pager<'a> {
    api: &'a Api,
    query: Query,
    pub(super) page: Page,
}

impl Pager<'_> {
    /// The token for the page after `next`, where a page ended before the list did.
    pub(super) fn token(&self, next: Option<String>) -> Result<Option<String>, ApiError> {
        let token = |place: String| self.query.token_after(&self.api.0.token_key, &place);
        next.map(token).transpose()
    }

    /// Where the page begins in a content of this hash: how many of its entries were passed.
    ///
    /// A content that changed since the page before would be listed with gaps or repeats, so it is begun again.
    pub(super) fn offset(&self, hash: &str) -> Result<usize, ApiError> {
        let Some(place) = &self.page.after else {
            return Ok(0);
        };
        let begun = place.split_once(' ').filter(|(of, _)| *of == hash);
        begun
            .and_then(|(_, passed)| passed.parse().ok())
            .ok_or_else(changed)
    }

    /// The token for the page that begins after `passed` entries of a content of this hash.
    pub(super) fn token_at(&self, hash: &str, passed: usize) -> Result<Option<String>, ApiError> {
        self.token(Some(format!("{hash} {passed}")))
    }
}

/// What was being listed is no longer what it was: a place in it means nothing.
pub(super) fn changed() -> ApiError {
    ApiError::invalid_next_token(
        "What is listed has changed since the page before; start again without NextToken.",
    )
}

/// A time for a reply.
pub(super) fn timestamp(unix_ms: UnixMs) -> Timestamp {
    Timestamp::from_unix_ms(unix_ms)
}

/// A text for a reply; an empty one is absent.
pub(super) fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A count for a reply.
pub(super) fn count(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}
