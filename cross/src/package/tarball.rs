//! The files alone, to be unpacked at the root of a system that has none of the package managers.
//! Never a script: nothing would run it.

use super::archive::{Tar, gzip};
use super::{Package, PackageError};

/// A `tar.gz` of the package's files.
///
/// # Errors
/// [`PackageError`].
pub fn write(package: &Package) -> Result<Vec<u8>, PackageError> {
    package.check()?;
    gzip(&Tar::tree(package)?)
}
