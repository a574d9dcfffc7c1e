//! OpenWrt's package (opkg): what is in a deb, in one `tar.gz` instead of an `ar`.
//! Never a list of files with sums: opkg has none.

use super::archive::{Tar, gzip};
use super::{Package, PackageError, script};

/// The package for an architecture, by OpenWrt's name for it.
///
/// # Errors
/// [`PackageError`].
pub fn write(package: &Package, architecture: &str) -> Result<Vec<u8>, PackageError> {
    package.check()?;
    let mut outer = Tar::new(package.epoch_s);
    outer.file("./debian-binary", 0o644, b"2.0\n")?;
    outer.file("./data.tar.gz", 0o644, &gzip(&Tar::tree(package)?)?)?;
    outer.file(
        "./control.tar.gz",
        0o644,
        &gzip(&control(package, architecture)?)?,
    )?;
    gzip(&outer.finish()?)
}

fn control(package: &Package, architecture: &str) -> Result<Vec<u8>, PackageError> {
    let mut tar = Tar::new(package.epoch_s);
    tar.folder("./")?;
    let Package {
        name,
        version,
        summary,
        maintainer,
        license,
        scripts,
        ..
    } = package;
    let stanza = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nSection: admin\n\
         License: {license}\nMaintainer: {maintainer}\nInstalled-Size: {}\nDescription: {summary}\n",
        package.installed_bytes()
    );
    tar.file("./control", 0o644, stanza.as_bytes())?;
    let configuration: String = package
        .files
        .iter()
        .filter(|file| file.config)
        .fold(String::new(), |list, file| list + "/" + &file.path + "\n");
    if !configuration.is_empty() {
        tar.file("./conffiles", 0o644, configuration.as_bytes())?;
    }
    // An image is built with these run on the machine that builds it: then nothing is to be started.
    let here = "[ -z \"${IPKG_INSTROOT:-}\" ] || exit 0\n";
    // opkg calls these at an upgrade too: upstream's says so as dpkg does, OpenWrt's in a variable.
    let removing =
        "[ \"${1:-}\" != upgrade ] || exit 0\n[ \"${PKG_UPGRADE:-0}\" != 1 ] || exit 0\n";
    for (file, before, lines) in [
        (
            "./postinst",
            here.to_owned(),
            scripts.installed.clone() + &scripts.upgraded,
        ),
        (
            "./prerm",
            here.to_owned() + removing,
            scripts.removing.clone(),
        ),
        (
            "./postrm",
            here.to_owned() + removing,
            scripts.removed.clone(),
        ),
    ] {
        if !lines.is_empty() {
            tar.file(file, 0o755, &script(before + &lines))?;
        }
    }
    tar.finish()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    #[test]
    fn it_holds_a_version_data_and_control() {
        let bytes = write(&sample(), "aarch64_generic").unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            names.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap());
            if names.last().unwrap() == "./control.tar.gz" {
                let mut packed = Vec::new();
                entry.read_to_end(&mut packed).unwrap();
                let mut text = String::new();
                GzDecoder::new(packed.as_slice())
                    .read_to_string(&mut text)
                    .unwrap();
                assert!(text.contains("Architecture: aarch64_generic\n"));
            }
        }
        assert_eq!(
            names,
            ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
        );
    }
}
