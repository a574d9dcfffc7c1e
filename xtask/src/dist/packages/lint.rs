//! Asks each critic: Debian's and RPM's of packages, the shells' and man's of what is in them.
//! Never passes over more than is written here with its reason.

use super::openpgp::Throwaway;
use super::{Packed, ask};
use crate::install::{self, Wanted};
use crate::say;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

const TOOLS: &[Wanted] = &[
    ("lintian", "reads the deb packages as Debian would"),
    ("rpmlint", "reads the rpm packages as Fedora would"),
    ("shellcheck", "reads scripts"),
    ("zsh", "reads its completions"),
    ("fish", "reads its completions"),
    ("man-db", "reads the manual pages"),
];

/// What rpmlint is told to pass over, and why.
const RPMLINT: &str = "\
Filters = [
    # One file that runs on any kernel and any C library is what these packages are for.
    'statically-linked-binary',
]
";

/// Asks them all about one target's packages.
///
/// # Errors
/// With the first critic's errors.
pub(super) fn run(folder: &Path, packed: &Packed) -> Result<()> {
    install::debian(TOOLS)?;
    let names: Vec<&str> = packed.files.iter().map(|(name, _)| name.as_str()).collect();
    let of = |suffix: &str| {
        let names = names.iter().filter(|name| name.ends_with(suffix));
        names.copied().collect::<Vec<_>>()
    };
    ask(Command::new("lintian")
        .args(["--fail-on", "error", "--tag-display-limit", "0"])
        .arg("--allow-root")
        .args(of(".deb"))
        .current_dir(folder))?;
    rpms(folder, &of(".rpm"))?;
    for name in of(".deb") {
        contents(&folder.join(name))?;
    }
    for name in of(".apk").into_iter().chain(of(".ipk")) {
        scripts(&folder.join(name))?;
    }
    Ok(())
}

/// Copies, signed: whether the ones to be shipped are is for who ships them.
fn rpms(folder: &Path, names: &[&str]) -> Result<()> {
    let key = Throwaway::make()?;
    let signed = tempfile::tempdir()?;
    for name in names {
        let copy = signed.path().join(name);
        std::fs::copy(folder.join(name), &copy).with_context(|| copy.display().to_string())?;
        key.sign(&copy)?;
    }
    let settings = tempfile::Builder::new().suffix(".toml").tempfile()?;
    std::fs::write(&settings, RPMLINT)?;
    let found = ask(Command::new("rpmlint")
        .arg("--config")
        .arg(settings.path())
        .args(names)
        .env("HOME", key.home())
        .current_dir(&signed))?;
    say(format!(
        "    lintian: no error; rpmlint: {}",
        found.lines().last().unwrap_or_default().trim()
    ));
    Ok(())
}

/// The manual, the completions and the scripts of a deb.
fn contents(package: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    ask(Command::new("dpkg-deb")
        .arg("--raw-extract")
        .arg(package)
        .arg(scratch.path()))?;
    let sh = |line: &str| {
        ask(Command::new("sh")
            .args(["-ec", line])
            .current_dir(scratch.path()))
    };
    sh("shellcheck --shell=sh DEBIAN/p*")?;
    sh(
        "bash -n usr/share/bash-completion/completions/* && shellcheck --shell=bash usr/share/bash-completion/completions/*",
    )?;
    sh("zsh -n usr/share/zsh/vendor-completions/*")?;
    sh("fish --no-execute usr/share/fish/vendor_completions.d/*")?;
    let name = sh("lexgrog usr/share/man/man8/*")?;
    ensure!(name.contains(" - "), "lexgrog: {name}");
    let warnings = sh("man --warnings --local-file usr/share/man/man8/* 2>&1 >/dev/null")?;
    ensure!(warnings.is_empty(), "man: {warnings}");
    Ok(())
}

/// The scripts of an apk or ipk: of the package and of the service.
fn scripts(package: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let unpack = "tar -xzf \"$1\" 2>/dev/null; for inner in *.tar.gz; do [ ! -e \"$inner\" ] || tar -xzf \"$inner\"; done";
    let sh = |line: &str| {
        ask(Command::new("sh")
            .args(["-ec", line, "sh"])
            .arg(package)
            .current_dir(scratch.path()))
    };
    sh(unpack)?;
    // The service manager's own shell reads the variables that a service script only sets, and
    // gives it the functions that it only calls.
    sh(
        "for script in .p[or]* p[or]* etc/init.d/*; do [ ! -f \"$script\" ] || shellcheck --shell=sh --exclude=SC2034,SC1090,SC1091 \"$script\"; done",
    )?;
    Ok(())
}
