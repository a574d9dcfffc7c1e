//! Debian's kernel and busybox for the guest, by apt with a configuration of its own, so that the
//! archive's signature is checked as always. Never touches this machine's package lists or architectures.

use crate::cargo::run;
use crate::say;
use anyhow::{Context as _, Result, ensure};
use holdfast_guest::MODULES;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release, whatever this machine's own is.
const SUITE: &str = "bookworm";
/// Depends on the newest kernel without drivers for real hardware: a third of the size.
const KERNEL: &str = "linux-image-cloud-arm64";
const TOOLS: &str = "busybox-static";

/// Fills a folder with `vmlinuz`, `busybox` and `modules/`; one that has them is left as it is.
///
/// # Errors
/// When Debian's archive cannot be reached, or its signature is not Debian's.
pub(crate) fn fetch(folder: &Path) -> Result<()> {
    let parts = parts(folder);
    if parts.iter().all(|part| part.is_file()) {
        return Ok(());
    }
    std::fs::create_dir_all(folder.join("modules"))
        .with_context(|| folder.display().to_string())?;
    let scratch = tempfile::Builder::new().prefix("apt-").tempdir_in(folder)?;
    let apt = Apt::new(scratch.path())?;
    run(
        "Debian's package list for arm64",
        apt.command("apt-get").args(["-qq", "update"]),
    )?;
    let kernel = apt.dependency(KERNEL)?;
    run(
        "a kernel and busybox from Debian (22 MB)",
        apt.command("apt-get")
            .args(["-qq", "download", &kernel, TOOLS])
            .current_dir(scratch.path()),
    )?;
    let unpacked = apt.unpack()?;
    take(&unpacked, folder)?;
    say(format!("    {kernel} in {}", folder.display()));
    Ok(())
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let modules = MODULES.map(|name| folder.join("modules").join(format!("{name}.ko")));
    let mut parts = modules.to_vec();
    parts.extend(["vmlinuz", "busybox"].map(|name| folder.join(name)));
    parts
}

/// apt with lists, cache and sources below a folder.
struct Apt<'a>(&'a Path);

impl<'a> Apt<'a> {
    fn new(folder: &'a Path) -> Result<Self> {
        for below in ["lists/partial", "archives/partial", "etc"] {
            std::fs::create_dir_all(folder.join(below))?;
        }
        let path = folder.display();
        let configuration = format!(
            "Dir::State \"{path}\";\nDir::State::Lists \"{path}/lists\";\n\
             Dir::State::status \"{path}/status\";\nDir::Cache \"{path}\";\n\
             Dir::Etc \"{path}/etc\";\nDir::Etc::sourcelist \"{path}/debian.sources\";\n\
             Dir::Etc::sourceparts \"-\";\nDir::Etc::parts \"-\";\n\
             APT::Architecture \"arm64\";\nAPT::Architectures \"arm64\";\n\
             APT::Sandbox::User \"\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n"
        );
        std::fs::write(folder.join("apt.conf"), configuration)?;
        std::fs::write(folder.join("status"), "")?;
        std::fs::write(
            folder.join("debian.sources"),
            format!(
                "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {SUITE}\nComponents: main\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            ),
        )?;
        Ok(Self(folder))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.0.join("apt.conf"));
        command
    }

    /// The first package that another depends on.
    fn dependency(&self, package: &str) -> Result<String> {
        let output = self
            .command("apt-cache")
            .args(["depends", "--important", package])
            .output()
            .context("apt-cache")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = first_dependency(&printed).map(str::to_owned);
        first.with_context(|| format!("no dependency of {package}: {printed}"))
    }

    /// Unpacks what was downloaded.
    fn unpack(&self) -> Result<PathBuf> {
        let unpacked = self.0.join("unpacked");
        for entry in std::fs::read_dir(self.0)? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == "deb") {
                let mut dpkg = Command::new("dpkg-deb");
                let status = dpkg.arg("-x").arg(&path).arg(&unpacked).status()?;
                ensure!(status.success(), "{}: dpkg-deb: {status}", path.display());
            }
        }
        Ok(unpacked)
    }
}

/// `linux-image-6.1.0-50-cloud-arm64`, of what `apt-cache depends` prints.
fn first_dependency(printed: &str) -> Option<&str> {
    let mut lines = printed.lines().map(str::trim);
    lines.find_map(|line| line.strip_prefix("Depends: "))
}

/// Moves the parts out of the packages' trees.
fn take(unpacked: &Path, folder: &Path) -> Result<()> {
    let mut files = vec![(unpacked.join("bin/busybox"), folder.join("busybox"))];
    let kernel = find(&unpacked.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    files.push((kernel, folder.join("vmlinuz")));
    let modules = unpacked.join("lib/modules");
    for module in MODULES {
        let name = format!("{module}.ko");
        let found = find(&modules, |found| found == name)?;
        files.push((found, folder.join("modules").join(name)));
    }
    for (from, to) in files {
        std::fs::rename(&from, &to).with_context(|| from.display().to_string())?;
    }
    Ok(())
}

/// The file below a folder whose name is meant.
fn find(folder: &Path, is_meant: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_meant(&entry.file_name().to_string_lossy()) {
                return Ok(entry.path());
            }
        }
    }
    anyhow::bail!("a part of the guest is not below {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_its_metapackage_depends_on() {
        let printed = "linux-image-cloud-arm64\n  Depends: linux-image-6.1.0-50-cloud-arm64\n";
        assert_eq!(
            first_dependency(printed),
            Some("linux-image-6.1.0-50-cloud-arm64")
        );
        assert_eq!(first_dependency("linux-image-cloud-arm64\n"), None);
    }
}
