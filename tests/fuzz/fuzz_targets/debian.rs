//! Any bytes as one of the files of a Debian root: the survey ends, whatever they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

#[allow(
    dead_code,
    unused_imports,
    reason = "the file is the product's own, and only its parser is called here"
)]
#[path = "../../../agent/src/package_manager/mod.rs"]
mod package_manager;

use package_manager::apt::{Absent, survey};

const STATUS: &str = "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\
                      Multi-Arch: same\nVersion: 1.0\n\n";
const BASE: &str = "deb.example_debian_dists_stable_";
const RELEASE: &str = "Origin: Debian\nSuite: stable\nCodename: bookworm\n\
                       Architectures: amd64\nComponents: main\n";
const LIST: &str = "Package: a\nArchitecture: amd64\nVersion: 1.1\nFilename: f\nSize: 1\n\n";

/// Files of a root, each with what it holds when it is not the one in question.
static FILES: LazyLock<Vec<(String, &str)>> = LazyLock::new(|| {
    let lists = format!("var/lib/apt/lists/{BASE}");
    vec![
        ("var/lib/dpkg/status".to_owned(), STATUS),
        (format!("{lists}main_binary-amd64_Packages"), LIST),
        (format!("{lists}Release"), RELEASE),
        ("etc/apt/sources.list".to_owned(), "deb http://deb.example/debian stable main\n"),
        ("etc/apt/preferences".to_owned(), ""),
        ("etc/apt/apt.conf".to_owned(), ""),
        ("etc/apt/sources.list.d/more.sources".to_owned(), ""),
        ("var/lib/dpkg/arch".to_owned(), "amd64\n"),
        ("var/lib/dpkg/updates/0001".to_owned(), ""),
        (format!("{lists}InRelease"), ""),
        (format!("{lists}main_binary-amd64_Packages.gz"), ""),
        (format!("{lists}main_binary-amd64_Packages.lz4"), ""),
        (format!("{lists}main_binary-amd64_Packages.xz"), ""),
        (format!("{lists}main_binary-amd64_Packages.zst"), ""),
    ]
});

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join(format!("holdfast-fuzz-{}", std::process::id()));
    for (file, content) in FILES.iter() {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        restore(&path, content);
    }
    root
});

/// An empty file is one that is not there.
fn restore(path: &PathBuf, content: &str) {
    if content.is_empty() {
        let _ = fs::remove_file(path);
    } else {
        fs::write(path, content).expect("a file");
    }
}

// One byte for the file, then its content.
fuzz_target!(|bytes: &[u8]| {
    let Some((&which, content)) = bytes.split_first() else {
        return;
    };
    let (file, before) = &FILES[usize::from(which) % FILES.len()];
    let path = ROOT.join(file);
    // A packed list is read only where the plain one is missing.
    let plain = ROOT.join(&FILES[1].0);
    let packed = file.contains("_Packages.");
    if packed {
        let _ = fs::remove_file(&plain);
    }
    fs::write(&path, content).expect("a file");
    if let Ok(survey) = survey(&ROOT, Absent::All, &mut |_| {}) {
        let _ = survey.upgrades();
    }
    restore(&path, before);
    if packed {
        restore(&plain, FILES[1].1);
    }
});
