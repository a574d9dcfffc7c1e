//! Installs what a chore needs from Debian and PyPI, saying what and why, where it may.
//! Never installs for the whole machine without being root, and never what is there already.

use crate::cargo::run;
use crate::progress;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// A Debian package, and what for.
pub(crate) type Wanted = (&'static str, &'static str);

/// Whether a command ends well; what it says is dropped.
pub(crate) fn quiet(command: &mut Command) -> bool {
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

/// Whether these are there, or may be installed here without asking anybody.
pub(crate) fn may_have(wanted: &[Wanted]) -> bool {
    wanted.iter().all(|(package, _)| is_installed(package))
        || (is_root() && quiet(Command::new("apt-get").arg("--version")))
}

fn is_root() -> bool {
    quiet(Command::new("sh").args(["-c", "[ \"$(id -u)\" = 0 ]"]))
}

/// Installs the Debian packages that are missing.
///
/// # Errors
/// When some are missing and may not be installed here: names them and the command that does it.
pub(crate) fn debian(wanted: &[Wanted]) -> Result<()> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(package, _)| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress("==> missing Debian packages:");
    for (package, why) in &missing {
        progress(format!("    {package}: {why}"));
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    let names_in_line = names.join(" ");
    if !quiet(Command::new("apt-get").arg("--version")) {
        bail!("this machine has no apt-get: install what Debian calls {names_in_line}");
    }
    if !is_root() {
        bail!(
            "only root may install them: run `sudo apt-get install --no-install-recommends {names_in_line}` and try again"
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
    .with_context(|| {
        format!("without {names_in_line} from Debian (is the network there?) this cannot go on")
    })
}

/// Makes a Python environment that holds exactly these requirements; one that does is left as it is.
///
/// # Errors
/// When PyPI cannot be reached for what is missing.
pub(crate) fn venv(folder: &Path, requirements: &str, why: &str) -> Result<()> {
    let stamp = folder.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(());
    }
    // Debian's Python: what `python3-venv` belongs to, whatever else stands on the path.
    run(
        &format!("a Python environment for {why}"),
        Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder),
    )?;
    let list = folder.join("requirements.txt");
    std::fs::write(&list, requirements)?;
    let mut install = Command::new(folder.join("bin").join("python"));
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&list);
    run(&format!("{why} from PyPI"), &mut install)
        .with_context(|| format!("{why} cannot be installed (is the network there?)"))?;
    std::fs::write(&stamp, requirements)?;
    Ok(())
}
