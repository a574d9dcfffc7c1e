//! The one module that writes to standard output and standard error.
//! Never fails: who closed the pipe does not want the rest.

use serde::Serialize;
use std::io::{self, Write};

/// Text for people, with its own line ends.
pub(super) fn text(text: &str) {
    bytes(text.as_bytes());
}

/// Bytes as a step wrote them.
pub(super) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// The same for standard error.
pub(super) fn error_bytes(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

/// One value for scripts.
pub(super) fn json(value: &impl Serialize) {
    // Values with text keys and finite numbers: this cannot fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    bytes(text.as_bytes());
}

/// Why a verb failed: on standard error, and for scripts as JSON too.
pub(super) fn failure(text: &str, as_json: bool) {
    let line = if as_json {
        serde_json::json!({ "error": text }).to_string()
    } else {
        format!("holdfast-agent: {text}")
    };
    error_bytes(format!("{line}\n").as_bytes());
}
