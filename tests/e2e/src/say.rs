//! Lines that a person sees although the test passes: seeds, figures, counts.
//! Never anything that a test decides by.

use std::io::Write as _;

/// Writes a line to standard error, past the test harness's capture.
pub fn say(line: impl std::fmt::Display) {
    // Nobody reads it where standard error is closed.
    let _ = writeln!(std::io::stderr(), "    {line}");
}
