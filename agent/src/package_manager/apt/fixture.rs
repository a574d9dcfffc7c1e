//! Builds Debian roots for tests, and asks the real apt about them.
//! Never touches the machine's own configuration: apt is given one that names the built root alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use ring::digest;

/// A root of architecture amd64 with i386 added, and nothing in it yet.
pub(crate) struct Root {
    directory: tempfile::TempDir,
}

/// What an archive says of itself, and what it offers.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) uri: &'static str,
    pub(crate) options: &'static str,
    pub(crate) suite: &'static str,
    /// Further lines of the Release file.
    pub(crate) release: String,
    pub(crate) signed: bool,
    /// `name architecture version` and further lines of the stanza.
    pub(crate) offers: Vec<(String, String)>,
}

impl Repository {
    pub(crate) fn main() -> Self {
        Self {
            uri: "http://deb.example/debian",
            options: "",
            suite: "stable",
            release:
                "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: bookworm\nVersion: 12.1\n"
                    .to_owned(),
            signed: true,
            offers: Vec::new(),
        }
    }

    pub(crate) fn security() -> Self {
        Self {
            uri: "http://deb.example/debian-security",
            suite: "stable-security",
            release: "Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\n\
                      Codename: bookworm-security\nVersion: 12\n"
                .to_owned(),
            ..Self::main()
        }
    }

    pub(crate) fn backports(extra: &str) -> Self {
        Self {
            suite: "stable-backports",
            release: format!(
                "Origin: Debian\nLabel: Backports\nSuite: stable-backports\nCodename: bookworm-backports\n{extra}"
            ),
            ..Self::main()
        }
    }

    /// Offers packages, each as `name architecture version`.
    pub(crate) fn offering(mut self, offers: &[&str]) -> Self {
        self.offers.extend(
            offers
                .iter()
                .map(|&offer| (offer.to_owned(), String::new())),
        );
        self
    }

    /// Offers one package with further lines in its stanza.
    pub(crate) fn offering_with(mut self, offer: &str, lines: &str) -> Self {
        self.offers.push((offer.to_owned(), lines.to_owned()));
        self
    }

    fn list_base(&self) -> String {
        let (_, rest) = self.uri.split_once(':').unwrap();
        let rest = rest.trim_start_matches("//").replace('/', "_");
        format!("{rest}_dists_{}_", self.suite)
    }

    /// The name of its list for amd64 in apt's directory.
    pub(crate) fn list_name(&self) -> String {
        format!("{}main_binary-amd64_Packages", self.list_base())
    }

    fn list(&self, architecture: &str) -> String {
        let mut list = String::new();
        for (offer, lines) in &self.offers {
            let words: Vec<_> = offer.split(' ').collect();
            if words[1] == architecture || words[1] == "all" {
                list += &stanza(words[0], words[1], words[2], lines);
            }
        }
        list
    }
}

fn stanza(name: &str, architecture: &str, version: &str, lines: &str) -> String {
    let defaults = [("Section", "libs"), ("Priority", "optional")];
    let mut text =
        format!("Package: {name}\nArchitecture: {architecture}\nVersion: {version}\n{lines}");
    for (field, value) in defaults {
        if !lines.contains(&format!("{field}:")) {
            writeln!(text, "{field}: {value}").unwrap();
        }
    }
    text + "Maintainer: M <m@example.org>\nDescription: d\nFilename: f\nSize: 1\n\n"
}

impl Root {
    /// A root with these packages installed, each as `name architecture version`.
    pub(crate) fn installed(packages: &[&str]) -> Self {
        let root = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in [
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log",
        ] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        root.write("var/lib/dpkg/arch", "amd64\ni386\n");
        root.write("var/lib/dpkg/status", "");
        root.write("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        for package in packages {
            root.add(package, "install ok installed", "");
        }
        root
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn append(&self, path: &str, content: &str) {
        let known = fs::read_to_string(self.path().join(path)).unwrap_or_default();
        self.write(path, &(known + content));
    }

    /// Records a package with this status and further lines.
    pub(crate) fn add(&self, package: &str, status: &str, lines: &str) {
        let words: Vec<_> = package.split(' ').collect();
        let status = format!("Status: {status}\n{lines}");
        let text = stanza(words[0], words[1], words[2], &status);
        let text = text.replace("Filename: f\nSize: 1\n", "");
        self.append("var/lib/dpkg/status", &text);
    }

    /// Configures a repository and puts its fetched files in place.
    pub(crate) fn with(self, repository: &Repository) -> Self {
        let Repository {
            uri,
            options,
            suite,
            ..
        } = repository;
        self.append(
            "etc/apt/sources.list",
            &format!("deb {options} {uri} {suite} main\n"),
        );
        let base = repository.list_base();
        let mut release =
            repository.release.clone() + "Architectures: amd64 i386\nComponents: main\nSHA256:\n";
        for architecture in ["amd64", "i386"] {
            let list = repository.list(architecture);
            let relative = format!("main/binary-{architecture}/Packages");
            let hash = hex::encode(digest::digest(&digest::SHA256, list.as_bytes()));
            writeln!(release, " {hash} {} {relative}", list.len()).unwrap();
            if !list.is_empty() {
                let name = relative.replace('/', "_");
                self.write(&format!("var/lib/apt/lists/{base}{name}"), &list);
            }
        }
        let name = if repository.signed {
            "InRelease"
        } else {
            "Release"
        };
        if repository.signed {
            release = format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{release}\
                 -----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"
            );
        }
        self.write(&format!("var/lib/apt/lists/{base}{name}"), &release);
        self
    }

    pub(crate) fn preferences(self, text: &str) -> Self {
        self.append("etc/apt/preferences", text);
        self
    }

    /// Runs one of apt's tools, or a script that uses its library, on this root.
    pub(crate) fn ask(&self, program: &str, arguments: &[&str], package: &str) -> Output {
        let root = self.path().display();
        let conf = format!(
            "Dir \"{root}\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; \"i386\"; }};\n\
             Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\nDebug::NoLocking \"1\";\n"
        );
        self.write("oracle.conf", &conf);
        ask(
            program,
            arguments,
            package,
            Some(&self.path().join("oracle.conf")),
        )
    }
}

/// Runs a tool with the machine's own configuration, or with another.
pub(crate) fn ask(program: &str, arguments: &[&str], package: &str, conf: Option<&Path>) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    if let Some(conf) = conf {
        command.env("APT_CONFIG", conf);
    }
    let output = command.output();
    output.unwrap_or_else(|error| {
        panic!("this test asks `{program}` (Debian package {package}): {error}")
    })
}

/// The lines of `apt list --upgradable` as `name architecture installed candidate`, sorted.
pub(crate) fn upgradable(output: &Output) -> Vec<String> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let (package, rest) = line.split_once('/')?;
            let mut words = rest.split(' ').skip(1);
            let (candidate, architecture) = (words.next()?, words.next()?);
            let installed = rest.split("from: ").nth(1)?.trim_end_matches(']');
            Some(format!("{package} {architecture} {installed} {candidate}"))
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// What a random root is made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    preferences: String,
    offers: [Vec<String>; 3],
    automatic: &'static str,
    held: bool,
}

impl Parts {
    pub(crate) fn root(&self) -> Root {
        let repositories = [
            Repository::main(),
            Repository::security(),
            Repository::backports(self.automatic),
        ];
        let mut root = Root::installed(&["c amd64 1.9"]).preferences(&self.preferences);
        for (repository, offers) in repositories.into_iter().zip(&self.offers) {
            let offers: Vec<_> = offers.iter().map(String::as_str).collect();
            root = root.with(&repository.offering(&offers));
        }
        let want = if self.held { "hold" } else { "install" };
        let same = "Multi-Arch: same\n";
        root.add("a amd64 1.0", &format!("{want} ok installed"), same);
        root.add("a i386 1.0", "install ok installed", same);
        root.add("b i386 1.0-1", "install ok installed", "");
        root
    }
}

/// Random offers of three archives for packages of two architectures, under random pins.
pub(crate) fn any_parts() -> impl Strategy<Value = Parts> {
    let automatic = prop_oneof![
        Just(""),
        Just("NotAutomatic: yes\n"),
        Just("NotAutomatic: yes\nButAutomaticUpgrades: yes\n")
    ];
    let offers = [any_offers(), any_offers(), any_offers()];
    (any_preferences(), offers, automatic, any::<bool>()).prop_map(
        |(preferences, offers, automatic, held)| Parts {
            preferences,
            offers,
            automatic,
            held,
        },
    )
}

fn any_preferences() -> impl Strategy<Value = String> {
    let package = prop_oneof![
        Just("*"),
        Just("a"),
        Just("b:any"),
        Just("[ab]"),
        Just("/c/"),
        Just("a:i386 c")
    ];
    let pin = prop_oneof![
        Just("release a=stable"),
        Just("release n=bookworm*"),
        Just("release l=Backports,o=Debian"),
        Just("release v=12*"),
        Just("release c=main"),
        Just("origin deb.example"),
        Just("release a=now"),
        Just("release stable-backports"),
    ];
    let priority = prop_oneof![
        Just(-1),
        Just(50),
        Just(100),
        Just(500),
        Just(990),
        Just(1001),
        Just(1)
    ];
    let record = (package, pin, priority).prop_map(|(package, pin, priority)| {
        format!("Package: {package}\nPin: {pin}\nPin-Priority: {priority}\n\n")
    });
    proptest::collection::vec(record, 0..4).prop_map(|records| records.concat())
}

fn any_offers() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    let architecture = prop_oneof![Just("amd64"), Just("i386")];
    let version = prop_oneof![
        Just("0.9"),
        Just("1.0"),
        Just("1.0-1"),
        Just("1.9"),
        Just("1.10"),
        Just("1:0.1")
    ];
    let offer = (name, architecture, version).prop_map(|(n, a, v)| format!("{n} {a} {v}"));
    proptest::collection::vec(offer, 0..5)
}
