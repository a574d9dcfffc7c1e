//! Opens apt's package lists in whichever compression they are kept.
//! Never unpacks to disk, and never takes a window or dictionary above a stated bound.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use crate::package_manager::file;

/// The largest dictionary or window accepted. `xz -9` asks for 64 MiB; what apt writes itself
/// (lz4, `zstd -19`) asks for at most 8 MiB, and lz4 for 64 KiB.
const WINDOW_BYTES_MAX: u64 = 65 * 1024 * 1024;
/// Compressed bytes read at once.
const INPUT_BYTES: usize = 16 * 1024;

/// The names a list may have, in apt's own order of preference for what is cheap to read.
const EXTENSIONS: [&str; 5] = ["", ".lz4", ".zst", ".gz", ".xz"];
/// What apt may keep as well, and this reader does not know.
const UNKNOWN_EXTENSIONS: [&str; 2] = [".bz2", ".lzma"];

/// A list found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there and can be read.
    Readable(PathBuf),
    /// It is there in a compression that this reader does not know.
    UnknownCompression(PathBuf),
    /// Never fetched.
    Absent,
}

/// Looks for a list by its name without compression.
#[must_use]
pub fn find(directory: &Path, name: &str) -> Found {
    let existing = |extension: &&str| {
        let path = directory.join(format!("{name}{extension}"));
        path.is_file().then_some(path)
    };
    if let Some(path) = EXTENSIONS.iter().find_map(existing) {
        return Found::Readable(path);
    }
    match UNKNOWN_EXTENSIONS.iter().find_map(existing) {
        Some(path) => Found::UnknownCompression(path),
        None => Found::Absent,
    }
}

/// Opens a list for reading its plain text.
///
/// # Errors
/// The system's; damage further inside shows while reading.
pub fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = file::open(path)?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let buffered = |file: File| BufReader::with_capacity(INPUT_BYTES, file);
    Ok(match extension {
        Some("lz4") => Box::new(FrameDecoder::new(buffered(file))),
        Some("gz") => Box::new(MultiGzDecoder::new(buffered(file))),
        Some("xz") => {
            let limit_kib = u32::try_from(WINDOW_BYTES_MAX / 1024).unwrap_or(u32::MAX);
            Box::new(XzReader::new_mem_limit(buffered(file), true, limit_kib))
        }
        Some("zst") => {
            let decoder =
                StreamingDecoder::new_with_max_window_size(buffered(file), WINDOW_BYTES_MAX)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            Box::new(decoder)
        }
        _ => Box::new(file),
    })
}
