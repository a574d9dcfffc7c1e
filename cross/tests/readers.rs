//! The packages, read by each system's own reader where this machine has one, else by tar.
//! Never installs anything: `cargo xtask dist --packages --check` does.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may end where it fails"
)]

use holdfast_cross::package::contents::{self, Subject, System};
use holdfast_cross::package::manual::Verb;
use holdfast_cross::package::{apk, deb, ipk, rpm, tarball};
use std::path::Path;
use std::process::Command;

fn subject() -> Subject {
    let verb = |words: &str| Verb {
        words: words.into(),
        help: format!("program {words} [--json]\n\nDoes it. --help helps.\n"),
    };
    Subject {
        program: b"\x7fELF and so on".to_vec(),
        verbs: vec![verb(""), verb("run"), verb("patch scan")],
        version: "1.2.3".into(),
        maintainer: "Nobody <nobody@example.org>".into(),
        homepage: None,
        epoch_s: 1_700_000_000,
        changelog: b"# Changelog\n".to_vec(),
    }
}

/// What a line of `sh` prints in a folder.
fn sh(folder: &Path, line: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(folder)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{text}{errors}");
    text
}

fn folder_with(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

#[test]
fn dpkg_reads_the_deb_and_its_sums_are_those_of_its_files() {
    for package in [
        contents::agent(&subject(), System::Debian).unwrap(),
        contents::bridge(&subject(), System::Debian).unwrap(),
    ] {
        let folder = folder_with("x.deb", &deb::write(&package, "arm64").unwrap());
        let fields = sh(
            folder.path(),
            "dpkg-deb --field x.deb Package Version Architecture",
        );
        assert_eq!(
            fields,
            format!(
                "Package: {}\nVersion: 1.2.3\nArchitecture: arm64\n",
                package.name
            )
        );
        sh(
            folder.path(),
            "dpkg-deb --raw-extract x.deb x && cd x && md5sum --check DEBIAN/md5sums",
        );
        sh(
            folder.path(),
            "for script in x/DEBIAN/p*; do sh -n $script; done",
        );
        let listed = sh(folder.path(), "dpkg-deb --contents x.deb");
        assert!(
            listed
                .lines()
                .all(|line| line.contains(" root/root ") && line.contains(" 2023-11-14 ")),
            "{listed}"
        );
    }
}

#[test]
fn rpm_reads_the_rpm_and_its_digests_agree() {
    for package in [
        contents::agent(&subject(), System::Rpm).unwrap(),
        contents::bridge(&subject(), System::Rpm).unwrap(),
    ] {
        let folder = folder_with("x.rpm", &rpm::write(&package, "aarch64").unwrap());
        let digests = sh(folder.path(), "rpm -K --nosignature x.rpm");
        assert_eq!(digests, "x.rpm: digests OK\n");
        let named = sh(
            folder.path(),
            "rpm -qp --nosignature --queryformat '%{NVRA}' x.rpm",
        );
        assert_eq!(named, format!("{}-1.2.3-1.aarch64", package.name));
        let configuration = sh(folder.path(), "rpm -qp --nosignature --configfiles x.rpm");
        assert!(
            configuration.starts_with("/etc/holdfast/"),
            "{configuration}"
        );
        let files = sh(folder.path(), "rpm -qpl --nosignature x.rpm");
        let count = package.files.len() + package.own_folders.len();
        assert_eq!(files.lines().count(), count, "{files}");
        sh(
            folder.path(),
            "rpm2cpio x.rpm | cpio --quiet --list > files",
        );
    }
}

#[test]
fn tar_reads_the_ipk_the_apk_and_the_tarball() {
    let package = contents::agent(&subject(), System::OpenWrt).unwrap();
    let folder = folder_with("x", &ipk::write(&package, "mips_24kc").unwrap());
    let outer = sh(folder.path(), "tar -tzf x && tar -xzf x");
    assert_eq!(outer, "./debian-binary\n./data.tar.gz\n./control.tar.gz\n");
    let unpacked = "tar -xzf control.tar.gz; for script in p*; do sh -n $script; done; cat control";
    assert!(sh(folder.path(), unpacked).contains("\nArchitecture: mips_24kc\n"));
    let data = sh(folder.path(), "tar -tzf data.tar.gz");
    assert!(
        data.lines()
            .any(|path| path == "./etc/init.d/holdfast-agent"),
        "{data}"
    );

    let package = contents::agent(&subject(), System::Alpine).unwrap();
    let folder = folder_with("x", &apk::write(&package, "armv7").unwrap());
    // Two gzip members and headers with digests, which are nothing to tar.
    sh(
        folder.path(),
        "mkdir y; tar -C y -xzf x; for script in y/.p*; do sh -n $script; done",
    );
    let sum = sh(
        folder.path(),
        "sha1sum < y/usr/bin/holdfast-agent | cut -c1-40",
    );
    let headers = sh(
        folder.path(),
        "zcat x | grep -a -o 'checksum.SHA1=[0-9a-f]*'",
    );
    assert!(headers.contains(sum.trim()), "{headers}");

    let package = contents::agent(&subject(), System::Rpm).unwrap();
    let folder = folder_with("x", &tarball::write(&package).unwrap());
    let listed = sh(folder.path(), "tar -tvzf x");
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("-rwxr-xr-x root/root")
                && line.ends_with("./usr/bin/holdfast-agent")),
        "{listed}"
    );
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    let once = || {
        let agent = |system| contents::agent(&subject(), system).unwrap();
        [
            deb::write(&agent(System::Debian), "amd64").unwrap(),
            rpm::write(&agent(System::Rpm), "x86_64").unwrap(),
            apk::write(&agent(System::Alpine), "x86_64").unwrap(),
            ipk::write(&agent(System::OpenWrt), "x86_64").unwrap(),
            tarball::write(&agent(System::Rpm)).unwrap(),
        ]
    };
    assert_eq!(once(), once());
}
