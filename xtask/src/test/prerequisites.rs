//! What the checks need from Debian and PyPI, and why.
//! Never installs by itself: the installer does.

use crate::install::{self, Wanted};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Debian's packages, and what for.
const PACKAGES: &[Wanted] = &[
    ("gcc", "C code of SQLite and ring"),
    ("python3-venv", "AWS CLI and boto3 in a folder of their own"),
    ("python3-apt", "oracle of the patch scan"),
    ("apt-utils", "package lists of the patch scan's test roots"),
    ("dpkg-dev", "packages of the patch scan's test roots"),
    ("openssh-client", "signatures of the packages' checksums"),
    ("rpm", "the rpm inventory's test root"),
    ("iproute2", "network namespaces of the link tests"),
    ("nftables", "links that lose packets"),
    ("strace", "disks that do not answer"),
    ("lz4", "compressed lists of the patch scan's tests"),
    ("zstd", "compressed lists of the patch scan's tests"),
    ("xz-utils", "compressed lists of the patch scan's tests"),
];

/// Installs the Debian packages that are missing.
///
/// # Errors
/// When some are missing and may not be installed here.
pub(crate) fn packages() -> Result<()> {
    install::debian(PACKAGES)
}

/// A Python with the pinned AWS CLI, boto3 and pytest; its path.
///
/// # Errors
/// When PyPI cannot be reached for what is missing.
pub(crate) fn python(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target").join("clients-venv");
    let requirements = root.join("tests").join("clients").join("requirements.txt");
    let requirements = std::fs::read_to_string(&requirements)?;
    install::venv(&folder, &requirements, "AWS CLI, boto3 and pytest")?;
    Ok(folder.join("bin").join("python"))
}
