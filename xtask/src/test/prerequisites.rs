//! What the checks need from Debian and PyPI, and why; installs what is missing where it may.
//! Never installs for the whole machine without being root, and never what is there already.

use crate::cargo::run;
use crate::say;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's packages, and what for.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "C code of SQLite and ring"),
    ("python3-venv", "AWS CLI and boto3 in a folder of their own"),
    ("python3-apt", "oracle of the patch scan"),
    ("apt-utils", "package lists of the patch scan's test roots"),
    ("dpkg-dev", "packages of the patch scan's test roots"),
    ("rpm", "the rpm inventory's test root"),
    ("iproute2", "network namespaces of the link tests"),
    ("strace", "disks that do not answer"),
    ("lz4", "compressed lists of the patch scan's tests"),
    ("zstd", "compressed lists of the patch scan's tests"),
    ("xz-utils", "compressed lists of the patch scan's tests"),
];

fn quiet(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f=${Status}", package])
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| output.stdout.ends_with(b" installed"))
}

/// Installs the Debian packages that are missing.
///
/// # Errors
/// When some are missing and may not be installed here: names them and the command that does it.
pub(crate) fn packages() -> Result<()> {
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(package, _)| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    say("==> missing Debian packages:");
    for (package, why) in &missing {
        say(format!("    {package}: {why}"));
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    if !quiet(Command::new("sh").args(["-c", "[ \"$(id -u)\" = 0 ]"])) {
        bail!(
            "only root may install them: run `sudo apt-get install --no-install-recommends {}` and try again",
            names.join(" ")
        );
    }
    // One index that fails now and then is tried again by apt itself.
    let mut update = Command::new("apt-get");
    run(
        "apt-get update",
        update.args(["-qq", "-o", "Acquire::Retries=3", "update"]),
    )?;
    let mut install = Command::new("apt-get");
    install
        .args([
            "-qq",
            "-y",
            "-o",
            "Acquire::Retries=3",
            "install",
            "--no-install-recommends",
        ])
        .args(&names);
    run(
        "apt-get install",
        install.env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// A Python with the pinned AWS CLI, boto3 and pytest; its path.
///
/// # Errors
/// When PyPI cannot be reached for what is missing.
pub(crate) fn python(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target").join("clients-venv");
    let python = folder.join("bin").join("python");
    let requirements = root.join("tests").join("clients").join("requirements.txt");
    let wanted = std::fs::read(&requirements)?;
    let stamp = folder.join("installed.txt");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    // Debian's Python: what `python3-venv` above belongs to, whatever else stands on the path.
    run(
        "a Python environment for AWS CLI and boto3",
        Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&requirements);
    run("AWS CLI, boto3 and pytest from PyPI", &mut install)?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
}
