//! Packages of what was built, for each system and architecture, with their list of contents
//! (SBOM) and checksums.
//! Never signs with a key of its own: the release's key comes as a file.

mod bill;
mod lint;
mod openpgp;
mod seal;
mod trial;

use super::compile::{self, Program};
use super::options::Options;
use super::{Built, is_native};
use crate::say;
use anyhow::{Context as _, Result, ensure};
use holdfast_cross::package::contents::{self, Subject, System};
use holdfast_cross::package::manual::Verb;
use holdfast_cross::package::{apk, deb, ipk, rpm, tarball};
pub(super) use seal::seal;
use std::path::Path;
use std::process::Command;

/// What one target's packages are made from, and their bytes by name.
struct Packed {
    agent: Subject,
    bridge: Option<Subject>,
    files: Vec<(String, Vec<u8>)>,
}

/// Writes every package of what was built; with `--check`, tries them too.
///
/// # Errors
/// When one cannot be written, or does not install, upgrade or go as it should.
pub(super) fn write(root: &Path, built: &[Built], options: &Options) -> Result<()> {
    say("==> packages");
    for built in built {
        let folder = built.agent.parent().context("the target's folder")?;
        let packed = pack(root, built)?;
        for (name, bytes) in &packed.files {
            let path = folder.join(name);
            std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
            say(format!("    {name}: {} B", bytes.len()));
            if let Some(key) = options
                .sign_rpm
                .as_deref()
                .filter(|_| name.ends_with(".rpm"))
            {
                openpgp::sign(&path, key, None)?;
            }
        }
        if options.check {
            let names = &built.target.packages;
            if is_native(&built.target) {
                trial::native(root, folder, &packed, names)?;
            } else {
                trial::foreign(root, &packed, built)?;
            }
            lint::run(folder, &packed)?;
        }
    }
    bill::write(root)
}

fn pack(root: &Path, built: &Built) -> Result<Packed> {
    let architectures = &built.target.packages;
    let triple = &built.target.triple;
    let agent = subject(root, built, &built.agent, Program::Agent)?;
    let version = agent.version.clone();
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
            format!("holdfast-agent-{version}-{triple}.tar.gz"),
            tarball::write(&package(System::Rpm)?)?,
        ),
    ];
    let bridge = built.bridge.as_ref();
    let bridge = bridge.map(|program| subject(root, built, program, Program::Bridge));
    let bridge = bridge.transpose()?;
    if let Some(bridge) = &bridge {
        let package = |system| contents::bridge(bridge, system);
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
                format!("holdfast-bridge-{version}-{triple}.tar.gz"),
                tarball::write(&package(System::Rpm)?)?,
            ),
        ]);
    }
    Ok(Packed {
        agent,
        bridge,
        files,
    })
}

/// What a command printed; failing, its words are the error.
fn ask(command: &mut Command) -> Result<String> {
    let output = command
        .env("LC_ALL", "C.UTF-8")
        .output()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

fn subject(root: &Path, built: &Built, program: &Path, which: Program) -> Result<Subject> {
    Ok(Subject {
        verbs: verbs(built, program, which)?,
        program: std::fs::read(program).with_context(|| program.display().to_string())?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        maintainer: std::env::var("HOLDFAST_MAINTAINER")
            .unwrap_or_else(|_| env!("CARGO_PKG_AUTHORS").to_owned()),
        homepage: Some(env!("CARGO_PKG_HOMEPAGE").to_owned()).filter(|page| !page.is_empty()),
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
    let mut open = if which == Program::Bridge {
        subcommands(&whole.help)
    } else {
        listed(&whole.help)
    };
    let mut verbs = vec![whole];
    while let Some(words) = open.pop() {
        let verb = ask(&words)?;
        let inner = subcommands(&verb.help);
        open.extend(inner.iter().map(|inner| format!("{words} {inner}")));
        verbs.push(verb);
    }
    Ok(verbs)
}

/// The verbs of the agent's own help, whose lines begin with the program, last first.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().filter_map(|line| {
        let call = line.trim_start().strip_prefix("holdfast-agent ")?;
        let verb = call.split("  ").next()?.split(' ');
        let words = verb.take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
        Some(words.collect::<Vec<_>>().join(" "))
    });
    let mut verbs: Vec<String> = lines.filter(|verb| !verb.is_empty()).collect();
    verbs.reverse();
    verbs
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
    fn the_verbs_of_the_agent_are_those_that_its_help_begins_lines_with() {
        let help = "It runs holdfast-agent things.\n\n  holdfast-agent register …    once\n  holdfast-agent run           serve\n  holdfast-agent document run FILE  here\n";
        assert_eq!(listed(help), ["document run", "run", "register"]);
    }
}
