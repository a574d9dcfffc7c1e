//! Builds one program for one target as it is shipped, and puts it into `dist/`.
//! Never leaves a program there that was not just built.

use super::road::Tools;
use super::strip::strip;
use crate::progress;
use anyhow::{Context as _, Result, bail};
use holdfast_cross::targets::Target;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The agent's features, all on by default.
pub(crate) const FEATURES: [&str; 3] = ["yaml", "xz", "zstd"];

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The agent with all features.
    Agent,
    /// The agent for the smallest devices.
    Minimal,
    /// The agent without one of its features: only to see what that one costs.
    Without(&'static str),
    /// The bridge.
    Bridge,
}

impl Program {
    /// Its file in `dist/`.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Agent | Self::Without(_) => "holdfast-agent",
            Self::Minimal => "holdfast-agent-minimal",
            Self::Bridge => "holdfast-bridge",
        }
    }

    /// cargo's arguments.
    pub(crate) fn arguments(self) -> Vec<String> {
        let words = match self {
            Self::Agent => "--profile agent -p holdfast-agent",
            Self::Minimal | Self::Without(_) => {
                "--profile agent -p holdfast-agent --no-default-features"
            }
            Self::Bridge => "--profile release -p holdfast-bridge",
        };
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        if let Self::Without(left_out) = self {
            let rest = FEATURES.iter().filter(|feature| **feature != left_out);
            words.push("--features".into());
            words.push(rest.copied().collect::<Vec<_>>().join(","));
        }
        words
    }

    /// Where cargo leaves it, below the target's folder.
    pub(crate) fn built(self) -> &'static str {
        match self {
            Self::Agent | Self::Minimal | Self::Without(_) => "agent/holdfast-agent",
            Self::Bridge => "release/holdfast-bridge",
        }
    }
}

/// Builds a program and returns its path in `dist/`.
///
/// # Errors
/// When it does not build.
pub(crate) fn build(
    root: &Path,
    tools: &Tools,
    target: &Target,
    program: Program,
) -> Result<PathBuf> {
    let started = Instant::now();
    let built = build_in(root, tools, target, program, &folder(root, tools))?;
    let out = root.join("dist").join(&target.triple).join(program.file());
    let symbols = symbols_of(&out);
    if let Some(folder) = symbols.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::copy(&built, &symbols).with_context(|| symbols.display().to_string())?;
    let stripped = strip(&std::fs::read(&built)?)?;
    std::fs::write(&out, stripped).with_context(|| out.display().to_string())?;
    std::fs::set_permissions(&out, Permissions::from_mode(0o755))?;
    progress(format!(
        "    {}: {} B in {} s",
        out.strip_prefix(root).unwrap_or(&out).display(),
        std::fs::metadata(&out)?.len(),
        started.elapsed().as_secs()
    ));
    Ok(out)
}

/// Where a road's builds are: each has its own compiler.
pub(crate) fn folder(root: &Path, tools: &Tools) -> PathBuf {
    root.join("target").join("dist").join(tools.road.name())
}

/// The unstripped twin of a program in `dist/`: it turns an address of a crash into a name.
pub(crate) fn symbols_of(program: &Path) -> PathBuf {
    let folder = program.with_file_name("symbols");
    folder.join(program.file_name().unwrap_or_default())
}

/// As [`build`], in a target folder of its own and no further; returns where cargo left it.
///
/// # Errors
/// When it does not build.
pub(crate) fn build_in(
    root: &Path,
    tools: &Tools,
    target: &Target,
    program: Program,
    folder: &Path,
) -> Result<PathBuf> {
    progress(format!("==> {} for {}", program.file(), target.triple));
    let mut command = tools.build(root, target, folder)?;
    command.args(program.arguments()).arg("--locked");
    // Stripped afterwards, so that one build gives both the program and its names.
    for profile in ["agent", "release"] {
        command.args(["--config", &format!("profile.{profile}.strip=\"none\"")]);
    }
    // Not as SOURCE_DATE_EPOCH, which each library in C is built anew for.
    command.env("HOLDFAST_BUILT_UNIX_S", epoch(root)?);
    let status = command
        .status()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} for {}: {status}", program.file(), target.triple);
    }
    Ok(folder.join(&target.triple).join(program.built()))
}

/// The time that stands in what is built: the last commit's, so that two builds of it agree.
///
/// # Errors
/// When it is given as `SOURCE_DATE_EPOCH` nor known to git.
pub(crate) fn epoch(root: &Path) -> Result<String> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(root)
        .output()
        .context("git")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.is_empty() {
        bail!("this is no git checkout: set SOURCE_DATE_EPOCH to the source's time, in seconds");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_features_are_those_that_the_agent_has_by_default() {
        let root = crate::tidy::workspace_root().unwrap();
        let manifest = std::fs::read_to_string(root.join("agent/Cargo.toml")).unwrap();
        let default = manifest.lines().find(|line| line.starts_with("default = "));
        let quoted = FEATURES.map(|feature| format!("\"{feature}\"")).join(", ");
        assert_eq!(default.unwrap(), format!("default = [{quoted}]"));
        let without = Program::Without("xz").arguments().join(" ");
        assert!(
            without.ends_with("--no-default-features --features yaml,zstd"),
            "{without}"
        );
    }
}
