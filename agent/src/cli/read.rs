//! Reads what a person hands over: a line of standard input, or a file of bounded size.
//! Never reads without a bound.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The first line of standard input, without its end; `None` when it is empty or over the bound.
pub(super) fn line(bytes_max: u64) -> Option<String> {
    let mut line = String::new();
    BufReader::new(io::stdin().lock())
        .take(bytes_max + 2)
        .read_line(&mut line)
        .ok()?;
    let line = line.trim();
    (!line.is_empty() && line.len() as u64 <= bytes_max).then(|| line.to_owned())
}

/// A file, or standard input for `-`; one byte more than the bound is enough to be refused.
///
/// # Errors
/// The system's.
pub(super) fn file(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = bytes_max as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(bound).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
