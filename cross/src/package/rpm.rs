//! RPM's package, version 4: a lead, a header of digests, a header of tags, and a cpio in gzip.
//! Never a signature of its own: rpm's own tool adds one (docs/install/source.md).

use super::archive::{gzip, hex_digest};
use super::deb::wrapped;
use super::{Package, PackageError};
use header::{Header, Value};
use ring::digest::SHA256;

mod header;

/// SHA-256 in RPM's numbering, which is that of OpenPGP.
const DIGEST_SHA256: u32 = 8;
/// The user's file, and what the user wrote stays where it is.
const FILE_CONFIG_NOREPLACE: u32 = 1 | 1 << 4;
/// Documentation.
const FILE_DOC: u32 = 1 << 1;
/// `=`, and `<=` of a feature of rpm itself.
const SENSE_EQUAL: u32 = 8;
const SENSE_RPMLIB: u32 = 1 << 24 | 2 | 8;
/// Asked for by a script.
const SENSE_INTERPRETER: u32 = 1 << 8;
/// Features of rpm that this package uses.
const FEATURES: [(&str, &str); 3] = [
    ("rpmlib(CompressedFileNames)", "3.0.4-1"),
    ("rpmlib(FileDigests)", "4.6.0-1"),
    ("rpmlib(PayloadFilesHavePrefix)", "4.0-1"),
];
/// The one release of each version.
const RELEASE: &str = "1";

/// The package for an architecture, by RPM's name for it.
///
/// # Errors
/// [`PackageError`].
pub fn write(package: &Package, architecture: &str) -> Result<Vec<u8>, PackageError> {
    package.check()?;
    let cpio = cpio(package)?;
    let payload = gzip(&cpio)?;
    let header = tags(package, architecture, &payload)?.bytes()?;
    let mut signature = Header::new(header::SIGNATURES);
    signature.push(273, Value::Text(hex_digest(&SHA256, &header)));
    signature.push(
        1000,
        Value::Int32(vec![number("the rpm", header.len() + payload.len())?]),
    );
    signature.push(1007, Value::Int32(vec![number("the cpio", cpio.len())?]));
    let mut bytes = lead(package);
    bytes.extend(signature.bytes()?);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(header);
    bytes.extend(payload);
    Ok(bytes)
}

fn number(what: &str, value: usize) -> Result<u32, PackageError> {
    u32::try_from(value).map_err(|_| PackageError::Long {
        what: what.to_owned(),
        bytes: value,
        format: "rpm",
        bytes_max: u32::MAX as usize,
    })
}

/// What old tools look at; rpm itself reads the headers.
fn lead(package: &Package) -> Vec<u8> {
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1];
    let name = format!("{}-{}-{RELEASE}", package.name, package.version);
    lead.extend(name.bytes().take(65));
    lead.resize(76, 0);
    // Linux, and a signature in a header.
    lead.extend([0, 1, 0, 5]);
    lead.resize(96, 0);
    lead
}

fn tags(package: &Package, architecture: &str, payload: &[u8]) -> Result<Header, PackageError> {
    let text = |text: &str| Value::Text(text.to_owned());
    let installed = usize::try_from(package.installed_bytes()).unwrap_or(usize::MAX);
    let time = number(
        "the time",
        usize::try_from(package.epoch_s).unwrap_or(usize::MAX),
    )?;
    let paragraphs: Vec<String> = package
        .description
        .iter()
        .map(|paragraph| wrapped(paragraph).join("\n"))
        .collect();
    let mut header = Header::new(header::IMMUTABLE);
    header.push(100, Value::Texts(vec!["C".into()]));
    header.push(1000, text(&package.name));
    header.push(1001, text(&package.version));
    header.push(1002, text(RELEASE));
    header.push(1004, Value::Translated(package.summary.clone()));
    header.push(1005, Value::Translated(paragraphs.join("\n\n")));
    header.push(1006, Value::Int32(vec![time]));
    header.push(1007, text("localhost"));
    header.push(1009, Value::Int32(vec![number("the files", installed)?]));
    header.push(1014, text(&package.license));
    header.push(1015, text(&package.maintainer));
    header.push(1016, Value::Translated("System Environment/Daemons".into()));
    if let Some(homepage) = &package.homepage {
        header.push(1020, text(homepage));
    }
    header.push(1021, text("linux"));
    header.push(1022, text(architecture));
    header.push(
        1044,
        text(&format!(
            "{}-{}-{RELEASE}.src.rpm",
            package.name, package.version
        )),
    );
    header.push(1080, Value::Int32(vec![time]));
    let version = format!("{}-{RELEASE}", package.version);
    header.push(
        1081,
        Value::Texts(vec![format!("{} - {version}", package.maintainer)]),
    );
    header.push(
        1082,
        Value::Texts(vec!["- See the changelog in the documentation.".into()]),
    );
    header.push(1124, text("cpio"));
    header.push(1125, text("gzip"));
    header.push(1126, text("9"));
    header.push(5092, Value::Texts(vec![hex_digest(&SHA256, payload)]));
    header.push(5093, Value::Int32(vec![DIGEST_SHA256]));
    files(package, &mut header)?;
    relations(package, &version, &mut header);
    Ok(header)
}

/// A file, or a folder of the package's own, which has no content.
struct Member<'a> {
    path: &'a str,
    /// With the kind.
    mode: u32,
    content: Option<&'a [u8]>,
    flags: u32,
}

/// Everything that rpm is to keep account of, by path.
fn members(package: &Package) -> Vec<Member<'_>> {
    let is_document =
        |path: &str| path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/");
    let files = package.files.iter().map(|file| Member {
        path: &file.path,
        mode: 0o100_000 | file.mode & 0o7777,
        content: Some(&file.content),
        flags: match file {
            file if file.config => FILE_CONFIG_NOREPLACE,
            file if is_document(&file.path) => FILE_DOC,
            _ => 0,
        },
    });
    let folders = package.own_folders.iter().map(|path| Member {
        path,
        mode: 0o040_755,
        content: None,
        flags: if is_document(path) { FILE_DOC } else { 0 },
    });
    let mut members: Vec<_> = files.chain(folders).collect();
    members.sort_by_key(|member| member.path);
    members
}

fn files(package: &Package, header: &mut Header) -> Result<(), PackageError> {
    let files = members(package);
    let folder_of = |path: &str| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("/{folder}/").replace("//", "/")
    };
    let mut folders: Vec<String> = files.iter().map(|file| folder_of(file.path)).collect();
    folders.sort();
    folders.dedup();
    let (mut sizes, mut modes, mut digests, mut flags) = (vec![], vec![], vec![], vec![]);
    let (mut indexes, mut names, mut inodes) = (vec![], vec![], vec![]);
    for (at, file) in files.iter().enumerate() {
        sizes.push(number(file.path, file.content.map_or(0, <[u8]>::len))?);
        modes.push(u16::try_from(file.mode).unwrap_or_default());
        let digest = file.content.map(|content| hex_digest(&SHA256, content));
        digests.push(digest.unwrap_or_default());
        flags.push(file.flags);
        let folder = folder_of(file.path);
        let index = folders.iter().position(|known| *known == folder);
        indexes.push(number("folders", index.unwrap_or_default())?);
        names.push(file.path.rsplit('/').next().unwrap_or_default().to_owned());
        inodes.push(number("files", at + 1)?);
    }
    let count = files.len();
    let time = u32::try_from(package.epoch_s).unwrap_or(u32::MAX);
    header.push(1028, Value::Int32(sizes));
    header.push(1030, Value::Int16(modes));
    header.push(1033, Value::Int16(vec![0; count]));
    header.push(1034, Value::Int32(vec![time; count]));
    header.push(1035, Value::Texts(digests));
    header.push(1036, Value::Texts(vec![String::new(); count]));
    header.push(1037, Value::Int32(flags));
    header.push(1039, Value::Texts(vec!["root".into(); count]));
    header.push(1040, Value::Texts(vec!["root".into(); count]));
    // Everything about a file is checked by `rpm --verify`.
    header.push(1045, Value::Int32(vec![u32::MAX; count]));
    header.push(1095, Value::Int32(vec![1; count]));
    header.push(1096, Value::Int32(inodes));
    header.push(1097, Value::Texts(vec![String::new(); count]));
    header.push(1116, Value::Int32(indexes));
    header.push(1117, Value::Texts(names));
    header.push(1118, Value::Texts(folders));
    header.push(5011, Value::Int32(vec![DIGEST_SHA256]));
    Ok(())
}

/// What it gives and asks for, and its scripts: their first argument counts the versions that are
/// there after the step.
fn relations(package: &Package, version: &str, header: &mut Header) {
    let scripts = &package.scripts;
    let when = |condition: &str, lines: &str| {
        if lines.is_empty() {
            return String::new();
        }
        format!("if [ \"$1\" {condition} ]; then\n{lines}fi\n")
    };
    let named = [
        (
            1024,
            1086,
            scripts.installed.clone() + &when("-gt 1", &scripts.upgraded),
        ),
        (1025, 1087, when("-eq 0", &scripts.removing)),
        (1026, 1088, when("-eq 0", &scripts.removed)),
    ];
    let mut asked: Vec<(String, String, u32)> = FEATURES
        .iter()
        .map(|(name, version)| ((*name).to_owned(), (*version).to_owned(), SENSE_RPMLIB))
        .collect();
    for (tag, program, lines) in named {
        if lines.is_empty() {
            continue;
        }
        header.push(tag, Value::Text(lines));
        header.push(program, Value::Text("/bin/sh".into()));
        if !asked.iter().any(|(name, ..)| name == "/bin/sh") {
            asked.insert(0, ("/bin/sh".into(), String::new(), SENSE_INTERPRETER));
        }
    }
    header.push(1047, Value::Texts(vec![package.name.clone()]));
    header.push(1112, Value::Int32(vec![SENSE_EQUAL]));
    header.push(1113, Value::Texts(vec![version.to_owned()]));
    header.push(
        1048,
        Value::Int32(asked.iter().map(|(.., sense)| *sense).collect()),
    );
    header.push(
        1049,
        Value::Texts(asked.iter().map(|(name, ..)| name.clone()).collect()),
    );
    header.push(
        1050,
        Value::Texts(asked.into_iter().map(|(_, version, _)| version).collect()),
    );
}

/// The files as cpio's "new ASCII" format.
fn cpio(package: &Package) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    let mut member =
        |number_of: usize, mode: u32, name: &str, content: &[u8]| -> Result<(), PackageError> {
            let size = number(name, content.len())?;
            let (ino, time) = (
                number("files", number_of)?,
                u32::try_from(package.epoch_s).unwrap_or(u32::MAX),
            );
            let fields = [
                ino,
                mode,
                0,
                0,
                1,
                time,
                size,
                0,
                1,
                0,
                0,
                number(name, name.len() + 1)?,
                0,
            ];
            bytes.extend(b"070701");
            for field in fields {
                bytes.extend(format!("{field:08x}").into_bytes());
            }
            bytes.extend(name.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            Ok(())
        };
    for (at, file) in members(package).iter().enumerate() {
        member(
            at + 1,
            file.mode,
            &format!("./{}", file.path),
            file.content.unwrap_or_default(),
        )?;
    }
    member(0, 0, "TRAILER!!!", &[])?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn it_begins_with_a_lead_and_a_header_and_ends_with_gzip() {
        let bytes = write(&sample(), "aarch64").unwrap();
        assert!(bytes.starts_with(&[0xed, 0xab, 0xee, 0xdb, 3, 0]));
        assert_eq!(bytes[96..100], [0x8e, 0xad, 0xe8, 1]);
        assert_eq!(bytes, write(&sample(), "aarch64").unwrap());
    }

    #[test]
    fn the_cpio_is_aligned_and_ends() {
        let bytes = cpio(&sample()).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
