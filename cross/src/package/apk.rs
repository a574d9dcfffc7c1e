//! Alpine's package (apk, version 2): a control and a data archive, each a gzip member, the control
//! naming the digest of the data.
//! Never signed here: apk is told to take it, by its checksum, which is signed (docs/install/apk.md).

use super::archive::{Tar, gzip, hex_digest};
use super::{Package, PackageError, script};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// The package for an architecture, by Alpine's name for it.
///
/// # Errors
/// [`PackageError`].
pub fn write(package: &Package, architecture: &str) -> Result<Vec<u8>, PackageError> {
    package.check()?;
    let data = gzip(&data(package)?)?;
    let mut control = Tar::new(package.epoch_s);
    let information = information(package, architecture, &hex_digest(&SHA256, &data));
    control.file(".PKGINFO", 0o644, information.as_bytes())?;
    let scripts = &package.scripts;
    for (name, lines) in [
        (".post-deinstall", scripts.removed.clone()),
        (".post-install", scripts.installed.clone()),
        (
            ".post-upgrade",
            scripts.installed.clone() + &scripts.upgraded,
        ),
        (".pre-deinstall", scripts.removing.clone()),
    ] {
        if !lines.is_empty() {
            control.file(name, 0o755, &script(lines))?;
        }
    }
    let mut bytes = gzip(&control.without_end()?)?;
    bytes.extend(data);
    Ok(bytes)
}

fn information(package: &Package, architecture: &str, data_sha256: &str) -> String {
    let Package {
        name,
        version,
        summary,
        license,
        maintainer,
        epoch_s,
        ..
    } = package;
    let url = package.homepage.as_ref();
    let url = url.map_or_else(String::new, |url| format!("url = {url}\n"));
    format!(
        "pkgname = {name}\npkgver = {version}-r0\npkgdesc = {summary}\n{url}\
         builddate = {epoch_s}\npackager = {maintainer}\nsize = {}\narch = {architecture}\n\
         origin = {name}\nmaintainer = {maintainer}\nlicense = {license}\ndatahash = {data_sha256}\n",
        package.installed_bytes()
    )
}

/// Files with their SHA-1, by which apk sees what the user changed.
fn data(package: &Package) -> Result<Vec<u8>, PackageError> {
    let mut tar = Tar::new(package.epoch_s);
    for folder in package.folders() {
        tar.folder(&format!("{folder}/"))?;
    }
    for file in &package.files {
        let sum = hex_digest(&SHA1_FOR_LEGACY_USE_ONLY, &file.content);
        tar.attributes(&[("APK-TOOLS.checksum.SHA1", &sum)])?;
        tar.file(&file.path, file.mode, &file.content)?;
    }
    tar.finish()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;
    use flate2::read::{GzDecoder, MultiGzDecoder};
    use std::io::Read as _;

    #[test]
    fn the_control_member_names_the_digest_of_the_data_member() {
        let bytes = write(&sample(), "armv7").unwrap();
        let mut control = Vec::new();
        let mut first = GzDecoder::new(std::io::Cursor::new(&bytes));
        first.read_to_end(&mut control).unwrap();
        let text = String::from_utf8_lossy(&control);
        let named = text.split("datahash = ").nth(1).unwrap().get(..64).unwrap();
        // The data begins where the second member's header is.
        let at = (1..bytes.len() - 2).find(|at| {
            bytes[*at..].starts_with(&[0x1f, 0x8b, 8])
                && hex_digest(&SHA256, &bytes[*at..]) == named
        });
        assert!(at.is_some(), "{text}");
    }

    #[test]
    fn both_members_are_one_tar_with_every_file() {
        let bytes = write(&sample(), "x86_64").unwrap();
        let mut archive = tar::Archive::new(MultiGzDecoder::new(bytes.as_slice()));
        let paths: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                ".PKGINFO",
                ".post-install",
                ".post-upgrade",
                "etc/",
                "usr/",
                "usr/bin/",
                "etc/sample.conf",
                "usr/bin/sample"
            ]
        );
    }
}
