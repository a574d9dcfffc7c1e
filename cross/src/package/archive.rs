//! Archives with nothing in them that depends on the machine: tar, gzip and digests.
//! Never a user's name, a device number or another time than the one given.

use super::{File, Package, PackageError};
use flate2::{Compression, GzBuilder};
use ring::digest::{self, Algorithm};
use std::io::Write as _;
use tar::{Builder, EntryType, Header};

/// One gzip member without a name or a time of its own.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>, PackageError> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Lower-case hexadecimal digest.
pub(super) fn hex_digest(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    hex::encode(digest::digest(algorithm, bytes))
}

/// A tar in memory whose entries all have one time and belong to root.
pub(super) struct Tar {
    builder: Builder<Vec<u8>>,
    epoch_s: u64,
}

impl Tar {
    pub(super) fn new(epoch_s: u64) -> Self {
        Self {
            builder: Builder::new(Vec::new()),
            epoch_s,
        }
    }

    fn header(
        &self,
        path: &str,
        kind: EntryType,
        mode: u32,
        bytes: usize,
    ) -> Result<Header, PackageError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        // As it is: the builder would take a `./` away that dpkg expects.
        let field = &mut header.as_old_mut().name;
        let name = path.as_bytes();
        let room = field.get_mut(..name.len()).ok_or(PackageError::Path {
            path: path.to_owned(),
            why: "longer than the 100 bytes of a tar header",
        })?;
        room.copy_from_slice(name);
        header.set_mode(mode);
        header.set_size(bytes as u64);
        header.set_mtime(self.epoch_s);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_cksum();
        Ok(header)
    }

    pub(super) fn folder(&mut self, path: &str) -> Result<(), PackageError> {
        let header = self.header(path, EntryType::Directory, 0o755, 0)?;
        self.builder.append(&header, std::io::empty())?;
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        path: &str,
        mode: u32,
        content: &[u8],
    ) -> Result<(), PackageError> {
        let header = self.header(path, EntryType::Regular, mode, content.len())?;
        self.builder.append(&header, content)?;
        Ok(())
    }

    /// Attributes of the entry that follows (POSIX.1-2001, pax).
    pub(super) fn attributes(&mut self, attributes: &[(&str, &str)]) -> Result<(), PackageError> {
        let mut records = Vec::new();
        for (name, value) in attributes {
            records.extend(pax_record(name, value).into_bytes());
        }
        let header = self.header("PaxHeaders", EntryType::XHeader, 0o644, records.len())?;
        self.builder.append(&header, records.as_slice())?;
        Ok(())
    }

    /// The archive with its end.
    pub(super) fn finish(self) -> Result<Vec<u8>, PackageError> {
        Ok(self.builder.into_inner()?)
    }

    /// The entries alone: another archive follows.
    pub(super) fn without_end(self) -> Result<Vec<u8>, PackageError> {
        let mut bytes = self.finish()?;
        // Two blocks of zeros.
        bytes.truncate(bytes.len().saturating_sub(1024));
        Ok(bytes)
    }

    /// A package's files below `./`.
    pub(super) fn files(package: &Package) -> Result<Vec<u8>, PackageError> {
        let mut tar = Self::new(package.epoch_s);
        for file in &package.files {
            tar.member(file)?;
        }
        tar.finish()
    }

    /// A package's folders and files below `./`.
    pub(super) fn tree(package: &Package) -> Result<Vec<u8>, PackageError> {
        let mut tar = Self::new(package.epoch_s);
        tar.folder("./")?;
        let mut files = package.files.iter().peekable();
        for folder in package.folders() {
            // Each folder stands before what is in it, and files stand in their order.
            while let Some(file) = files.next_if(|file| file.path < folder) {
                tar.member(file)?;
            }
            tar.folder(&format!("./{folder}/"))?;
        }
        for file in files {
            tar.member(file)?;
        }
        tar.finish()
    }

    fn member(&mut self, file: &File) -> Result<(), PackageError> {
        self.file(&format!("./{}", file.path), file.mode, &file.content)
    }
}

/// `LENGTH NAME=VALUE\n`, where the length counts itself.
fn pax_record(name: &str, value: &str) -> String {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {name}={value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tree_has_each_folder_before_its_files() {
        let package = super::super::tests::sample();
        let bytes = Tar::tree(&package).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
            .collect();
        assert_eq!(
            paths,
            [
                "./",
                "./etc/",
                "./etc/sample.conf",
                "./usr/",
                "./usr/bin/",
                "./usr/bin/sample"
            ]
        );
    }

    proptest! {
        #[test]
        fn a_pax_record_counts_itself(value in "[a-z]{0,120}") {
            let record = pax_record("k", &value);
            let (length, _) = record.split_once(' ').unwrap();
            prop_assert_eq!(length.parse::<usize>().unwrap(), record.len());
        }
    }
}
