//! One streaming pass over dpkg's database and apt's lists: each installed package with what is offered for it.
//! Never keeps a stanza of what is not installed, so its memory follows the installed packages alone.

use std::cmp::Ordering;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest;

use super::conf::Conf;
use super::list::{self, Found};
use super::policy::{self, Archive, PackageKey};
use super::preferences::Preferences;
use super::release::{Index, Release};
use super::sources::{self, Source};
use super::version::{self, Version};
use crate::package_manager::deb822::{Stanza, StanzaReader};
use crate::package_manager::debian_version;
use crate::package_manager::dpkg::{self, DatabaseError, Status};
use crate::package_manager::file::{self, Warnings};

/// Package lists read at most; three architectures of Debian with all suites have about 60.
const ARCHIVES_MAX: usize = 4096;
/// Plain bytes read of one list; Debian's main has 50 MB.
const LIST_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Versions kept of one package.
const VERSIONS_MAX: usize = 256;
/// The place of dpkg's own database among the archives.
const STATUS_ARCHIVE: u16 = 0;

/// An installed package with every version that may take its place.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: Box<str>,
    /// Its architecture, `all` being the native one, so that it is also that of its successors.
    pub architecture: Box<str>,
    /// What is wanted of it and how far it is installed.
    pub status: Status,
    /// The installed version first, then others in the order found.
    pub(super) versions: Vec<Version>,
}

impl Package {
    /// The version on the disk.
    #[must_use]
    pub fn installed(&self) -> Option<&Version> {
        self.versions.first()
    }
}

/// Which offers of packages that are *not* installed to show to the visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// None: the cheapest.
    Ignore,
    /// Those of security archives.
    Security,
    /// All.
    All,
}

/// A version offered for a package that is not installed.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The package.
    pub key: PackageKey<'a>,
    /// The version offered.
    pub version: &'a str,
    /// `main`'s or a security archive's.
    pub security: bool,
    /// The archive section.
    pub section: &'a str,
    /// `required` … `extra`.
    pub priority: &'a str,
    /// What policy gives it; below 1 apt would never install it.
    pub policy_priority: i16,
}

/// Who wants to see which offers of packages that are not installed.
struct Visitor<'a> {
    absent: Absent,
    visit: &'a mut dyn FnMut(&Offer<'_>),
}

/// Everything one pass found.
#[derive(Debug)]
pub struct Survey {
    /// Installed packages by name, then architecture.
    pub packages: Vec<Package>,
    /// dpkg's database, then each list read.
    pub archives: Vec<Archive>,
    /// The architecture of dpkg itself.
    pub native: String,
    /// What was passed over.
    pub warnings: Warnings,
    pub(super) preferences: Preferences,
    may_downgrade: bool,
}

/// Reads what is installed below `root` and what apt would offer for it.
///
/// Offers for packages that are not installed are shown to `visit`, as `absent` wants them.
///
/// # Errors
/// [`DatabaseError`] where the installed packages cannot be known. Lists that are missing, damaged or
/// cut short are warnings: what could be read of them counts.
pub fn survey(
    root: &Path,
    absent: Absent,
    visit: &mut dyn FnMut(&Offer<'_>),
) -> Result<Survey, DatabaseError> {
    let mut warnings = Warnings::default();
    let conf = Conf::read(root, &mut warnings);
    let mut packages = read_installed(root, &mut warnings)?;
    let native = native_architecture(root, &conf, &packages);
    for package in &mut packages {
        if matches!(&*package.architecture, "all" | "") {
            package.architecture = native.as_str().into();
        }
    }
    packages.sort_unstable_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));

    let mut preferences = Preferences::read(root, &mut warnings);
    if let Some(release) = &conf.default_release {
        preferences.prefer_release(release);
    }
    let status = Archive::status(&preferences);
    let may_downgrade = preferences.may_downgrade();
    let mut survey = Survey {
        packages,
        archives: vec![status],
        native,
        warnings,
        preferences,
        may_downgrade,
    };
    let architectures = architectures(root, &conf, &survey.native);
    let mut seen: Vec<String> = Vec::new();
    let mut visitor = Visitor { absent, visit };
    for source in sources::read(root, &survey.native, &mut survey.warnings) {
        survey.read_source(root, &source, &architectures, &mut seen, &mut visitor);
    }
    Ok(survey)
}

fn read_installed(root: &Path, warnings: &mut Warnings) -> Result<Vec<Package>, DatabaseError> {
    let mut packages = Vec::new();
    dpkg::read(root, warnings, &mut |record| {
        if !record.status.state.is_present() || record.version.is_empty() {
            return;
        }
        packages.push(Package {
            name: record.name.into(),
            architecture: record.architecture.into(),
            status: record.status,
            versions: vec![Version::read(
                record.stanza,
                record.version,
                record.name,
                record.architecture,
                STATUS_ARCHIVE,
            )],
        });
    })?;
    Ok(packages)
}

/// dpkg's package is of dpkg's architecture; an empty root has the agent's own.
fn native_architecture(root: &Path, conf: &Conf, packages: &[Package]) -> String {
    conf.architecture.clone().unwrap_or_else(|| {
        let dpkg = packages.iter().find(|package| &*package.name == "dpkg");
        let recorded = dpkg.map(|package| package.architecture.to_string());
        recorded
            .or_else(|| file::first_line(&root.join("var/lib/dpkg/arch")))
            .unwrap_or_else(|| debian_name(std::env::consts::ARCH).to_owned())
    })
}

/// Debian's name of a processor family as Rust names it.
fn debian_name(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
}

/// The native architecture first, then those that were added with `dpkg --add-architecture`.
fn architectures(root: &Path, conf: &Conf, native: &str) -> Vec<String> {
    let mut all = vec![native.to_owned()];
    let mut add = |name: &str| {
        let name = name.trim();
        if !name.is_empty() && !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    };
    if conf.architectures.is_empty() {
        let content = file::read(&root.join("var/lib/dpkg/arch"), 64 * 1024).unwrap_or_default();
        String::from_utf8_lossy(&content).lines().for_each(&mut add);
    } else {
        conf.architectures.iter().for_each(|name| add(name));
    }
    all
}

impl Survey {
    /// Reads all lists of one source; `seen` holds those read before, for sources named twice.
    fn read_source(
        &mut self,
        root: &Path,
        source: &Source,
        architectures: &[String],
        seen: &mut Vec<String>,
        visitor: &mut Visitor<'_>,
    ) {
        let lists = root.join("var/lib/apt/lists");
        let (mut release, signed) = self.read_release(&lists, source);
        let promises = std::mem::take(&mut release.indexes);
        let trusted = source.trusted.unwrap_or(signed) && !source.is_local();
        let mut known = false;
        for (component, architecture, relative) in indexes(source, &release, architectures) {
            let name = source.list_name(&relative);
            if seen.contains(&name) {
                known = true;
                continue;
            }
            let Some(path) = self.find_list(&lists, &name) else {
                continue;
            };
            known = true;
            seen.push(name);
            let index = u16::try_from(self.archives.len()).unwrap_or(u16::MAX);
            if usize::from(index) >= ARCHIVES_MAX {
                let problem = format!("ignored: above the {ARCHIVES_MAX} lists allowed");
                return self.warnings.push(&path, problem);
            }
            let mut archive = Archive {
                release: release.clone(),
                site: source.site(),
                component,
                architecture,
                trusted,
                is_status: false,
                priority: 0,
            };
            archive.set_priority(&self.preferences);
            self.archives.push(archive);
            let promise = promises.iter().find(|promise| promise.path == relative);
            self.read_list(&path, index, promise, visitor);
        }
        if !known {
            let list = lists.join(source.list_name("Release"));
            let problem = "its package list was never fetched; `apt-get update` would, when online";
            self.warnings.push(&list, problem);
        }
    }

    fn find_list(&mut self, lists: &Path, name: &str) -> Option<PathBuf> {
        match list::find(lists, name) {
            Found::Readable(path) => Some(path),
            Found::UnknownCompression(path) => {
                let problem = "ignored: only plain, lz4, zst, gz and xz are read";
                self.warnings.push(&path, problem);
                None
            }
            Found::Absent => None,
        }
    }

    /// The archive's word about itself, and whether apt keeps a signature of it.
    fn read_release(&mut self, lists: &Path, source: &Source) -> (Release, bool) {
        let inline = lists.join(source.list_name("InRelease"));
        let plain = lists.join(source.list_name("Release"));
        let signature = lists.join(source.list_name("Release.gpg"));
        let signed = inline.is_file() || signature.is_file();
        for path in [inline, plain] {
            match Release::read(&path) {
                Ok(release) => return (release, signed),
                Err(error) if file::is_absent(&error) => {}
                Err(error) => self.warnings.push(&path, format_args!("ignored: {error}")),
            }
        }
        let unknown = Release {
            separate_all: true,
            ..Release::default()
        };
        (unknown, signed)
    }

    fn read_list(
        &mut self,
        path: &Path,
        index: u16,
        promise: Option<&Index>,
        visitor: &mut Visitor<'_>,
    ) {
        let plain = match list::open(path) {
            Ok(plain) => plain,
            Err(error) => return self.warnings.push(path, format_args!("ignored: {error}")),
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut stanzas = StanzaReader::new(Hashing {
            plain,
            hash: &mut hash,
        });
        loop {
            let mut wants = |head: Stanza<'_>| self.wants(head, index, visitor.absent);
            match stanzas.next_wanted(&mut wants) {
                Ok(Some(stanza)) => self.take(stanza, index, visitor),
                Ok(None) => break,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                    let cause = cause.unwrap_or_default();
                    let problem = format!("damaged, what came before counts: {error}{cause}");
                    return self.warnings.push(path, problem);
                }
            }
            if stanzas.read_bytes() > LIST_BYTES_MAX {
                let problem = format!("only the first {LIST_BYTES_MAX} bytes were read");
                return self.warnings.push(path, problem);
            }
        }
        let bytes = stanzas.read_bytes();
        let Some(promise) = promise else {
            return;
        };
        if bytes != promise.bytes {
            let promised = promise.bytes;
            let problem = format!("has {bytes} bytes where its Release file promises {promised}");
            self.warnings.push(path, problem);
        } else if hash.finish().as_ref() != promise.sha256 {
            let problem = "its SHA-256 is not the one its Release file promises; it may be damaged";
            self.warnings.push(path, problem);
        }
    }

    /// Whether the stanza that begins so concerns anybody; also where its beginning does not tell.
    fn wants(&self, head: Stanza<'_>, index: u16, absent: Absent) -> bool {
        let name = head.text_of("Package");
        name.is_none_or(|name| self.first_of(name).1 || self.shows(index, absent))
    }

    /// Where packages of this name stand or would stand, and whether there are any.
    fn first_of(&self, name: &str) -> (usize, bool) {
        let first = self
            .packages
            .partition_point(|package| &*package.name < name);
        let found = self.packages.get(first);
        (first, found.is_some_and(|package| &*package.name == name))
    }

    /// Whether this archive's offers for what is not installed are shown.
    fn shows(&self, index: u16, absent: Absent) -> bool {
        match absent {
            Absent::Ignore => false,
            Absent::Security => self.archive(index).is_some_and(Archive::is_security),
            Absent::All => true,
        }
    }

    fn take(&mut self, stanza: Stanza<'_>, index: u16, visitor: &mut Visitor<'_>) {
        let Some(name) = stanza.text_of("Package") else {
            return;
        };
        let (first, is_known) = self.first_of(name);
        let is_shown = self.shows(index, visitor.absent);
        if !is_known && !is_shown {
            return;
        }
        let Some(version) = stanza.text_of("Version") else {
            return;
        };
        let written = stanza.text_of("Architecture").unwrap_or_default();
        let architecture = match written {
            "all" | "" => self.native.as_str(),
            other => other,
        };
        let same_name = self.packages.iter().enumerate().skip(first);
        let installed = same_name
            .take_while(|(_, package)| &*package.name == name)
            .find(|(_, package)| &*package.architecture == architecture)
            .map(|(at, _)| at);
        match installed {
            Some(at) => self.add_version(at, stanza, version, written, index),
            None if is_shown => self.show(stanza, name, version, architecture, index, visitor),
            None => {}
        }
    }

    pub(super) fn archive(&self, index: u16) -> Option<&Archive> {
        self.archives.get(usize::from(index))
    }

    fn add_version(
        &mut self,
        at: usize,
        stanza: Stanza<'_>,
        version: &str,
        architecture: &str,
        index: u16,
    ) {
        let Some(package) = self.packages.get_mut(at) else {
            return;
        };
        let Some(installed) = package.versions.first() else {
            return;
        };
        let order = debian_version::compare(version, &installed.version);
        if order == Ordering::Less && !self.may_downgrade {
            return;
        }
        let build = version::build(stanza);
        let same = |known: &&mut Version| known.build == build && *known.version == *version;
        if let Some(known) = package.versions.iter_mut().find(same) {
            if known.archives == [STATUS_ARCHIVE] {
                known.classify_as(stanza);
            }
            if !known.archives.contains(&index) {
                known.archives.push(index);
            }
        } else if package.versions.len() < VERSIONS_MAX {
            let version = Version::read(stanza, version, &package.name, architecture, index);
            package.versions.push(version);
        } else {
            let problem = format!("more than the {VERSIONS_MAX} versions allowed are offered");
            self.warnings.push(Path::new(&*package.name), problem);
        }
    }

    fn show(
        &self,
        stanza: Stanza<'_>,
        name: &str,
        version: &str,
        architecture: &str,
        index: u16,
        visitor: &mut Visitor<'_>,
    ) {
        let key = PackageKey {
            name,
            source: version::source_of(stanza, name),
            architecture,
            is_native: architecture == self.native,
        };
        let archives = [index];
        (visitor.visit)(&Offer {
            key,
            version,
            security: self.archive(index).is_some_and(Archive::is_security),
            section: stanza.text_of("Section").unwrap_or_default(),
            priority: stanza.text_of("Priority").unwrap_or_default(),
            policy_priority: policy::priority_of(
                version,
                &archives,
                &self.archives,
                key,
                &self.preferences,
            ),
        });
    }
}

/// Passes a list through while its hash is taken.
struct Hashing<'a> {
    plain: Box<dyn Read>,
    hash: &'a mut digest::Context,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The lists a source may have: component, architecture, and path beside the Release file.
fn indexes(
    source: &Source,
    release: &Release,
    architectures: &[String],
) -> Vec<(String, String, String)> {
    if source.is_flat() {
        let native = architectures.first().cloned().unwrap_or_default();
        return vec![(String::new(), native, "Packages".to_owned())];
    }
    let mut wanted = source.architectures.apply(architectures);
    if release.separate_all {
        wanted.push("all".to_owned());
    }
    let mut indexes = Vec::new();
    for component in &source.components {
        for architecture in &wanted {
            let relative = format!("{component}/binary-{architecture}/Packages");
            indexes.push((component.clone(), architecture.clone(), relative));
        }
    }
    indexes
}
