//! What is in the agent's and the bridge's package for each system: the program, its service, its
//! manual, its configuration.
//! Never starts a service that has nothing to serve yet.

use super::manual::{self, Verb};
use super::{File, Package, PackageError, Scripts, archive};

/// The program that a package is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The stripped program.
    pub program: Vec<u8>,
    /// Its verbs, the program's own help first.
    pub verbs: Vec<Verb>,
    /// Of the workspace.
    pub version: String,
    /// `Name <address>`.
    pub maintainer: String,
    /// Where to read more, if there is such a place.
    pub homepage: Option<String>,
    /// Of the last commit, seconds since 1970.
    pub epoch_s: u64,
    /// The workspace's changelog.
    pub changelog: Vec<u8>,
}

/// What starts services and how documentation lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Debian: systemd, packed documentation.
    Debian,
    /// RPM: systemd, plain documentation.
    Rpm,
    /// Alpine: OpenRC.
    Alpine,
    /// OpenWrt: procd, and no room for documentation.
    OpenWrt,
}

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: holdfast
Comment: Libraries are linked in; the bill of materials beside the packages
 (.cdx.json) names each with its version and licence.

Files: *
Copyright: 2026 The Holdfast maintainers
License: Apache-2.0
 On Debian systems, the licence's full text is in
 /usr/share/common-licenses/Apache-2.0.
";
const LICENSE: &[u8] = include_bytes!("../../../LICENSE");
const LINTIAN_REASON: &str =
    "# One file that runs on any kernel and any C library is what this package is for.\n";

/// The agent's package.
///
/// # Errors
/// When the manual cannot be packed.
pub fn agent(subject: &Subject, system: System) -> Result<Package, PackageError> {
    let name = "holdfast-agent";
    let mut files = common(
        name,
        "runs commands and patch scans on machines that are often offline",
        subject,
        system,
    )?;
    files.push(config(
        "etc/holdfast/agent.env",
        include_bytes!("../../packages/agent/agent.env"),
    ));
    files.extend(match system {
        System::Debian | System::Rpm => vec![
            plain(
                "usr/lib/systemd/system/holdfast-agent.service",
                include_bytes!("../../packages/agent/holdfast-agent.service"),
            ),
            plain(
                "usr/lib/tmpfiles.d/holdfast-agent.conf",
                include_bytes!("../../packages/agent/holdfast-agent.tmpfiles"),
            ),
        ],
        System::Alpine => vec![program(
            "etc/init.d/holdfast-agent",
            include_bytes!("../../packages/agent/holdfast-agent.openrc"),
        )],
        System::OpenWrt => vec![
            program(
                "etc/init.d/holdfast-agent",
                include_bytes!("../../packages/agent/holdfast-agent.procd"),
            ),
            // What an upgrade of the whole system (sysupgrade) keeps.
            plain(
                "lib/upgrade/keep.d/holdfast-agent",
                include_bytes!("../../packages/agent/holdfast-agent.keep"),
            ),
        ],
    });
    let mut scripts = service_scripts(name, system);
    // The node's identity and what it has not delivered; a package that only goes leaves them.
    scripts.purged += "rm -rf /var/lib/holdfast\n";
    let description = [
        "The agent runs the documents that the fleet's bridge sends, scans for patches and keeps an inventory, with or without a link. When the link returns, each result is delivered once and in order.",
        "It is one static program. Register it with `holdfast-agent register`, then enable its service.",
    ];
    Ok(package(
        name,
        "Fleet agent for machines that are often offline",
        &description,
        subject,
        files,
        scripts,
    ))
}

/// The bridge's package, for systems with systemd.
///
/// # Errors
/// When the manual cannot be packed.
pub fn bridge(subject: &Subject, system: System) -> Result<Package, PackageError> {
    let name = "holdfast-bridge";
    let mut files = common(
        name,
        "keeps a fleet's state and speaks the AWS SSM API",
        subject,
        system,
    )?;
    files.push(config(
        "etc/holdfast/bridge.env",
        include_bytes!("../../packages/bridge/bridge.env"),
    ));
    files.extend([
        plain(
            "usr/lib/systemd/system/holdfast-bridge.service",
            include_bytes!("../../packages/bridge/holdfast-bridge.service"),
        ),
        plain(
            "usr/lib/sysusers.d/holdfast-bridge.conf",
            include_bytes!("../../packages/bridge/holdfast-bridge.sysusers"),
        ),
        plain(
            "usr/lib/tmpfiles.d/holdfast-bridge.conf",
            include_bytes!("../../packages/bridge/holdfast-bridge.tmpfiles"),
        ),
    ]);
    let mut scripts = service_scripts(name, system);
    scripts.installed = "if command -v systemd-sysusers >/dev/null; then systemd-sysusers holdfast-bridge.conf; fi\n".to_owned() + &scripts.installed;
    // The fleet's keys are never removed by a package: /var/lib/holdfast-bridge stays.
    let description = [
        "The bridge is the MQTT endpoint that agents connect to, keeps the fleet's state in SQLite and answers the AWS SSM API, so that the AWS CLI and boto3 drive machines that AWS does not reach.",
        "It is one static program. Its keys and its database stay in /var/lib/holdfast-bridge when the package goes.",
    ];
    Ok(package(
        name,
        "MQTT endpoint and AWS SSM API of a Holdfast fleet",
        &description,
        subject,
        files,
        scripts,
    ))
}

fn package(
    name: &str,
    summary: &str,
    description: &[&str],
    subject: &Subject,
    mut files: Vec<File>,
    scripts: Scripts,
) -> Package {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let documentation = format!("usr/share/doc/{name}");
    let own_folders = ["etc/holdfast", &documentation];
    Package {
        name: name.to_owned(),
        own_folders: own_folders.map(str::to_owned).to_vec(),
        version: subject.version.clone(),
        summary: summary.to_owned(),
        description: description.iter().map(|&text| text.to_owned()).collect(),
        license: "Apache-2.0".to_owned(),
        maintainer: subject.maintainer.clone(),
        homepage: subject.homepage.clone(),
        files,
        scripts,
        epoch_s: subject.epoch_s,
    }
}

fn file(path: &str, content: &[u8], mode: u32, config: bool) -> File {
    File {
        path: path.to_owned(),
        content: content.to_vec(),
        mode,
        config,
    }
}

fn plain(path: &str, content: &[u8]) -> File {
    file(path, content, 0o644, false)
}

fn program(path: &str, content: &[u8]) -> File {
    file(path, content, 0o755, false)
}

fn config(path: &str, content: &[u8]) -> File {
    file(path, content, 0o644, true)
}

/// The program and, where there is room, its documentation and completions.
fn common(
    name: &str,
    what: &str,
    subject: &Subject,
    system: System,
) -> Result<Vec<File>, PackageError> {
    let mut files = vec![program(&format!("usr/bin/{name}"), &subject.program)];
    if system == System::OpenWrt {
        return Ok(files);
    }
    let verbs = &subject.verbs;
    let page = manual::page(name, &subject.version, what, verbs);
    files.push(plain(
        &format!("usr/share/man/man8/{name}.8.gz"),
        &archive::gzip(&page)?,
    ));
    files.push(plain(
        &format!("usr/share/bash-completion/completions/{name}"),
        &manual::bash(name, verbs),
    ));
    files.push(plain(
        &format!("usr/share/fish/vendor_completions.d/{name}.fish"),
        &manual::fish(name, verbs),
    ));
    let zsh = if system == System::Debian {
        "vendor-completions"
    } else {
        "site-functions"
    };
    files.push(plain(
        &format!("usr/share/zsh/{zsh}/_{name}"),
        &manual::zsh(name, verbs),
    ));
    let documentation = format!("usr/share/doc/{name}");
    match system {
        System::Debian => {
            files.push(plain(
                &format!("{documentation}/changelog.gz"),
                &archive::gzip(&debian_changelog(name, subject))?,
            ));
            files.push(plain(
                &format!("{documentation}/NEWS.md.gz"),
                &archive::gzip(&subject.changelog)?,
            ));
            files.push(plain(
                &format!("{documentation}/copyright"),
                COPYRIGHT.as_bytes(),
            ));
            let tag =
                format!("{LINTIAN_REASON}{name}: statically-linked-binary [usr/bin/{name}]\n");
            files.push(plain(
                &format!("usr/share/lintian/overrides/{name}"),
                tag.as_bytes(),
            ));
        }
        System::Rpm | System::Alpine => {
            files.push(plain(
                &format!("{documentation}/CHANGELOG.md"),
                &subject.changelog,
            ));
            files.push(plain(&format!("{documentation}/LICENSE"), LICENSE));
        }
        System::OpenWrt => {}
    }
    Ok(files)
}

/// What Debian's tools read; the changelog that people read is NEWS.md.
fn debian_changelog(name: &str, subject: &Subject) -> Vec<u8> {
    format!(
        "{name} ({}) unstable; urgency=medium\n\n  * See NEWS.md.\n\n -- {}  {}\n",
        subject.version,
        subject.maintainer,
        mail_date(subject.epoch_s)
    )
    .into_bytes()
}

/// A date as mail writes it, in UTC.
fn mail_date(epoch_s: u64) -> String {
    let second = i64::try_from(epoch_s).unwrap_or_default();
    let date = jiff::Timestamp::from_second(second).unwrap_or_default();
    jiff::fmt::rfc2822::to_string(&date.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

fn service_scripts(name: &str, system: System) -> Scripts {
    let mut scripts = Scripts::default();
    match system {
        System::Debian | System::Rpm => {
            let running = "if [ -d /run/systemd/system ]; then ";
            scripts.installed = format!(
                "if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create {name}.conf; fi\n\
                 {running}systemctl daemon-reload; fi\n"
            );
            scripts.upgraded = format!("{running}systemctl try-restart {name}.service; fi\n");
            scripts.removing =
                format!("{running}systemctl --no-reload disable --now {name}.service; fi\n");
            scripts.removed = format!("{running}systemctl daemon-reload; fi\n");
        }
        System::Alpine => {
            scripts.upgraded = format!("rc-service --ifstarted {name} restart || true\n");
            scripts.removing = format!(
                "rc-service --ifstarted {name} stop || true\nrc-update --quiet delete {name} || true\n"
            );
        }
        System::OpenWrt => {
            scripts.installed = format!("/etc/init.d/{name} enable\n");
            scripts.upgraded = format!(
                "[ ! -e /etc/holdfast/state/identity.json ] || /etc/init.d/{name} restart\n"
            );
            scripts.removing =
                format!("/etc/init.d/{name} stop || true\n/etc/init.d/{name} disable || true\n");
        }
    }
    scripts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            program: vec![0x7f],
            verbs: vec![Verb {
                words: String::new(),
                help: "--help\n".into(),
            }],
            version: "0.1.0".into(),
            maintainer: "Nobody <nobody@example.org>".into(),
            homepage: None,
            epoch_s: 1_700_000_000,
            changelog: b"# Changelog\n".to_vec(),
        }
    }

    #[test]
    fn every_system_gets_one_service_and_a_configuration_that_stays() {
        for (system, service) in [
            (
                System::Debian,
                "usr/lib/systemd/system/holdfast-agent.service",
            ),
            (System::Rpm, "usr/lib/systemd/system/holdfast-agent.service"),
            (System::Alpine, "etc/init.d/holdfast-agent"),
            (System::OpenWrt, "etc/init.d/holdfast-agent"),
        ] {
            let package = agent(&subject(), system).unwrap();
            package.check().unwrap();
            assert!(
                package.files.iter().any(|file| file.path == service),
                "{system:?}"
            );
            let kept: Vec<_> = package
                .files
                .iter()
                .filter(|file| file.config)
                .map(|file| file.path.as_str())
                .collect();
            assert_eq!(kept, ["etc/holdfast/agent.env"]);
        }
    }

    #[test]
    fn the_changelogs_date_is_that_of_mail() {
        assert_eq!(mail_date(1_700_000_000), "Tue, 14 Nov 2023 22:13:20 +0000");
    }

    #[test]
    fn the_bridges_keys_stay_when_its_package_goes() {
        let package = bridge(&subject(), System::Debian).unwrap();
        package.check().unwrap();
        let Scripts {
            removed,
            purged,
            removing,
            ..
        } = package.scripts;
        assert!(!(removed + &purged + &removing).contains("/var/lib"));
    }
}
