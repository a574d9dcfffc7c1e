//! Lists installed packages through `rpm -qa`, for roots that have an rpm database.
//! Never reads the database itself (rpm may leave its index files beside it), nor an answer without end.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where rpm databases lie: the old place, and the one of newer distributions.
const DATABASES: [&str; 2] = ["var/lib/rpm", "usr/lib/sysimage/rpm"];
/// One line a package, fields apart by a byte that no field holds.
const FORMAT: &str = "%{NAME}\x1f%{ARCH}\x1f%{VERSION}\x1f%{RELEASE}\x1f%|EPOCH?{%{EPOCH}}:{}|\
                      \x1f%{GROUP}\x1f%{VENDOR}\x1f%{URL}\x1f%{SUMMARY}\\n";
/// What separates fields in the answer.
const SEPARATOR: char = '\u{1f}';
/// The longest answer taken: about 40,000 packages.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why rpm gave no list.
#[derive(Debug, thiserror::Error)]
pub enum RpmError {
    /// `rpm` could not be started, or its answer not be read.
    #[error("cannot run `rpm -qa`; is the package rpm installed?")]
    Run(#[source] io::Error),
    /// `rpm` says that it failed.
    #[error("`rpm -qa` failed with {status}: {message}")]
    Failed {
        /// How it ended.
        status: String,
        /// The start of what it said.
        message: String,
    },
    /// The answer is longer than [`OUTPUT_BYTES_MAX`].
    #[error("`rpm -qa` printed more than the {OUTPUT_BYTES_MAX} bytes allowed")]
    TooLong,
}

/// One installed package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// `x86_64`, `noarch`.
    pub architecture: String,
    /// Its version, without epoch and release.
    pub version: String,
    /// Its release.
    pub release: String,
    /// Its epoch; empty where it has none.
    pub epoch: String,
    /// Its group.
    pub group: String,
    /// Who built it.
    pub vendor: String,
    /// Its homepage.
    pub url: String,
    /// What it is, in a line.
    pub summary: String,
}

/// Lists the installed packages below `root`; none where there is no database.
///
/// Blocks until rpm has answered; the caller bounds how long.
///
/// # Errors
/// [`RpmError`]
pub fn installed(root: &Path) -> Result<Vec<Package>, RpmError> {
    let is_there = |path: &&&str| root.join(path).is_dir();
    let Some(database) = DATABASES.iter().find(is_there) else {
        return Ok(Vec::new());
    };
    let mut child = Command::new("rpm")
        .arg("--root")
        .arg(root)
        // Where the root's own rpm keeps it, whatever the rpm of this system is used to.
        .args(["--dbpath", &format!("/{database}")])
        .args(["-qa", "--queryformat", FORMAT])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(RpmError::Run)?;
    let answer = child
        .stdout
        .take()
        .map(|stdout| parse(BufReader::new(stdout)));
    if !matches!(answer, Some(Ok(_))) {
        // It may still be printing what nobody reads; a child that is gone already is no trouble.
        let _ = child.kill();
    }
    let status = child.wait().map_err(RpmError::Run)?;
    let packages = answer.transpose()?.unwrap_or_default();
    if !status.success() {
        return Err(RpmError::Failed {
            status: status.to_string(),
            message: format!("{} packages were listed before", packages.len()),
        });
    }
    Ok(packages)
}

fn parse(answer: impl BufRead) -> Result<Vec<Package>, RpmError> {
    let mut packages = Vec::new();
    let mut answer = answer.take(OUTPUT_BYTES_MAX + 1);
    let mut line = Vec::new();
    let mut bytes = 0;
    loop {
        line.clear();
        let count = answer.read_until(b'\n', &mut line).map_err(RpmError::Run)?;
        if count == 0 {
            return Ok(packages);
        }
        bytes += count as u64;
        if bytes > OUTPUT_BYTES_MAX {
            return Err(RpmError::TooLong);
        }
        packages.extend(parse_line(&String::from_utf8_lossy(&line)));
    }
}

fn parse_line(line: &str) -> Option<Package> {
    let mut fields = line.trim_end_matches('\n').split(SEPARATOR);
    // rpm prints this for a tag that is absent.
    let mut next = || fields.next().map(|text| text.replace("(none)", ""));
    let package = Package {
        name: next()?,
        architecture: next()?,
        version: next()?,
        release: next()?,
        epoch: next()?,
        group: next()?,
        vendor: next()?,
        url: next()?,
        summary: next()?,
    };
    // Keys that signatures are checked with are listed as packages, and are none.
    (package.name != "gpg-pubkey").then_some(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_each_line_and_leaves_keys_out() {
        let answer = "bash\u{1f}x86_64\u{1f}5.2\u{1f}1.fc40\u{1f}\u{1f}Unspecified\u{1f}Fedora\u{1f}https://g\u{1f}The shell\n\
            gpg-pubkey\u{1f}(none)\u{1f}a\u{1f}b\u{1f}\u{1f}x\u{1f}(none)\u{1f}(none)\u{1f}key\n\
            kernel\u{1f}x86_64\u{1f}6.8\u{1f}1\u{1f}2\u{1f}System\u{1f}(none)\u{1f}(none)\u{1f}Linux\nhalf a li";
        let packages = parse(answer.as_bytes()).unwrap();
        let names: Vec<_> = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(names, ["bash", "kernel"]);
        assert_eq!(packages[0].summary, "The shell");
        assert_eq!(
            (packages[1].epoch.as_str(), packages[1].vendor.as_str()),
            ("2", "")
        );
    }

    fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
        let output = Command::new(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| {
            panic!("this test asks `{program}` (Debian package rpm): {error}")
        });
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    fn lists_what_a_real_database_holds() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).into_os_string();
        let spec = "Name: probe\nEpoch: 3\nVersion: 1.2\nRelease: 4\nSummary: A probe, \\\"quoted\\\"\n\
                    License: none\nBuildArch: noarch\nURL: https://probe.example\n%description\nd\n%files\n";
        std::fs::write(path("probe.spec"), spec).unwrap();
        let mut top = std::ffi::OsString::from("_topdir ");
        top.push(path("build"));
        run(
            "rpmbuild",
            &[
                "-bb".as_ref(),
                "--define".as_ref(),
                &top,
                &path("probe.spec"),
            ],
        );
        std::fs::create_dir_all(path("root/var/lib/rpm")).unwrap();
        let package = path("build/RPMS/noarch/probe-1.2-4.noarch.rpm");
        let options = ["-i", "--justdb", "--nodeps", "--dbpath", "/var/lib/rpm"];
        let mut arguments: Vec<&std::ffi::OsStr> =
            options.iter().map(std::ffi::OsStr::new).collect();
        let new_root = path("root");
        arguments.extend([std::ffi::OsStr::new("--root"), &new_root, &package]);
        run("rpm", &arguments);

        let packages = installed(&root.path().join("root")).unwrap();
        let expected = Package {
            name: "probe".to_owned(),
            architecture: "noarch".to_owned(),
            version: "1.2".to_owned(),
            release: "4".to_owned(),
            epoch: "3".to_owned(),
            group: "Unspecified".to_owned(),
            vendor: String::new(),
            url: "https://probe.example".to_owned(),
            summary: "A probe, \\\"quoted\\\"".to_owned(),
        };
        assert_eq!(packages, [expected]);
    }

    #[test]
    fn a_root_without_a_database_has_no_packages_and_needs_no_rpm() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(installed(root.path()).unwrap(), []);
    }

    #[test]
    fn an_endless_answer_is_refused() {
        let refused = parse(BufReader::new(io::repeat(b'x'))).unwrap_err();
        assert!(matches!(refused, RpmError::TooLong));
    }

    proptest! {
        #[test]
        fn any_answer_is_read(bytes in proptest::collection::vec(prop_oneof![Just(0x1f), Just(b'\n'), any::<u8>()], 0..200)) {
            parse(bytes.as_slice()).unwrap();
        }
    }
}
