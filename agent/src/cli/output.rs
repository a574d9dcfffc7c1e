//! The one module that writes to standard output and standard error.
//! Never fails: who closed the pipe does not want the rest.

use serde::Serialize;
use std::io::{self, BufWriter, Write};

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

/// Written at once: a scan's report as one text would be most of the memory that a scan takes.
const PIECE_BYTES: usize = 8 * 1024;

/// One value for scripts.
pub(super) fn json(value: &impl Serialize) {
    let mut out = BufWriter::with_capacity(PIECE_BYTES, io::stdout().lock());
    // Values with text keys and finite numbers: only writing can fail.
    let written = serde_json::to_writer_pretty(&mut out, value);
    let _ = written.map(|()| out.write_all(b"\n").and_then(|()| out.flush()));
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
