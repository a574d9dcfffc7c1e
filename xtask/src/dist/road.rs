//! The two roads to a static program: rustup's compiler or Debian's, each of which builds its own
//! standard library too. Says which was taken, and installs what it needs.
//! Never changes the machine's default toolchain, and never commits a flag to cargo's configuration.

use super::layout;
use crate::install::{self, Wanted};
use crate::progress;
use anyhow::{Context as _, Result, bail, ensure};
use holdfast_cross::targets::Target;
use std::path::{Path, PathBuf};
use std::process::Command;

/// zig is C compiler (for ring and SQLite), linker and musl; both come from PyPI, held to their hashes.
const ZIG: &str = include_str!("../../../cross/zig.txt");

const PYTHON: &[Wanted] = &[("python3-venv", "zig in a folder of its own")];

const DEBIAN: &[Wanted] = &[
    ("rustc-web", "Debian's current Rust compiler"),
    ("cargo-web", "the cargo that belongs to it"),
    (
        "rust-web-src",
        "the standard library's source, built for each target",
    ),
];

/// Where a compiler keeps the standard library's source, below its own folder.
const SOURCE: &str = "lib/rustlib/src/rust";

/// Whose compiler builds, the standard library included: rustup's own is built for speed, which makes
/// the agent a third larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    /// The one that builds this program.
    Rustup,
    /// The one of Debian's packages.
    Debian,
}

impl Road {
    /// The word for it in flags and folders.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }

    /// Reads the word.
    ///
    /// # Errors
    /// For any other word.
    pub(crate) fn parse(word: &str) -> Result<Self> {
        match word {
            "rustup" => Ok(Self::Rustup),
            "debian" => Ok(Self::Debian),
            other => bail!("--road `{other}`: there are rustup and debian"),
        }
    }
}

/// A road with everything on it installed.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Which one.
    pub(crate) road: Road,
    /// The compiler's folder.
    sysroot: PathBuf,
    /// Where zig and cargo-zigbuild are.
    zig: PathBuf,
}

/// Makes a road ready: the one asked for, else Debian's where its compiler is there or may be
/// installed, as a release is made, else rustup's.
///
/// # Errors
/// When something is missing and cannot be installed: says what, and how.
pub(crate) fn prepare(root: &Path, asked: Option<Road>) -> Result<Tools> {
    let road = match asked {
        Some(road) => road,
        None if install::may_have(DEBIAN) && install::debian(DEBIAN).is_ok() => Road::Debian,
        None => Road::Rustup,
    };
    let sysroot = match road {
        Road::Debian => {
            install::debian(DEBIAN)?;
            PathBuf::from("/usr")
        }
        Road::Rustup => {
            let sysroot = sysroot()?;
            add_source(&sysroot)?;
            sysroot
        }
    };
    progress(format!(
        "==> road: {}'s compiler, the standard library built for size",
        road.name()
    ));
    install::debian(PYTHON)?;
    let zig = root.join("target").join("tools").join("zig");
    install::venv(&zig, ZIG, "zig and cargo-zigbuild")?;
    Ok(Tools {
        road,
        sysroot,
        zig: zig.join("bin"),
    })
}

/// The folder of the compiler in use.
fn sysroot() -> Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let output = output.context("rustc --print sysroot")?;
    ensure!(
        output.status.success(),
        "rustc --print sysroot: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let said = String::from_utf8(output.stdout).context("rustc --print sysroot")?;
    Ok(PathBuf::from(said.trim()))
}

/// Loads the standard library's source where it is missing.
fn add_source(sysroot: &Path) -> Result<()> {
    if sysroot.join(SOURCE).join("library").is_dir() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    progress("==> rustup component add rust-src");
    match rustup.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!(
            "no road: rustup cannot load the standard library's source, see above (is the network there?); on Debian, `--road debian` as root needs no rustup"
        ),
        Err(_) => bail!(
            "no road: rustup is not installed (https://rustup.rs); on Debian, `--road debian` as root installs rustc-web, cargo-web and rust-web-src instead"
        ),
    }
}

impl Tools {
    /// A `cargo build` of this road for one target, without what to build.
    ///
    /// # Errors
    /// When the compiler's own folder cannot be found.
    pub(crate) fn build(&self, root: &Path, target: &Target, folder: &Path) -> Result<Command> {
        let mut command = Command::new(self.zig.join("cargo-zigbuild"));
        command.current_dir(root).arg("zigbuild");
        command.args(["--target", &target.triple]);
        command.env("PATH", self.path());
        command.env("CARGO_TARGET_DIR", folder);
        let mut flags = remapped(root, folder)?;
        match self.road {
            Road::Rustup => {
                command.env("CARGO", env!("CARGO"));
            }
            Road::Debian => {
                command
                    .env("CARGO", "/usr/bin/cargo")
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTDOC", "/usr/bin/rustdoc");
            }
        }
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["-Z", "build-std=std,panic_abort"])
            .args(["-Z", "build-std-features=optimize_for_size"]);
        // zig brings the C library that rustup's targets carry with them.
        flags.push("-Clink-self-contained=no".into());
        flags.push(layout::flag(root));
        flags.push(remap(&self.sysroot.join(SOURCE), "rust"));
        let codegen = target.codegen.iter();
        flags.extend(codegen.map(|option| format!("-C{option}")));
        // No unwinder's tables in C code either.
        command.env(
            "CFLAGS",
            "-fno-asynchronous-unwind-tables -fno-unwind-tables",
        );
        // Apart by what no path holds: a folder may have a space in its name. With `--target` cargo
        // gives them to the target's programs only.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        Ok(command)
    }

    fn path(&self) -> std::ffi::OsString {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.zig.clone()).chain(std::env::split_paths(&old));
        std::env::join_paths(folders).unwrap_or(old)
    }
}

/// Flags that take this machine's folders out of what is compiled.
fn remapped(root: &Path, folder: &Path) -> Result<Vec<String>> {
    // The last that fits wins: the widest first.
    let mut flags = vec![
        remap(root, "holdfast"),
        remap(folder, "target"),
        // A panic aborts: the unwinder's tables would be an eighth of the agent, and never read.
        "-Cforce-unwind-tables=no".into(),
        // Its names say which crate brought a function.
        "-Csymbol-mangling-version=v0".into(),
    ];
    for source in registries()? {
        flags.push(remap(&source, "crates"));
    }
    Ok(flags)
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Folders with the sources of dependencies.
fn registries() -> Result<Vec<PathBuf>> {
    let sources = cargo_home()?.join("registry").join("src");
    let Ok(entries) = std::fs::read_dir(&sources) else {
        return Ok(Vec::new());
    };
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// cargo's own folder.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_space_in_its_name_stays_one_flag() {
        let root = Path::new("/home/jo/hold fast");
        let target = holdfast_cross::targets::find("armv7-unknown-linux-musleabihf").unwrap();
        for road in [Road::Rustup, Road::Debian] {
            let tools = Tools {
                road,
                sysroot: "/usr".into(),
                zig: root.join("target/tools/zig/bin"),
            };
            let command = tools.build(root, &target, &root.join("target")).unwrap();
            let mut variables = command.get_envs();
            let (_, flags) = variables
                .find(|(name, _)| *name == "CARGO_ENCODED_RUSTFLAGS")
                .unwrap();
            let flags = flags.unwrap().to_str().unwrap();
            let flags: Vec<&str> = flags.split('\x1f').collect();
            for flag in [
                "--remap-path-prefix=/home/jo/hold fast=holdfast",
                "-Clink-arg=-Wl,-T,/home/jo/hold fast/cross/layout.ld",
                "-Ctarget-feature=+thumb-mode",
            ] {
                assert!(flags.contains(&flag), "{flag}: {flags:?}");
            }
        }
    }
}
