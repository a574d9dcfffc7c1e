//! One description of a package, written as deb, rpm, ipk or apk: the same input gives the same
//! bytes, whoever writes it and wherever.
//! Never reads a file or a clock: contents and time come in.

pub mod apk;
mod archive;
pub mod contents;
pub mod deb;
pub mod ipk;
pub mod manual;
pub mod rpm;
pub mod tarball;

use std::fmt;

/// What a package is, before it is of any format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, digits and dots; the same everywhere.
    pub version: String,
    /// One line, not a sentence.
    pub summary: String,
    /// Paragraphs of one line each.
    pub description: Vec<String>,
    /// SPDX.
    pub license: String,
    /// `Name <address>`.
    pub maintainer: String,
    /// Where to read more, if there is such a place.
    pub homepage: Option<String>,
    /// Files, sorted by path.
    pub files: Vec<File>,
    /// Folders of its files that are nobody else's, and go with it once they are empty. Only RPM
    /// wants to be told.
    pub own_folders: Vec<String>,
    /// What is run when it comes and goes.
    pub scripts: Scripts,
    /// Seconds since 1970 that stand in archives.
    pub epoch_s: u64,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, without the first slash.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Whether it is the user's once it is there: an upgrade keeps what the user wrote.
    pub config: bool,
}

/// Lines of `sh`, without `#!`, run as root. Each format calls them at its own moments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scripts {
    /// After the files are there, for the first time or anew.
    pub installed: String,
    /// Before the files go for good; not before an upgrade.
    pub removing: String,
    /// After the files went for good.
    pub removed: String,
    /// After a new version's files replaced the old one's.
    pub upgraded: String,
    /// Only Debian: after the user asked for every trace to go.
    pub purged: String,
}

/// A package cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A path that a format cannot hold.
    #[error("{path}: {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file or header that is longer than the format's numbers.
    #[error("{what} has {bytes} B: {format} holds at most {bytes_max}")]
    Long {
        /// What is too long.
        what: String,
        /// How long it is.
        bytes: usize,
        /// The format.
        format: &'static str,
        /// The bound.
        bytes_max: usize,
    },
    /// An archive in memory could not be written.
    #[error("writing the archive")]
    Archive(#[from] std::io::Error),
}

impl Package {
    /// Bytes that its files take once installed.
    #[must_use]
    pub fn installed_bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.content.len() as u64)
            .sum()
    }

    /// Every folder of its files, parents first, without a slash at the end.
    #[must_use]
    pub fn folders(&self) -> Vec<String> {
        let mut folders = std::collections::BTreeSet::new();
        for file in &self.files {
            for (at, _) in file.path.match_indices('/') {
                folders.extend(file.path.get(..at).map(str::to_owned));
            }
        }
        folders.into_iter().collect()
    }

    /// Refuses a path that would leave the root or that a format cannot hold.
    fn check(&self) -> Result<(), PackageError> {
        for file in &self.files {
            let wrong = |why| PackageError::Path {
                path: file.path.clone(),
                why,
            };
            if file.path.starts_with('/')
                || file
                    .path
                    .split('/')
                    .any(|part| matches!(part, "" | "." | ".."))
            {
                return Err(wrong(
                    "expected a relative path without `.`, `..` or empty parts",
                ));
            }
            // The name field of a ustar header, with `./` before it.
            if file.path.len() > 97 {
                return Err(wrong("longer than the 97 bytes that every format holds"));
            }
            if !file.path.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("expected visible ASCII"));
            }
        }
        if !self.files.is_sorted_by(|a, b| a.path < b.path) {
            return Err(PackageError::Path {
                path: self.name.clone(),
                why: "its files are not sorted, or one is there twice",
            });
        }
        Ok(())
    }
}

/// A script of `sh` that ends at the first failure.
fn script(lines: impl fmt::Display) -> Vec<u8> {
    format!("#!/bin/sh\nset -e\n{lines}").into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small package.
    pub(crate) fn sample() -> Package {
        let file = |path: &str, content: &str, mode, config| File {
            path: path.into(),
            content: content.into(),
            mode,
            config,
        };
        Package {
            name: "sample".into(),
            version: "1.2.3".into(),
            summary: "does what a sample does".into(),
            description: vec!["It has a program.".into(), "And a configuration.".into()],
            license: "Apache-2.0".into(),
            maintainer: "Nobody <nobody@example.org>".into(),
            homepage: Some("https://example.org/".into()),
            files: vec![
                file("etc/sample.conf", "a=1\n", 0o644, true),
                file("usr/bin/sample", "#!/bin/sh\necho sample\n", 0o755, false),
            ],
            own_folders: Vec::new(),
            scripts: Scripts {
                installed: "echo installed\n".into(),
                ..Scripts::default()
            },
            epoch_s: 1_700_000_000,
        }
    }

    #[test]
    fn folders_are_those_of_the_files_parents_first() {
        assert_eq!(sample().folders(), ["etc", "usr", "usr/bin"]);
    }

    #[test]
    fn a_path_out_of_the_root_or_out_of_order_is_refused() {
        for path in ["/etc/x", "../x", "a//b", "a/./b", "with space"] {
            let mut package = sample();
            package.files.truncate(1);
            package.files[0].path = path.into();
            assert!(package.check().is_err(), "{path}");
        }
        let mut package = sample();
        package.files.reverse();
        assert!(package.check().is_err());
    }
}
