//! Signatures inside rpm packages, by rpm's own tool and gpg.
//! Never makes a key but the one that a trial throws away.

use super::ask;
use crate::install::{self, Wanted};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

const TOOLS: &[Wanted] = &[
    ("rpm", "signs the rpm packages"),
    ("gpg", "makes their signatures"),
    ("gpg-agent", "holds the key"),
];

/// Signs a package with a key of the user's, as gpg names it; `home` is gpg's folder where it is
/// not the user's own.
///
/// # Errors
/// When the key is not there or does not sign.
pub(super) fn sign(package: &Path, key: &str, home: Option<&Path>) -> Result<()> {
    install::debian(TOOLS)?;
    let mut command = Command::new("rpmsign");
    command
        .args(["--define", "__gpg /usr/bin/gpg"])
        .args(["--define", &format!("_gpg_name {key}")])
        .arg("--addsign")
        .arg(package);
    if let Some(home) = home {
        command.env("GNUPGHOME", home);
    }
    ask(&mut command).map(drop)
}

/// A key of a trial's own, with a database of rpm that knows it.
pub(super) struct Throwaway {
    folder: tempfile::TempDir,
}

impl Throwaway {
    const NAME: &str = "trial@holdfast.invalid";

    /// Makes both.
    ///
    /// # Errors
    /// When gpg or rpm fails.
    pub(super) fn make() -> Result<Self> {
        install::debian(TOOLS)?;
        // Short: gpg's agent listens in it, at an address of at most 108 bytes.
        let folder = tempfile::tempdir()?;
        let this = Self { folder };
        let home = this.home();
        std::fs::write(home.join(".rpmmacros"), this.macros())?;
        let make = "chmod 700 . && gpg --quiet --batch --passphrase '' \
                    --quick-generate-key \"$1\" rsa3072 sign never && \
                    gpg --quiet --armor --export > public && rpm --import public";
        ask(Command::new("sh")
            .args(["-ec", make, "sh", Self::NAME])
            .current_dir(&home)
            .env("GNUPGHOME", &home)
            .env("HOME", &home))?;
        Ok(this)
    }

    /// The folder that is `HOME` to who should know the key.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn macros(&self) -> String {
        format!("%_dbpath {}/db\n", self.folder.path().display())
    }

    /// Signs a package and has rpm check the signature.
    ///
    /// # Errors
    /// When it is not good.
    pub(super) fn sign(&self, package: &Path) -> Result<()> {
        sign(package, Self::NAME, Some(&self.home()))?;
        let checked = ask(Command::new("rpm")
            .arg("--checksig")
            .arg(package)
            .env("HOME", self.home()))?;
        anyhow::ensure!(
            checked.trim_end().ends_with(": digests signatures OK"),
            "{checked}"
        );
        Ok(())
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        // Its agent would stay.
        let _ = Command::new("gpgconf")
            .args(["--kill", "all"])
            .env("GNUPGHOME", self.folder.path())
            .status();
    }
}
