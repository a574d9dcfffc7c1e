//! The canonical form of a request, the text that is signed.
//! Never fails: what is not valid UTF-8 after decoding is kept as bytes.

use std::fmt::Write as _;

use super::{RequestParts, hex_sha256};

/// Method, path, query, signed headers, their names, and the hash of the body, a line each.
pub(super) fn request(request: &RequestParts<'_>, signed_headers: &[&str]) -> String {
    let mut out = format!(
        "{}\n{}\n{}\n",
        request.method,
        path(request.path),
        query(request.query)
    );
    for name in signed_headers {
        // Each value is trimmed before they are joined, so they are collected again here.
        let named = request
            .headers
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let values: Vec<String> = named.map(|(_, value)| single_spaced(value)).collect();
        let _ = writeln!(out, "{name}:{}", values.join(","));
    }
    let _ = write!(
        out,
        "\n{}\n{}",
        signed_headers.join(";"),
        hex_sha256(request.body)
    );
    out
}

/// Dot segments and repeated slashes removed, then encoded once more, as every service but S3 does.
fn path(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut out = String::from("/");
    out += &kept
        .iter()
        .map(|segment| encoded(segment.bytes()))
        .collect::<Vec<_>>()
        .join("/");
    let is_folder = raw.ends_with('/') || raw.ends_with("/.") || raw.ends_with("/..");
    if is_folder && !kept.is_empty() {
        out.push('/');
    }
    out
}

/// Decoded and encoded again in the one canonical way, sorted by name, then by value.
fn query(raw: &str) -> String {
    let parts = raw.split('&').filter(|part| !part.is_empty());
    let mut pairs: Vec<(String, String)> = parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (encoded(decoded(name)), encoded(decoded(value))))
        .collect();
    pairs.sort();
    let joined: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    joined.join("&")
}

/// Trimmed, and every run of spaces made one.
fn single_spaced(value: &str) -> String {
    value
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Every byte but the unreserved ones of RFC 3986 as `%XX`.
fn encoded(bytes: impl IntoIterator<Item = u8>) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// `%XX` undone; a percent sign that begins no such group stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let group = match (byte, ahead.next(), ahead.next()) {
            (b'%', Some(high), Some(low)) => hex_byte(high, low),
            _ => None,
        };
        match group {
            Some(value) => {
                out.push(value);
                bytes = ahead;
            }
            None => out.push(byte),
        }
    }
    out
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice([high, low], &mut byte).ok()?;
    let [byte] = byte;
    Some(byte)
}
