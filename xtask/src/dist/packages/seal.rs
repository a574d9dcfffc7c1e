//! Checksums of everything that was made, signed where there is a key.
//! Never makes a key.

use crate::say;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const SUMS: &str = "SHA256SUMS";
/// What a signature of ours is for (`ssh-keygen -Y`).
const NAMESPACE: &str = "holdfast-release";

/// Checksums of everything in `dist/` but symbols; signed where there is a key.
///
/// # Errors
/// When a file cannot be read or the key does not sign.
pub(crate) fn seal(root: &Path, key: Option<&Path>) -> Result<()> {
    let dist = root.join("dist");
    let mut names = Vec::new();
    for folder in [Some(dist.clone())]
        .into_iter()
        .flatten()
        .chain(folders_in(&dist)?)
    {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(&dist)?.display().to_string();
            if path.is_file() && !name.starts_with(SUMS) {
                names.push(name);
            }
        }
    }
    names.sort();
    let output = Command::new("sha256sum")
        .args(&names)
        .current_dir(&dist)
        .output()
        .context("sha256sum")?;
    ensure!(output.status.success(), "sha256sum: {}", output.status);
    let sums = dist.join(SUMS);
    std::fs::write(&sums, &output.stdout)?;
    say(format!("==> {} files in dist/{SUMS}", names.len()));
    let Some(key) = key else {
        return Ok(());
    };
    let signature = sums.with_extension("sig");
    if signature.exists() {
        std::fs::remove_file(&signature)?;
    }
    crate::cargo::run(
        &format!("signing with {}", key.display()),
        Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(key)
            .arg(&sums),
    )
}

fn folders_in(dist: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dist).with_context(|| dist.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let folders =
        paths.filter(|path: &Result<PathBuf>| path.as_ref().map_or(true, |path| path.is_dir()));
    folders.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_signed_and_a_changed_list_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let dist = root.path().join("dist");
        std::fs::create_dir_all(dist.join("target/symbols")).unwrap();
        std::fs::write(dist.join("target/program"), "1").unwrap();
        std::fs::write(dist.join("target/symbols/program"), "2").unwrap();
        let key = root.path().join("key");
        let ours =
            |command: &mut Command| command.current_dir(root.path()).status().unwrap().success();
        assert!(ours(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&key)
        ));
        seal(root.path(), Some(&key)).unwrap();
        let sums = std::fs::read_to_string(dist.join(SUMS)).unwrap();
        assert!(
            sums.ends_with("  target/program\n") && sums.lines().count() == 1,
            "{sums}"
        );
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        std::fs::write(root.path().join("signers"), format!("release {public}")).unwrap();
        let verify = "ssh-keygen -Y verify -f signers -I release -n holdfast-release -s dist/SHA256SUMS.sig < dist/SHA256SUMS";
        assert!(ours(Command::new("sh").args(["-c", verify])));
        std::fs::write(dist.join(SUMS), sums.to_uppercase()).unwrap();
        assert!(!ours(Command::new("sh").args(["-c", verify])));
    }
}
