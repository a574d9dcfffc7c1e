//! Opens apt's package lists in whichever compression they are kept.
//! Never unpacks to disk, and never takes a window or dictionary above a stated bound.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
#[cfg(feature = "xz")]
use lzma_rust2::XzReader;
#[cfg(feature = "zstd")]
use ruzstd::decoding::StreamingDecoder;

use crate::package_manager::file;

/// The largest dictionary or window accepted. `xz -9` asks for 64 MiB; what apt writes itself
/// (lz4, `zstd -19`) asks for at most 8 MiB, and lz4 for 64 KiB.
#[cfg(any(feature = "xz", feature = "zstd"))]
const WINDOW_BYTES_MAX: u64 = 65 * 1024 * 1024;
/// Compressed bytes read at once.
const INPUT_BYTES: usize = 16 * 1024;

/// The names a list may have, in apt's own order of preference for what is cheap to read.
const EXTENSIONS: &[&str] = &[
    "",
    ".lz4",
    #[cfg(feature = "zstd")]
    ".zst",
    ".gz",
    #[cfg(feature = "xz")]
    ".xz",
];
/// What apt may keep as well, and this reader does not know.
const UNKNOWN_EXTENSIONS: &[&str] = &[
    ".bz2",
    ".lzma",
    #[cfg(not(feature = "zstd"))]
    ".zst",
    #[cfg(not(feature = "xz"))]
    ".xz",
];

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
        #[cfg(feature = "xz")]
        Some("xz") => {
            let limit_kib = u32::try_from(WINDOW_BYTES_MAX / 1024).unwrap_or(u32::MAX);
            Box::new(XzReader::new_mem_limit(buffered(file), true, limit_kib))
        }
        #[cfg(feature = "zstd")]
        Some("zst") => {
            let decoder =
                StreamingDecoder::new_with_max_window_size(buffered(file), WINDOW_BYTES_MAX)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            Box::new(decoder)
        }
        _ => Box::new(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package_manager::apt::fixture::ask;
    use proptest::prelude::*;
    use std::fs;
    use std::sync::LazyLock;

    /// A text packed by each tool that apt uses, where this build reads it.
    static PACKED: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
        let root = tempfile::tempdir().unwrap();
        let plain = root.path().join("plain");
        let text: String = (0..3000)
            .map(|n| format!("Package: p{n}\nVersion: {}\n\n", n * n))
            .collect();
        fs::write(&plain, text).unwrap();
        let path = plain.to_str().unwrap();
        [
            ("lz4", "lz4"),
            ("gzip", "gz"),
            ("xz", "xz"),
            ("zstd", "zst"),
        ]
        .map(|(program, extension)| {
            let package = if program == "xz" { "xz-utils" } else { program };
            (extension, ask(program, &["-c", path], package, None).stdout)
        })
        .into()
    });

    fn read(extension: &str, bytes: &[u8]) -> io::Result<u64> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(format!("list.{extension}"));
        fs::write(&path, bytes).unwrap();
        io::copy(&mut open(&path)?.take(1 << 24), &mut io::sink())
    }

    #[test]
    fn each_compression_unpacks_to_the_same_length() {
        let lengths: Vec<_> = PACKED
            .iter()
            .map(|(kind, bytes)| read(kind, bytes).unwrap())
            .collect();
        assert_eq!(lengths[0], lengths[3]);
        assert_eq!(lengths, vec![lengths[0]; 4]);
        assert!(lengths[0] > 64 * 1024, "more than one block of lz4");
    }

    #[test]
    fn a_cut_list_is_an_error_at_every_place() {
        for (kind, bytes) in PACKED.iter() {
            for cut in [1, bytes.len() / 3, bytes.len() - 1] {
                assert!(read(kind, &bytes[..cut]).is_err(), "{kind} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_dictionary_above_the_bound_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("plain");
        fs::write(&path, "text").unwrap();
        let options = ["-c", "--lzma2=preset=6,dict=256MiB", path.to_str().unwrap()];
        let packed = ask("xz", &options, "xz-utils", None).stdout;
        assert!(read("xz", &packed).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn damage_ends_in_an_error_or_a_text(
            which in 0usize..4,
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let (kind, bytes) = &PACKED[which];
            let mut bytes = bytes.clone();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(kind, &bytes);
        }
    }
}
