//! Debian's package (deb(5)): an `ar` of a version, a control archive and a data archive.
//! Never leaves `md5sums` out: `dpkg --verify` reads them.

use super::archive::{Tar, gzip};
use super::{Package, PackageError, script};
use md5::{Digest as _, Md5};
use std::fmt::Write as _;

/// The package for an architecture, by Debian's name for it.
///
/// # Errors
/// [`PackageError`].
pub fn write(package: &Package, architecture: &str) -> Result<Vec<u8>, PackageError> {
    package.check()?;
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control(package, architecture)?)?),
        ("data.tar.gz", gzip(&Tar::tree(package)?)?),
    ];
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            package.epoch_s,
            0,
            0,
            "100644",
            content.len()
        );
        bytes.extend(header.into_bytes());
        bytes.extend(&content);
        // Members begin at even offsets.
        bytes.extend((content.len() % 2 == 1).then_some(b'\n'));
    }
    Ok(bytes)
}

fn control(package: &Package, architecture: &str) -> Result<Vec<u8>, PackageError> {
    let mut tar = Tar::new(package.epoch_s);
    tar.folder("./")?;
    let configuration: String = package
        .files
        .iter()
        .filter(|file| file.config)
        .fold(String::new(), |list, file| list + "/" + &file.path + "\n");
    if !configuration.is_empty() {
        tar.file("./conffiles", 0o644, configuration.as_bytes())?;
    }
    tar.file("./control", 0o644, stanza(package, architecture).as_bytes())?;
    let mut sums = String::new();
    for file in package.files.iter().filter(|file| !file.config) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            sums,
            "{}  {}",
            hex::encode(Md5::digest(&file.content)),
            file.path
        );
    }
    tar.file("./md5sums", 0o644, sums.as_bytes())?;
    for (name, lines) in scripts(package) {
        tar.file(&format!("./{name}"), 0o755, &script(lines))?;
    }
    tar.finish()
}

fn stanza(package: &Package, architecture: &str) -> String {
    let Package {
        name,
        version,
        summary,
        maintainer,
        ..
    } = package;
    let mut text = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
         Maintainer: {maintainer}\nInstalled-Size: {}\nSection: admin\nPriority: optional\n",
        package.installed_bytes().div_ceil(1024)
    );
    if let Some(homepage) = &package.homepage {
        text += &format!("Homepage: {homepage}\n");
    }
    text += &format!("Description: {summary}\n");
    for (at, paragraph) in package.description.iter().enumerate() {
        if at > 0 {
            text += " .\n";
        }
        for line in wrapped(paragraph) {
            text += " ";
            text += &line;
            text += "\n";
        }
    }
    text
}

/// Lines of at most 78 characters, broken between words.
pub(super) fn wrapped(paragraph: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= 78 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// dpkg's moments (Debian policy, 6.5): `configure` with a version is an upgrade.
fn scripts(package: &Package) -> Vec<(&'static str, String)> {
    let scripts = &package.scripts;
    let case = |when: &str, lines: &str| {
        if lines.is_empty() {
            return String::new();
        }
        format!("if {when}; then\n{lines}fi\n")
    };
    let named = [
        (
            "postinst",
            case("[ \"$1\" = configure ]", &scripts.installed)
                + &case(
                    "[ \"$1\" = configure ] && [ -n \"${2:-}\" ]",
                    &scripts.upgraded,
                ),
        ),
        ("postrm", {
            case("[ \"$1\" = remove ]", &scripts.removed)
                + &case("[ \"$1\" = purge ]", &scripts.purged)
        }),
        ("prerm", case("[ \"$1\" = remove ]", &scripts.removing)),
    ];
    named
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_stanza_says_what_dpkg_needs() {
        let text = stanza(&sample(), "arm64");
        for line in [
            "Package: sample",
            "Version: 1.2.3",
            "Architecture: arm64",
            "Installed-Size: 1",
            "Description: does what a sample does",
            " It has a program.",
            " .",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_same_package_gives_the_same_bytes() {
        let package = sample();
        let bytes = write(&package, "amd64").unwrap();
        assert_eq!(bytes, write(&package, "amd64").unwrap());
        assert!(bytes.starts_with(b"!<arch>\ndebian-binary   1700000000  0"));
    }

    #[test]
    fn an_upgrade_runs_both_scripts_and_the_first_installation_one() {
        let mut package = sample();
        package.scripts.upgraded = "echo upgraded\n".into();
        let scripts = scripts(&package);
        assert_eq!(scripts.len(), 1);
        assert!(
            scripts[0].1.contains("[ -n \"${2:-}\" ]"),
            "{}",
            scripts[0].1
        );
    }
}
