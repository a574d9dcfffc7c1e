//! A Debian system of a target's own architecture, as far as a patch scan looks.
//! Never a whole one: dpkg's database, one source, its Release and its package list.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;

/// A name that nothing else has.
const PACKAGE: &str = "libholdfast-smoke";

/// Puts a system with one security update missing below a folder.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn debian(root: &Path, architecture: &str) -> Result<()> {
    let stanza = |version: &str, more: &str| {
        format!(
            "Package: {PACKAGE}\nArchitecture: {architecture}\nVersion: {version}\nSection: libs\n\
             Priority: required\nMaintainer: M <m@example.org>\nDescription: d\n{more}\n"
        )
    };
    let lists = "var/lib/apt/lists/deb.example_debian-security_dists_stable-security_";
    let release = "Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\n\
                   Codename: bookworm-security\nVersion: 12\nComponents: main\n";
    let files = [
        (
            "etc/os-release".to_owned(),
            "ID=debian\nVERSION_ID=\"12\"\n".to_owned(),
        ),
        ("var/lib/dpkg/arch".into(), format!("{architecture}\n")),
        (
            "var/lib/dpkg/status".into(),
            stanza("1.0-1", "Status: install ok installed\n")
                // dpkg itself tells the system's architecture.
                + &stanza("1.21.22", "Status: install ok installed\n").replace(PACKAGE, "dpkg"),
        ),
        (
            "etc/apt/sources.list".into(),
            "deb http://deb.example/debian-security stable-security main\n".into(),
        ),
        (
            format!("{lists}InRelease"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{release}\
                 Architectures: {architecture}\n-----BEGIN PGP SIGNATURE-----\n\n\
                 -----END PGP SIGNATURE-----\n"
            ),
        ),
        (
            format!("{lists}main_binary-{architecture}_Packages"),
            stanza("1.0-1+deb12u1", "Filename: f\nSize: 1\n"),
        ),
    ];
    for (path, text) in files {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The one missing update is found, and nothing else.
///
/// # Errors
/// With the report that says otherwise.
pub(super) fn expect_one_missing(report: &Value) -> Result<()> {
    let patches = report.get("patches").and_then(Value::as_array);
    let missing: Vec<_> = patches
        .context("patches in the report")?
        .iter()
        .filter(|patch| patch.get("state").and_then(Value::as_str) == Some("MISSING"))
        .filter_map(|patch| patch.get("name").and_then(Value::as_str))
        .collect();
    ensure!(missing == [PACKAGE], "missing is {missing:?}: {report}");
    Ok(())
}
