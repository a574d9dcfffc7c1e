//! The Authorization header of Signature Version 4, taken apart.
//! Never repeats the header in a message: a proxy's log is no place for signatures.

use crate::error::ApiError;

use super::{ALGORITHM, TERMINATOR};

/// The header may be this long; real ones are below 600 bytes.
const HEADER_BYTES_MAX: usize = 4096;

/// `AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX`.
#[derive(Debug)]
pub(super) struct Authorization<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) terminator: &'a str,
    /// In small letters, sorted, as they were signed.
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: [u8; 32],
}

impl Authorization<'_> {
    pub(super) fn scope(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            self.date, self.region, self.service, self.terminator
        )
    }

    /// The scope must be this service's, in any region whose name could be one.
    pub(super) fn check_scope(&self, service: &str) -> Result<(), ApiError> {
        if self.service != service {
            return Err(ApiError::invalid_signature(format!(
                "Credential should be scoped to correct service: '{service}'."
            )));
        }
        if self.terminator != TERMINATOR {
            return Err(ApiError::invalid_signature(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
            )));
        }
        let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=63).contains(&self.region.len()) || !self.region.bytes().all(named) {
            return Err(ApiError::invalid_signature(
                "Credential should be scoped to a valid region: small letters, digits and dashes.",
            ));
        }
        Ok(())
    }
}

/// Parses the header's value.
///
/// # Errors
/// `IncompleteSignatureException`, which names what is missing or malformed.
pub(super) fn parse(header: &str) -> Result<Authorization<'_>, ApiError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(ApiError::incomplete_signature(format!(
            "The Authorization header is longer than {HEADER_BYTES_MAX} bytes."
        )));
    }
    let (algorithm, parameters) = header.trim().split_once(' ').unwrap_or((header, ""));
    if algorithm != ALGORITHM {
        return Err(ApiError::incomplete_signature(format!(
            "Unsupported AWS 'algorithm': only {ALGORITHM} is accepted."
        )));
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for parameter in parameters
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let slot = match parameter.split_once('=') {
            Some(("Credential", value)) => credential.replace(value),
            Some(("SignedHeaders", value)) => signed_headers.replace(value),
            Some(("Signature", value)) => signature.replace(value),
            _ => {
                return Err(malformed(
                    "a parameter is not Credential, SignedHeaders or Signature",
                ));
            }
        };
        if slot.is_some() {
            return Err(malformed("a parameter is given twice"));
        }
    }
    let (Some(credential), Some(signed_headers), Some(signature)) =
        (credential, signed_headers, signature)
    else {
        let given = [
            ("Credential", credential),
            ("SignedHeaders", signed_headers),
            ("Signature", signature),
        ];
        let missing = given.iter().filter(|(_, value)| value.is_none());
        let sentences =
            missing.map(|(name, _)| format!("Authorization header requires '{name}' parameter."));
        return Err(ApiError::incomplete_signature(
            sentences.collect::<Vec<_>>().join(" "),
        ));
    };
    let scope: Vec<&str> = credential.split('/').collect();
    let &[access_key_id, date, region, service, terminator] = scope.as_slice() else {
        return Err(malformed(
            "Credential must be ACCESS_KEY_ID/DATE/REGION/SERVICE/aws4_request",
        ));
    };
    Ok(Authorization {
        access_key_id,
        date,
        region,
        service,
        terminator,
        signed_headers: parse_signed_headers(signed_headers)?,
        signature: parse_signature(signature)?,
    })
}

fn parse_signed_headers(text: &str) -> Result<Vec<&str>, ApiError> {
    let names: Vec<&str> = text.split(';').collect();
    let lower = |name: &&str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
    // Strictly ascending: sorted, and each name once.
    if !names.iter().all(lower) || !names.is_sorted_by(|a, b| a < b) {
        return Err(malformed(
            "SignedHeaders must be small letters, sorted, each once, separated by ';'",
        ));
    }
    Ok(names)
}

fn parse_signature(text: &str) -> Result<[u8; 32], ApiError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| malformed("Signature must be 64 hexadecimal digits"))?;
    Ok(bytes)
}

fn malformed(what: &str) -> ApiError {
    ApiError::incomplete_signature(format!("The Authorization header is malformed: {what}."))
}
