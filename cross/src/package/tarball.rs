//! The files alone, to be unpacked at the root of a system that has none of the package managers.
//! Never a script: nothing would run it. Never a folder: unpacking would set the modes and times of
//! the system's own.

use super::archive::{Tar, gzip};
use super::{Package, PackageError};

/// A `tar.gz` of the package's files.
///
/// # Errors
/// [`PackageError`].
pub fn write(package: &Package) -> Result<Vec<u8>, PackageError> {
    package.check()?;
    gzip(&Tar::files(package)?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;
    use flate2::read::GzDecoder;

    #[test]
    fn it_holds_the_files_and_no_folder() {
        let bytes = write(&sample()).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                (path, entry.header().mode().unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("./etc/sample.conf".to_owned(), 0o644),
                ("./usr/bin/sample".to_owned(), 0o755)
            ]
        );
    }
}
