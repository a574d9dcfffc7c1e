//! AWS:Application: the installed packages of dpkg, or of rpm where there is no dpkg.
//! Never lists what is only half there: dpkg's state must be `installed`.

use std::path::Path;

use super::Inventory;
use crate::package_manager::deb822::Stanza;
use crate::package_manager::dpkg::{self, DatabaseError, State};
use crate::package_manager::file::Warnings;
use crate::package_manager::rpm::{self, RpmError};

/// Attributes, those that name a package first. rpm may hold several versions of one name.
const COLUMNS: [&str; 9] = [
    "Name",
    "Architecture",
    "Version",
    "Release",
    "Epoch",
    "ApplicationType",
    "Publisher",
    "URL",
    "Summary",
];
/// What names a package where of each name and architecture there is one.
const ESSENTIAL_COLUMNS: [&str; 3] = ["Name", "Architecture", "Version"];
/// rpm's columns of the essential kind: version, release and epoch belong to the name.
const RPM_ESSENTIAL_COLUMNS: [&str; 5] = ["Name", "Architecture", "Version", "Release", "Epoch"];

/// How much to tell of each package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Name, architecture and version: 700 packages deflate to 6.5 kB.
    Essential,
    /// Also section, publisher, homepage and summary, which hardly compress: 26 kB.
    Full,
}

/// Why packages could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// dpkg's database could not be read.
    #[error("the packages of dpkg cannot be listed")]
    Dpkg(#[source] DatabaseError),
    /// rpm gave no answer.
    #[error("the packages of rpm cannot be listed")]
    Rpm(#[source] RpmError),
}

/// Lists the installed packages below `root`.
///
/// Where there is no dpkg this starts `rpm`; how long that may take is the caller's to bound.
///
/// # Errors
/// [`ApplicationError`]. A root without either package manager has none: that is no error.
pub fn gather(root: &Path, detail: Detail) -> Result<Inventory, ApplicationError> {
    if root.join("var/lib/dpkg/status").exists() {
        from_dpkg(root, detail).map_err(ApplicationError::Dpkg)
    } else {
        from_rpm(root, detail).map_err(ApplicationError::Rpm)
    }
}

fn from_dpkg(root: &Path, detail: Detail) -> Result<Inventory, DatabaseError> {
    let mut warnings = Warnings::default();
    let mut rows = Vec::new();
    dpkg::read(root, &mut warnings, &mut |record| {
        if record.status.state != State::Installed {
            return;
        }
        let text = |field: &str| text(record.stanza, field);
        let (name, architecture) = (record.name.to_owned(), record.architecture.to_owned());
        let version = record.version.to_owned();
        rows.push(match detail {
            Detail::Essential => vec![name, architecture, version],
            Detail::Full => vec![
                name,
                architecture,
                version,
                // Debian's version holds both.
                String::new(),
                String::new(),
                text("Section"),
                text("Maintainer"),
                text("Homepage"),
                text("Description"),
            ],
        });
    })?;
    let columns: &[&str] = match detail {
        Detail::Essential => &ESSENTIAL_COLUMNS,
        Detail::Full => &COLUMNS,
    };
    Ok(Inventory::new(
        "AWS:Application",
        2,
        columns,
        rows,
        warnings,
    ))
}

fn from_rpm(root: &Path, detail: Detail) -> Result<Inventory, RpmError> {
    let rows = rpm::installed(root)?.into_iter().map(|package| {
        let mut row = vec![
            package.name,
            package.architecture,
            package.version,
            package.release,
            package.epoch,
        ];
        if detail == Detail::Full {
            row.extend([package.group, package.vendor, package.url, package.summary]);
        }
        row
    });
    let columns: &[&str] = match detail {
        Detail::Essential => &RPM_ESSENTIAL_COLUMNS,
        Detail::Full => &COLUMNS,
    };
    let rows = rows.collect();
    Ok(Inventory::new(
        "AWS:Application",
        5,
        columns,
        rows,
        Warnings::default(),
    ))
}

/// The first line of a field, read as text whatever its bytes.
fn text(stanza: Stanza<'_>, field: &str) -> String {
    let value = stanza.bytes_of(field).unwrap_or_default();
    let line = value
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(line.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn equals_what_dpkg_query_calls_installed() {
        let format = "${Package}\t${Architecture}\t${Version}\t${Section}\t${Maintainer}\t\
                      ${Homepage}\t${binary:Summary}\t${db:Status-Status}\n";
        let output = Command::new("dpkg-query")
            .args(["-W", "-f", format])
            .output()
            .expect("this test asks `dpkg-query` (Debian package dpkg)");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut expected: Vec<Vec<_>> = text
            .lines()
            .filter_map(|line| line.strip_suffix("\tinstalled"))
            .map(|line| {
                line.split('\t')
                    .map(|field| field.trim().to_owned())
                    .collect()
            })
            .collect();
        expected.sort_unstable();

        let inventory = gather(Path::new("/"), Detail::Full).unwrap();
        let found: Vec<Vec<_>> = inventory
            .rows
            .iter()
            .map(|row| {
                [0, 1, 2, 5, 6, 7, 8]
                    .map(|column| row[column].clone())
                    .to_vec()
            })
            .collect();
        let different = found
            .iter()
            .zip(&expected)
            .find(|(found, expected)| found != expected);
        assert_eq!(different, None);
        assert_eq!(found.len(), expected.len());
        let essential = gather(Path::new("/"), Detail::Essential).unwrap();
        assert_eq!(essential.table().unwrap().rows().len(), expected.len());
    }

    #[test]
    fn a_root_without_packages_has_none() {
        let root = tempfile::tempdir().unwrap();
        let inventory = gather(root.path(), Detail::Full).unwrap();
        assert!(inventory.rows.is_empty());
    }
}
