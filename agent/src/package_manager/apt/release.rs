//! Reads what an archive says of itself in its Release or InRelease file.
//! Never checks the signature: apt did when it fetched the file, and keeps none that failed.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::package_manager::file;

/// The longest line of interest; hash lines have about 150 bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// The longest Release file read: Debian's has 150 kB.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Lists remembered: one an architecture and component.
const INDEXES_MAX: usize = 4096;

/// The fields that policy and reports go by; absent ones are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// `Debian`.
    pub origin: String,
    /// `Debian-Security`.
    pub label: String,
    /// `stable-security`; apt calls it the archive.
    pub suite: String,
    /// `bookworm-security`.
    pub codename: String,
    /// `12.15`.
    pub version: String,
    /// When the archive was published, as written there.
    pub date: String,
    /// Until when it calls itself current, as written there.
    pub valid_until: String,
    /// Its versions are only taken when asked for.
    pub not_automatic: bool,
    /// … but once installed they are kept up to date.
    pub but_automatic_upgrades: bool,
    /// Whether it has lists of architecture `all` of their own.
    pub separate_all: bool,
    /// What it promises of its package lists.
    pub indexes: Vec<Index>,
}

/// A package list as the Release file promises it, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its path beside the Release file.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl Release {
    /// Reads a file, signed inline or not.
    ///
    /// # Errors
    /// The system's, or `FileTooLarge`.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let file = file::open(path)?;
        if file.metadata()?.len() > FILE_BYTES_MAX {
            let reason = format!("longer than the {FILE_BYTES_MAX} bytes allowed");
            return Err(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                reason,
            ));
        }
        Self::parse(BufReader::new(file.take(FILE_BYTES_MAX)))
    }

    fn parse(mut reader: impl BufRead) -> std::io::Result<Self> {
        let mut release = Self::default();
        let mut field = String::new();
        let mut line = Vec::new();
        // A Release file that lists no architectures has them all.
        let (mut has_all, mut all_within_others) = (true, false);
        while next_line(&mut reader, &mut line)? {
            let Ok(text) = std::str::from_utf8(&line) else {
                continue;
            };
            if text.starts_with("-----BEGIN PGP SIGNATURE") {
                break;
            }
            if text.starts_with(' ') {
                if field == "sha256" {
                    release.note_index(text);
                }
                continue;
            }
            let Some((name, value)) = text.split_once(':') else {
                continue;
            };
            field = name.to_ascii_lowercase();
            let value = value.trim();
            match field.as_str() {
                "origin" => value.clone_into(&mut release.origin),
                "label" => value.clone_into(&mut release.label),
                "suite" => value.clone_into(&mut release.suite),
                "codename" => value.clone_into(&mut release.codename),
                "version" => value.clone_into(&mut release.version),
                "date" => value.clone_into(&mut release.date),
                "valid-until" => value.clone_into(&mut release.valid_until),
                "notautomatic" => release.not_automatic = value.eq_ignore_ascii_case("yes"),
                "butautomaticupgrades" => {
                    release.but_automatic_upgrades = value.eq_ignore_ascii_case("yes");
                }
                "architectures" => has_all = value.split(' ').any(|name| name == "all"),
                "no-support-for-architecture-all" => all_within_others = value == "Packages",
                _ => {}
            }
        }
        release.separate_all = has_all && !all_within_others;
        Ok(release)
    }

    /// ` <hash> <bytes> <path>`, of plain package lists only.
    fn note_index(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(hash), Some(bytes), Some(path)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        let is_list = path == "Packages" || path.ends_with("/Packages");
        if !is_list || self.indexes.len() >= INDEXES_MAX {
            return;
        }
        let mut sha256 = [0; 32];
        if let (Ok(bytes), Ok(())) = (bytes.parse(), hex::decode_to_slice(hash, &mut sha256)) {
            let path = path.to_owned();
            self.indexes.push(Index {
                path,
                bytes,
                sha256,
            });
        }
    }
}

/// Reads a line without its end; what exceeds the bound of one line is dropped.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut some = false;
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(some);
        }
        some = true;
        let newline = memchr::memchr(b'\n', available);
        let part = available.get(..newline.unwrap_or(available.len()));
        let part = part.unwrap_or_default();
        let free = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend(part.iter().take(free));
        let consumed = part.len() + usize::from(newline.is_some());
        reader.consume(consumed);
        if newline.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\n\
        Label: Debian-Security\nSuite: oldstable-security\nCodename: bookworm-security\nVersion: 12\n\
        Date: Sat, 21 Nov 2026 10:00:00 UTC\nValid-Until: Sat, 28 Nov 2026 10:00:00 UTC\n\
        NotAutomatic: yes\nButAutomaticUpgrades: yes\nArchitectures: all amd64\n\
        No-Support-for-Architecture-all: Packages\nMD5Sum:\n 00 7 main/binary-amd64/Packages\n\
        SHA256:\n 0707070707070707070707070707070707070707070707070707070707070707 12 main/binary-amd64/Packages\n\
        \x20 00 9 contrib/binary-amd64/Packages\n 00 5 main/binary-amd64/Packages.xz\n\
        -----BEGIN PGP SIGNATURE-----\n\nOrigin: Forged\n";

    #[test]
    fn reads_the_signed_part_only() {
        let release = Release::parse(SIGNED.as_bytes()).unwrap();
        assert_eq!(release.origin, "Debian");
        assert_eq!(release.label, "Debian-Security");
        assert_eq!(release.suite, "oldstable-security");
        assert_eq!(release.codename, "bookworm-security");
        assert!(release.not_automatic && release.but_automatic_upgrades);
        assert!(!release.separate_all);
        assert_eq!(release.valid_until, "Sat, 28 Nov 2026 10:00:00 UTC");
        let index = Index {
            path: "main/binary-amd64/Packages".to_owned(),
            bytes: 12,
            sha256: [7; 32],
        };
        assert_eq!(release.indexes, [index]);
    }

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_read() {
        let text = format!("X: {}\nSuite: s\n", "y".repeat(3 * LINE_BYTES_MAX));
        let release = Release::parse(BufReader::with_capacity(100, text.as_bytes())).unwrap();
        assert_eq!(release.suite, "s");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            Release::parse(bytes.as_slice()).unwrap();
        }
    }
}
