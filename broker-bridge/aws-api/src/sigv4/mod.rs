//! Verifies AWS Signature Version 4 as the Authorization header carries it.
//! Never trusts a hash the client sent: the body is hashed here; never shows a secret.
//!
//! Source of the rules: "Create a signed AWS API request" in the IAM user guide, and the signature test suite that AWS
//! published with it.

mod authorization;
mod canonical;
#[cfg(test)]
mod tests;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;
use authorization::Authorization;

/// How far a signature's time may be from the bridge's.
pub const SKEW_MINUTES_MAX: i64 = 5;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const SERVICE: &str = "ssm";
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// A request as it was received, before anything was decoded.
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// The path of the request line, still percent-encoded.
    pub path: &'a str,
    /// What follows the question mark, still percent-encoded; empty when there is none.
    pub query: &'a str,
    /// Names in any case, values as text, in the order received.
    pub headers: &'a [(&'a str, &'a str)],
    /// The whole body.
    pub body: &'a [u8],
}

impl RequestParts<'_> {
    /// The values of all headers of this name, joined by commas, or none.
    fn header(&self, name: &str) -> Option<String> {
        let named = self
            .headers
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let values: Vec<&str> = named.map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}

/// The public half of an access key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// Takes 1 to 128 letters, digits and underscores, as AWS does; none for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (plain && (1..=128).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret half of an access key; it has no text form but [`Self::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself: for the store and for the one time it is shown to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What the bridge holds about an access key.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    /// The secret half.
    pub secret: Secret,
    /// A disabled key is answered as an unknown one is.
    pub enabled: bool,
    /// What its owner called it.
    pub name: String,
}

/// Who sent a request, and for which region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key that signed.
    pub access_key_id: AccessKeyId,
    /// The key's name.
    pub name: String,
    /// The region the client signed for; it shows in ARNs.
    pub region: String,
}

/// Verifies a request's signature at the time `now`; `lookup` finds a key in the store.
///
/// A repeated request is accepted within [`SKEW_MINUTES_MAX`], as AWS accepts it.
///
/// # Errors
/// `MissingAuthenticationTokenException` without a signature; `IncompleteSignatureException` for a malformed one;
/// `UnrecognizedClientException` for an unknown or disabled key; `InvalidSignatureException` for a wrong scope or time,
/// an unsigned header that must be signed, a tampered request or a wrong secret.
pub fn authenticate(
    request: &RequestParts<'_>,
    now: Timestamp,
    lookup: impl FnMut(&AccessKeyId) -> Option<KeyRecord>,
) -> Result<Caller, ApiError> {
    authenticate_for(SERVICE, request, now, lookup)
}

fn authenticate_for(
    service: &str,
    request: &RequestParts<'_>,
    now: Timestamp,
    mut lookup: impl FnMut(&AccessKeyId) -> Option<KeyRecord>,
) -> Result<Caller, ApiError> {
    let authorization = presented(request)?;
    // Session tokens are not issued here, so one that is presented cannot be valid.
    if request.header("x-amz-security-token").is_some() {
        return Err(ApiError::unrecognized_client());
    }
    let id = AccessKeyId::parse(authorization.access_key_id)
        .ok_or_else(ApiError::unrecognized_client)?;
    let key = lookup(&id)
        .filter(|key| key.enabled)
        .ok_or_else(ApiError::unrecognized_client)?;

    authorization.check_scope(service)?;
    check_signed_headers(request, &authorization)?;
    let stamp = check_time(request, &authorization, now)?;
    let wanted = signature(&key.secret, &authorization, &stamp, request)?;
    if !bool::from(wanted.ct_eq(&authorization.signature)) {
        return Err(ApiError::invalid_signature(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        ));
    }
    Ok(Caller {
        access_key_id: id,
        name: key.name,
        region: authorization.region.to_owned(),
    })
}

/// The Authorization header, taken apart.
fn presented<'a>(request: &RequestParts<'a>) -> Result<Authorization<'a>, ApiError> {
    let mut given = request
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    match (given.next(), given.next()) {
        (Some((_, value)), None) => authorization::parse(value),
        (Some(_), Some(_)) => Err(ApiError::incomplete_signature(
            "The Authorization header is given more than once.",
        )),
        (None, _) if request.query.contains("X-Amz-Signature=") => {
            Err(ApiError::incomplete_signature(
                "A signature in the query (a presigned URL) is not accepted here: sign with the Authorization header.",
            ))
        }
        (None, _) => Err(ApiError::missing_authentication_token()),
    }
}

/// What steers the request must be signed: the host, the time, and the operation when there is one.
fn check_signed_headers(
    request: &RequestParts<'_>,
    authorization: &Authorization<'_>,
) -> Result<(), ApiError> {
    let signed = |name: &str| authorization.signed_headers.contains(&name);
    if !signed("host") {
        return Err(ApiError::invalid_signature(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ));
    }
    for name in ["x-amz-date", "x-amz-target"] {
        if request.header(name).is_some() && !signed(name) {
            return Err(ApiError::invalid_signature(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )));
        }
    }
    let missing = (authorization.signed_headers.iter()).find(|name| request.header(name).is_none());
    if let Some(name) = missing {
        return Err(ApiError::invalid_signature(format!(
            "'{name}' is a 'SignedHeader' in the AWS Authorization and is not in the request."
        )));
    }
    Ok(())
}

/// The time that was signed, as its stamp, once it agrees with the scope's date and with `now`.
fn check_time(
    request: &RequestParts<'_>,
    authorization: &Authorization<'_>,
    now: Timestamp,
) -> Result<String, ApiError> {
    let signed = signed_time(request, authorization)?;
    let stamp = signed.strftime(STAMP).to_string();
    let date = stamp.get(..8).unwrap_or_default();
    if date != authorization.date {
        return Err(ApiError::invalid_signature(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
             '{date}', from '{stamp}'.",
            authorization.date
        )));
    }
    let skew = SignedDuration::from_mins(SKEW_MINUTES_MAX);
    let shown = now.strftime(STAMP);
    if let Ok(earliest) = now.checked_sub(skew)
        && signed < earliest
    {
        return Err(ApiError::invalid_signature(format!(
            "Signature expired: {stamp} is now earlier than {} ({shown} - {SKEW_MINUTES_MAX} min.)",
            earliest.strftime(STAMP)
        )));
    }
    if let Ok(latest) = now.checked_add(skew)
        && signed > latest
    {
        return Err(ApiError::invalid_signature(format!(
            "Signature not yet current: {stamp} is still later than {} ({shown} + {SKEW_MINUTES_MAX} min.)",
            latest.strftime(STAMP)
        )));
    }
    Ok(stamp)
}

/// `X-Amz-Date`, or `Date` where a client signed only that.
fn signed_time(
    request: &RequestParts<'_>,
    authorization: &Authorization<'_>,
) -> Result<Timestamp, ApiError> {
    let dated = match request.header("x-amz-date") {
        Some(text) => Some(text),
        None if authorization.signed_headers.contains(&"date") => request.header("date"),
        None => None,
    };
    let Some(text) = dated else {
        return Err(ApiError::incomplete_signature(
            "Authorization header requires existence of either a signed 'X-Amz-Date' or a signed 'Date' header.",
        ));
    };
    let basic = jiff::civil::DateTime::strptime(STAMP, &text)
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
        .map(|time| time.timestamp());
    basic
        .or_else(|_| jiff::fmt::rfc2822::parse(&text).map(|time| time.timestamp()))
        .map_err(|_| {
            ApiError::incomplete_signature(
                "Date must be in ISO-8601 'basic format', such as 20150830T123600Z.",
            )
        })
}

/// The signature that the secret gives for this request.
fn signature(
    secret: &Secret,
    authorization: &Authorization<'_>,
    stamp: &str,
    request: &RequestParts<'_>,
) -> Result<[u8; 32], ApiError> {
    let canonical = canonical::request(request, &authorization.signed_headers);
    let scope = authorization.scope();
    let to_sign = format!(
        "{ALGORITHM}\n{stamp}\n{scope}\n{}",
        hex_sha256(canonical.as_bytes())
    );
    let mut key = hmac(
        format!("AWS4{}", secret.expose()).as_bytes(),
        authorization.date,
    )?;
    for part in [
        authorization.region,
        authorization.service,
        TERMINATOR,
        &to_sign,
    ] {
        key = hmac(&key, part)?;
    }
    Ok(key)
}

fn hmac(key: &[u8], message: &str) -> Result<[u8; 32], ApiError> {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    let mut mac = mac.map_err(|_| {
        ApiError::internal_server_error("the access key's secret cannot key an HMAC")
    })?;
    mac.update(message.as_bytes());
    Ok(mac.finalize().into_bytes().into())
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
