//! Packages of what was built, for each system and architecture, with their list of contents
//! (SBOM) and checksums.
//! Never signs with a key of its own: the release's key comes as a file.

mod bill;
mod trial;

use super::compile::{self, Program};
use super::{Built, is_native};
use crate::say;
use anyhow::{Context as _, Result, ensure};
use holdfast_cross::package::contents::{self, Subject, System};
use holdfast_cross::package::manual::Verb;
use holdfast_cross::package::{Package, apk, deb, ipk, rpm, tarball};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who is named as maintainer where nobody says otherwise.
const MAINTAINER: &str = "The Holdfast authors <holdfast@example.org>";
const AGENT_VERBS: [&str; 6] = [
    "register",
    "run",
    "status",
    "inventory",
    "patch scan",
    "document run",
];
const SUMS: &str = "SHA256SUMS";
/// What a signature of ours is for (`ssh-keygen -Y`).
const NAMESPACE: &str = "holdfast-release";

/// Writes every package of what was built; with `check`, tries them too.
///
/// # Errors
/// When one cannot be written, or does not install, upgrade or go as it should.
pub(super) fn write(root: &Path, built: &[Built], check: bool) -> Result<()> {
    say("==> packages");
    for built in built {
        let folder = built.agent.parent().context("the target's folder")?;
        let architectures = &built.target.packages;
        let agent = subject(root, built, &built.agent, Program::Agent)?;
        let version = &agent.version;
        let package = |system| contents::agent(&agent, system);
        let mut files = vec![
            (
                format!("holdfast-agent_{version}_{}.deb", architectures.deb),
                deb::write(&package(System::Debian)?, &architectures.deb)?,
            ),
            (
                format!("holdfast-agent-{version}-1.{}.rpm", architectures.rpm),
                rpm::write(&package(System::Rpm)?, &architectures.rpm)?,
            ),
            (
                format!("holdfast-agent_{version}_{}.ipk", architectures.ipk),
                ipk::write(&package(System::OpenWrt)?, &architectures.ipk)?,
            ),
            (
                format!("holdfast-agent-{version}-r0.{}.apk", architectures.apk),
                apk::write(&package(System::Alpine)?, &architectures.apk)?,
            ),
            (
                format!("holdfast-agent-{version}-{}.tar.gz", built.target.triple),
                tarball::write(&package(System::Rpm)?)?,
            ),
        ];
        if let Some(bridge) = &built.bridge {
            let bridge = subject(root, built, bridge, Program::Bridge)?;
            let package = |system| contents::bridge(&bridge, system);
            files.extend([
                (
                    format!("holdfast-bridge_{version}_{}.deb", architectures.deb),
                    deb::write(&package(System::Debian)?, &architectures.deb)?,
                ),
                (
                    format!("holdfast-bridge-{version}-1.{}.rpm", architectures.rpm),
                    rpm::write(&package(System::Rpm)?, &architectures.rpm)?,
                ),
                (
                    format!("holdfast-bridge-{version}-{}.tar.gz", built.target.triple),
                    tarball::write(&package(System::Rpm)?)?,
                ),
            ]);
        }
        for (name, bytes) in &files {
            let path = folder.join(name);
            std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
            say(format!("    {name}: {} B", bytes.len()));
        }
        if check && is_native(&built.target) {
            trial::lint(folder, files.iter().map(|(name, _)| name.as_str()))?;
            trial::debian(root, &agent, &architectures.deb)?;
            trial::rpm(&agent, &architectures.rpm)?;
        }
    }
    bill::write(root)
}

/// Checksums of everything in `dist/` but symbols; signed where there is a key.
///
/// # Errors
/// When a file cannot be read or the key does not sign.
pub(super) fn seal(root: &Path, key: Option<&Path>) -> Result<()> {
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

fn subject(root: &Path, built: &Built, program: &Path, which: Program) -> Result<Subject> {
    Ok(Subject {
        verbs: verbs(built, program, which)?,
        program: std::fs::read(program).with_context(|| program.display().to_string())?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        maintainer: std::env::var("HOLDFAST_MAINTAINER").unwrap_or_else(|_| MAINTAINER.into()),
        epoch_s: compile::epoch(root)?.parse().context("SOURCE_DATE_EPOCH")?,
        changelog: std::fs::read(root.join("CHANGELOG.md")).context("CHANGELOG.md")?,
    })
}

/// What the program says of itself and of each verb.
fn verbs(built: &Built, program: &Path, which: Program) -> Result<Vec<Verb>> {
    let ask = |words: &str| -> Result<Verb> {
        let runner = built.target.runner();
        let mut command = match runner.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        let output = command
            .args(words.split_whitespace())
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .with_context(|| format!("{} --help", program.display()))?;
        ensure!(output.status.success(), "{words} --help: {}", output.status);
        Ok(Verb {
            words: words.to_owned(),
            help: String::from_utf8(output.stdout)?,
        })
    };
    let whole = ask("")?;
    let mut open = subcommands(&whole.help);
    let mut verbs = vec![whole];
    if which == Program::Bridge {
        while let Some(words) = open.pop() {
            let verb = ask(&words)?;
            let inner = subcommands(&verb.help);
            open.extend(inner.iter().map(|inner| format!("{words} {inner}")));
            verbs.push(verb);
        }
    } else {
        for words in AGENT_VERBS {
            verbs.push(ask(words)?);
        }
    }
    Ok(verbs)
}

/// The verbs that clap lists below `Commands:`, last first.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut verbs: Vec<String> = list
        .take_while(|line| !line.is_empty())
        // A line that goes on with the one before begins further in.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|verb| verb != "help")
        .collect();
    verbs.reverse();
    verbs
}

/// The same package as if it were the next version.
fn next_version(package: &Package) -> Package {
    Package {
        version: format!("{}.1", package.version),
        ..package.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_of_a_help_text_are_read_without_its_continuations() {
        let help = "What.\n\nCommands:\n  serve   Run it\n  node    See\n          nodes\n  help    Print\n\nOptions:\n  -h\n";
        assert_eq!(subcommands(help), ["node", "serve"]);
        assert!(subcommands("Options:\n  -h\n").is_empty());
    }

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
