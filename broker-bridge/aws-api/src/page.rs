//! Pages of a list: their size within the model's range, and the opaque token that asks for the next one.
//! Never trusts a token: it is bound by a MAC to the operation and to everything else the first page was asked with.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;
use crate::model::model;

/// What an operation's page holds when the request says nothing and the model gives no range.
const SIZE_DEFAULT: usize = 50;
/// The place at which a page ended may take this many bytes.
pub const PLACE_BYTES_MAX: usize = 1024;
/// A longer token was not issued here: a place, its MAC and the revision, in base64.
const TOKEN_BYTES_MAX: usize = (1 + TAG_BYTES + PLACE_BYTES_MAX).div_ceil(3) * 4;
const TAG_BYTES: usize = 16;
const REVISION: u8 = 1;

/// The secret that tokens are made with. One bridge keeps one, so that a token outlives a restart.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// From 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(***)")
    }
}

/// A list that is being paged: the operation, and a digest of all that was asked but page size and token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    operation: &'static str,
    digest: [u8; 32],
}

impl Query {
    /// The query of a request, in its typed shape.
    ///
    /// # Errors
    /// `InternalServerError`, were the request not expressible in JSON.
    pub fn of(operation: &'static str, request: &impl Serialize) -> Result<Self, ApiError> {
        let asked = serde_json::to_value(request);
        let mut asked =
            asked.map_err(|error| ApiError::internal_server_error(error.to_string()))?;
        if let Json::Object(members) = &mut asked {
            members.retain(|name, value| {
                !["NextToken", "MaxResults"].contains(&name.as_str()) && !value.is_null()
            });
        }
        Ok(Self {
            operation,
            digest: Sha256::digest(asked.to_string()).into(),
        })
    }

    /// The token for the page after `place`: whatever the caller needs to go on, such as the last row's sort key.
    ///
    /// # Errors
    /// `InternalServerError` for a place above [`PLACE_BYTES_MAX`].
    pub fn token_after(&self, key: &TokenKey, place: &str) -> Result<String, ApiError> {
        if place.len() > PLACE_BYTES_MAX {
            return Err(ApiError::internal_server_error(format!(
                "a page of {} ended at a place of {} bytes; a token holds {PLACE_BYTES_MAX}",
                self.operation,
                place.len()
            )));
        }
        let mac = self.mac(key, place.as_bytes())?.finalize().into_bytes();
        let tag = mac.get(..TAG_BYTES).unwrap_or_default();
        Ok(BASE64.encode([&[REVISION], tag, place.as_bytes()].concat()))
    }

    /// The place that a token holds; none when there is no token, or an empty one: the first page.
    ///
    /// # Errors
    /// `InvalidNextToken` for a token that is malformed, was altered, or comes from another query.
    pub fn place(&self, key: &TokenKey, token: Option<&str>) -> Result<Option<String>, ApiError> {
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let wrong = || {
            ApiError::invalid_next_token(format!(
                "The NextToken is not one that {} gave for these very filters; start again without it.",
                self.operation
            ))
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(wrong());
        }
        let bytes = BASE64.decode(token).map_err(|_| wrong())?;
        let (revision, rest) = bytes.split_first().ok_or_else(wrong)?;
        let (tag, place) = rest.split_at_checked(TAG_BYTES).ok_or_else(wrong)?;
        if *revision != REVISION {
            return Err(wrong());
        }
        // Compares in constant time.
        self.mac(key, place)?
            .verify_truncated_left(tag)
            .map_err(|_| wrong())?;
        String::from_utf8(place.to_vec())
            .map(Some)
            .map_err(|_| wrong())
    }

    fn mac(&self, key: &TokenKey, place: &[u8]) -> Result<Hmac<Sha256>, ApiError> {
        let mac = Hmac::<Sha256>::new_from_slice(&key.0);
        let mut mac =
            mac.map_err(|_| ApiError::internal_server_error("the token key cannot key an HMAC"))?;
        // The operation's name ends at the zero byte and the digest has one length, so no two queries read alike.
        for part in [
            b"holdfast page token 1\0",
            self.operation.as_bytes(),
            b"\0",
            &self.digest,
            place,
        ] {
            mac.update(part);
        }
        Ok(mac)
    }
}

/// How many items a page holds: what was asked, which the model's range already bounded, or as many as it allows.
#[must_use]
pub fn size(operation: &str, max_results: Option<i32>) -> usize {
    let most = model().page_size_range(operation).map(|range| *range.end());
    let wanted = max_results.map(i64::from).or(most);
    wanted
        .and_then(|wanted| usize::try_from(wanted).ok())
        .unwrap_or(SIZE_DEFAULT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shape::commands::ListCommandsRequest;

    const KEY: TokenKey = TokenKey::new([7; 32]);

    fn query(instance: Option<&str>, max_results: Option<i32>) -> Query {
        let request = ListCommandsRequest {
            instance_id: instance.map(str::to_owned),
            max_results,
            next_token: max_results.map(|_| "earlier".to_owned()),
            ..ListCommandsRequest::default()
        };
        Query::of("ListCommands", &request).unwrap()
    }

    #[test]
    fn a_token_leads_back_to_its_place_also_with_another_page_size() {
        let token = query(None, None)
            .token_after(&KEY, "2024-07-01 0c1f")
            .unwrap();
        let place = query(None, Some(7)).place(&KEY, Some(&token)).unwrap();
        assert_eq!(place.as_deref(), Some("2024-07-01 0c1f"));
        for first in [None, Some("")] {
            assert_eq!(query(None, None).place(&KEY, first), Ok(None));
        }
    }

    #[test]
    fn a_token_of_another_query_operation_or_bridge_is_refused() {
        let mine = query(None, None);
        let token = mine.token_after(&KEY, "place").unwrap();
        let other_operation = Query {
            operation: "ListCommandInvocations",
            ..mine.clone()
        };
        for refused in [
            query(Some("mi-0123456789abcdef0"), None).place(&KEY, Some(&token)),
            other_operation.place(&KEY, Some(&token)),
            mine.place(&TokenKey::new([8; 32]), Some(&token)),
            mine.place(&KEY, Some(&"A".repeat(TOKEN_BYTES_MAX + 1))),
            mine.place(&KEY, Some("AAAA")),
        ] {
            assert_eq!(refused.unwrap_err().code(), "InvalidNextToken");
        }
    }

    #[test]
    fn the_longest_place_fits_and_a_longer_one_is_our_own_fault() {
        let longest = "x".repeat(PLACE_BYTES_MAX);
        let token = query(None, None).token_after(&KEY, &longest).unwrap();
        assert_eq!(
            query(None, None).place(&KEY, Some(&token)),
            Ok(Some(longest.clone()))
        );
        let error = query(None, None)
            .token_after(&KEY, &(longest + "x"))
            .unwrap_err();
        assert_eq!(error.status(), 500);
    }

    #[test]
    fn a_page_is_as_large_as_asked_or_as_allowed() {
        assert_eq!(size("ListCommands", Some(3)), 3);
        assert_eq!(size("ListCommands", None), 50);
        assert_eq!(size("GetInventorySchema", None), 200);
        assert_eq!(size("DescribeInstancePatches", None), 100);
        assert_eq!(size("ListInventoryEntries", None), 50);
    }

    proptest! {
        #[test]
        fn any_altered_token_is_refused(at in 0_usize..40, byte in "[A-Za-z0-9_-]") {
            let mine = query(None, None);
            let token = mine.token_after(&KEY, "0c1f7f8e-5b5c").unwrap();
            let mut altered = token.clone();
            let at = at % token.len();
            altered.replace_range(at..=at, &byte);
            prop_assert_eq!(mine.place(&KEY, Some(&altered)).is_ok(), altered == token);
        }

        #[test]
        fn any_text_is_no_token(text in ".{1,60}") {
            prop_assert!(query(None, None).place(&KEY, Some(&text)).is_err());
        }
    }
}
