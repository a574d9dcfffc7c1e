//! The agent's deb of another processor, by that processor's own dpkg, under an emulator unless this
//! one runs its programs, in a Debian that has no systemd: installed, upgraded, removed, purged.
//! Never makes this machine run foreign programs: only a namespace of its own does.

use super::{CHANGED, ENVIRONMENT, ask, next_version, system};
use crate::dist::Built;
use crate::dist::packages::Packed;
use crate::install::{self, Wanted};
use crate::say;
use anyhow::{Context as _, Result, ensure};
use holdfast_cross::package::contents::{self, System};
use holdfast_cross::package::deb;
use std::path::Path;
use std::process::Command;

const TOOLS: &[Wanted] = &[
    (
        "mmdebstrap",
        "makes the Debian systems that packages are tried in",
    ),
    ("qemu-user-static", "runs their programs"),
];

/// Has the kernel run an emulator's programs, if there is one, in this user namespace alone (Linux
/// 6.7), and goes on in the system's root. The numbers are those of an ELF header up to its machine.
const ENTER: &str = r#"
if [ -n "$2" ]; then
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    sed "s,:[^:]*:[A-Z]*\$,:$1:F," "/usr/lib/binfmt.d/$2.conf" > /proc/sys/fs/binfmt_misc/register
fi
exec chroot "$3" /bin/sh -ec "$4"
"#;

/// Whether this machine's processor runs programs of Debian's `architecture` by itself, though its own
/// is another.
fn runs_here(architecture: &str) -> bool {
    std::env::consts::ARCH == "x86_64" && architecture == "i386"
}

/// Tries the deb of a target that is not this machine's own.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(crate) fn foreign(root: &Path, packed: &Packed, built: &Built) -> Result<()> {
    install::debian(TOOLS)?;
    let architecture = &built.target.packages.deb;
    let emulator = match &built.target.emulator {
        Some(emulator) => emulator.program.as_str(),
        None if runs_here(architecture) => "",
        None => {
            say(format!(
                "    deb for {architecture}: not tried, no emulator is known"
            ));
            return Ok(());
        }
    };
    let base = system::debian_of(root, architecture)?;
    let scratch = tempfile::tempdir_in(root.join("target"))?;
    let system = scratch.path().join("system");
    ask(Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .arg(&base)
        .arg(&system))?;
    let package = contents::agent(&packed.agent, System::Debian)?;
    let next = next_version(&package);
    for (name, package) in [("one.deb", &package), ("two.deb", &next)] {
        std::fs::write(system.join(name), deb::write(package, architecture)?)?;
    }
    let within = |line: &str| {
        ask(Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-ec",
                ENTER,
                "enter",
            ])
            .arg(Path::new("/usr/bin").join(emulator))
            .arg(emulator.trim_end_matches("-static"))
            .arg(&system)
            .arg(line))
        .with_context(|| format!("the deb for {architecture}"))
    };
    within("dpkg --install /one.deb")?;
    let version = within("dpkg --print-architecture; holdfast-agent --version")?;
    ensure!(
        version == format!("{architecture}\nholdfast-agent {}\n", packed.agent.version),
        "the installed program says {version}"
    );
    // Untouched, the configuration follows the package; changed, it stays.
    let environment = system.join(ENVIRONMENT.trim_start_matches('/'));
    within("dpkg --install /two.deb")?;
    let followed = std::fs::read_to_string(&environment)?;
    ensure!(followed.ends_with("# of the next version\n"), "{followed}");
    std::fs::write(&environment, CHANGED)?;
    within("dpkg --force-confold --install /one.deb && dpkg --remove holdfast-agent")?;
    ensure!(
        std::fs::read_to_string(&environment)? == CHANGED,
        "the configuration that the user wrote did not stay"
    );
    within("dpkg --purge holdfast-agent")?;
    ensure!(
        !environment.exists() && !system.join("usr/bin/holdfast-agent").exists(),
        "purged: nothing stays"
    );
    let by = if emulator.is_empty() {
        "this machine's processor"
    } else {
        emulator
    };
    say(format!(
        "    deb for {architecture}: installed, upgraded, downgraded, removed and purged by its own dpkg ({by})"
    ));
    Ok(())
}
