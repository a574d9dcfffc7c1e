//! Opens files of a root and collects what was wrong with them.
//! Never opens anything but a regular file, and never reads more than a stated bound.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Warnings kept; more are only counted.
const WARNINGS_MAX: usize = 64;
/// Entries read of one directory; `/etc/apt/sources.list.d` and the like hold a handful.
const DIRECTORY_ENTRIES_MAX: usize = 4096;

/// Something that was passed over: the result stands, but less was known than could have been.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Warning {
    /// The file concerned.
    pub path: String,
    /// What was wrong with it, and what was done instead.
    pub problem: String,
}

/// The first 64 warnings, and how many more there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    /// In the order found.
    pub list: Vec<Warning>,
    /// Warnings above the bound, not kept.
    pub omitted: u32,
}

impl Warnings {
    /// Adds one, or counts it where the list is full.
    pub fn push(&mut self, path: &Path, problem: impl Display) {
        if self.list.len() < WARNINGS_MAX {
            self.list.push(Warning {
                path: path.display().to_string(),
                problem: problem.to_string(),
            });
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }
}

/// Opens a regular file; a pipe or device in its place is an error and cannot block the caller.
///
/// # Errors
/// What the system said, or `InvalidInput` for what is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        let reason = "not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    File::open(path)
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open`]; `FileTooLarge`, with the bound, for a longer one.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        let reason = format!("longer than the {bytes_max} bytes allowed");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(content)
}

/// Reads a file that may be absent; any other failure becomes a warning and counts as absent.
pub fn read_optional(path: &Path, bytes_max: u64, warnings: &mut Warnings) -> Option<Vec<u8>> {
    match read(path, bytes_max) {
        Ok(content) => Some(content),
        Err(error) if is_absent(&error) => None,
        Err(error) => {
            warnings.push(path, format_args!("ignored: {error}"));
            None
        }
    }
}

/// The first line of a small text file without surrounding blanks; `None` where there is none.
#[must_use]
pub fn first_line(path: &Path) -> Option<String> {
    let content = read(path, 64 * 1024).ok()?;
    let line = content.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line.trim_ascii()).into_owned();
    (!text.is_empty()).then_some(text)
}

/// Whether the error only says that nothing is there.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The names in a directory, sorted bytewise; an absent one is empty, names that are not UTF-8 are left out.
pub fn names_in(directory: &Path, warnings: &mut Warnings) -> Vec<String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Vec::new(),
        Err(error) => {
            warnings.push(directory, format_args!("ignored: {error}"));
            return Vec::new();
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .take(DIRECTORY_ENTRIES_MAX + 1)
        .collect();
    if names.len() > DIRECTORY_ENTRIES_MAX {
        names.truncate(DIRECTORY_ENTRIES_MAX);
        let problem = format!("only {DIRECTORY_ENTRIES_MAX} of its entries were looked at");
        warnings.push(directory, problem);
    }
    names.sort_unstable();
    names
}

/// The parts of a `.d` directory as apt takes them: sorted, of the given extensions (`""` is none),
/// with names of letters, digits, `_`, `-` and `.` only (apt.conf(5), apt_preferences(5)).
pub fn parts(directory: &Path, extensions: &[&str], warnings: &mut Warnings) -> Vec<PathBuf> {
    names_in(directory, warnings)
        .into_iter()
        .filter(|name| {
            let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !name.starts_with('.') && extensions.contains(&extension) && name.bytes().all(plain)
        })
        .map(|name| directory.join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_apt_would_read() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.pref", "a", "c.pref~", ".d", "e.dpkg-old", "f g"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        let found = parts(root.path(), &["", "pref"], &mut Warnings::default());
        assert_eq!(found, [root.path().join("a"), root.path().join("b.pref")]);
    }

    #[test]
    fn refuses_what_is_too_long_or_no_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let refused = read(&path, 4).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
        let refused = read(Path::new("/dev/zero"), 4).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn warnings_above_the_bound_are_counted() {
        let mut warnings = Warnings::default();
        for _ in 0..WARNINGS_MAX + 3 {
            warnings.push(Path::new("/p"), "why");
        }
        assert_eq!((warnings.list.len(), warnings.omitted), (WARNINGS_MAX, 3));
    }
}
