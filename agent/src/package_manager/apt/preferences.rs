//! Reads apt_preferences(5) and says which pin speaks for a version or an archive.
//! Never decides between versions: that is the policy's part.

use std::path::Path;

use super::pattern::Pattern;
use super::policy::{Archive, PackageKey};
use crate::package_manager::deb822::{self, Stanza, StanzaReader};
use crate::package_manager::file::{self, Warnings};

/// The longest preferences file read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Pins taken, each for one word of a `Package` field.
pub const PINS_MAX: usize = 10_000;
/// `Pin-Priority: never`, below all others.
pub const NEVER: i16 = i16::MIN;

/// All pins, in the order in which the first that matches speaks.
#[derive(Debug, Clone, Default)]
pub struct Preferences {
    general: Vec<(Rule, i16)>,
    specific: Vec<SpecificPin>,
}

#[derive(Debug, Clone)]
struct SpecificPin {
    package: PackageMatch,
    rule: Rule,
    priority: i16,
}

/// What a word of `Package` names. Without `:architecture` that is the native one only, as apt has it.
#[derive(Debug, Clone)]
struct PackageMatch {
    of_source: bool,
    name: NameMatch,
    architecture: Option<String>,
}

#[derive(Debug, Clone)]
enum NameMatch {
    Exact(String),
    Pattern(Pattern),
}

/// What a `Pin` field names.
#[derive(Debug, Clone)]
pub enum Rule {
    /// `version 1.2*`
    Version(TextMatch),
    /// `release *`
    AnyRelease,
    /// `release a=…,n=…`: all that are given must match.
    Release(Vec<(ReleaseKey, TextMatch)>),
    /// `origin host`; an empty host is a local source.
    Origin(TextMatch),
}

/// A field of a release by which `Pin: release` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseKey {
    /// `a=`
    Archive,
    /// `n=`
    Codename,
    /// Without a key: archive or codename.
    ArchiveOrCodename,
    /// `v=`
    Version,
    /// `o=`
    Origin,
    /// `l=`
    Label,
    /// `c=`
    Component,
    /// `b=`
    Architecture,
}

/// The text itself, or as a pattern.
#[derive(Debug, Clone)]
pub struct TextMatch {
    text: String,
    pattern: Option<Pattern>,
}

impl TextMatch {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            pattern: Pattern::parse(text).ok(),
        }
    }

    fn matches(&self, candidate: &str) -> bool {
        self.text.eq_ignore_ascii_case(candidate)
            || self
                .pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(candidate))
    }
}

impl Preferences {
    /// Reads `preferences` and then `preferences.d` below `root`. A file with an error counts up
    /// to that error, where apt itself would refuse to work at all.
    pub fn read(root: &Path, warnings: &mut Warnings) -> Self {
        let directory = root.join("etc/apt/preferences.d");
        let mut paths = vec![root.join("etc/apt/preferences")];
        paths.extend(file::parts(&directory, &["", "pref"], warnings));
        let mut preferences = Self::default();
        for path in paths {
            if let Some(content) = file::read_optional(&path, FILE_BYTES_MAX, warnings)
                && let Err(problem) = preferences.add(&content)
            {
                warnings.push(&path, format_args!("the rest was ignored: {problem}"));
            }
        }
        preferences
    }

    /// Puts `APT::Default-Release` before all general pins.
    pub fn prefer_release(&mut self, release: &str) {
        self.general.insert(0, (parse_release(release), 990));
    }

    /// Whether any pin may make a lower version the candidate.
    #[must_use]
    pub fn may_downgrade(&self) -> bool {
        let general = self.general.iter().map(|(_, priority)| *priority);
        let specific = self.specific.iter().map(|pin| pin.priority);
        general.chain(specific).any(|priority| priority >= 1000)
    }

    /// The priority that a general pin gives an archive; the first that matches speaks.
    pub(super) fn of_archive(&self, archive: &Archive) -> Option<i16> {
        self.general
            .iter()
            .find(|(rule, _)| rule.matches_archive(archive))
            .map(|(_, priority)| *priority)
    }

    /// The pins that name a package, in order.
    pub(super) fn for_package<'a>(
        &'a self,
        key: PackageKey<'a>,
    ) -> impl Iterator<Item = (&'a Rule, i16)> {
        self.specific
            .iter()
            .filter(move |pin| pin.package.matches(key))
            .map(|pin| (&pin.rule, pin.priority))
    }

    fn add(&mut self, content: &[u8]) -> Result<(), String> {
        let content = deb822::without_comments(content);
        let mut stanzas = StanzaReader::new(content.as_slice());
        while let Some(stanza) = stanzas.next_stanza().map_err(|error| error.to_string())? {
            self.add_stanza(stanza)?;
        }
        Ok(())
    }

    fn add_stanza(&mut self, stanza: Stanza<'_>) -> Result<(), String> {
        let Some(package) = stanza.text_of("Package").filter(|text| !text.is_empty()) else {
            return match stanza.bytes().iter().all(u8::is_ascii_whitespace) {
                true => Ok(()),
                false => Err("a record has no Package field".to_owned()),
            };
        };
        let Some(pin) = stanza.text_of("Pin") else {
            return Ok(());
        };
        let (kind, data) = pin.split_once(char::is_whitespace).unwrap_or((pin, ""));
        let data = data.trim();
        let rule = match kind.to_ascii_lowercase().as_str() {
            "version" if package != "*" => Rule::Version(TextMatch::new(data)),
            "release" => parse_release(data),
            "origin" => Rule::Origin(TextMatch::new(data.trim_matches('"'))),
            // apt warns of a kind that it does not know, and goes on.
            _ => return Ok(()),
        };
        let priority = match stanza.text_of("Pin-Priority") {
            Some("never") if package == "*" => NEVER,
            Some(text) => text
                .parse::<i16>()
                .ok()
                .filter(|priority| *priority != 0)
                .ok_or_else(|| {
                    format!("Pin-Priority {text} is no number from -32768 to 32767 but 0")
                })?,
            None => return Err("a record has no Pin-Priority".to_owned()),
        };
        if package == "*" {
            self.general.push((rule, priority));
        } else {
            for word in package.split_ascii_whitespace() {
                self.specific.push(SpecificPin {
                    package: PackageMatch::parse(word)?,
                    rule: rule.clone(),
                    priority,
                });
            }
        }
        match self.general.len() + self.specific.len() > PINS_MAX {
            true => Err(format!("more than the {PINS_MAX} pins allowed")),
            false => Ok(()),
        }
    }
}

impl PackageMatch {
    fn parse(word: &str) -> Result<Self, String> {
        let (of_source, word) = match word.strip_prefix("src:") {
            Some(name) => (true, name),
            None => (false, word),
        };
        let (name, architecture) = match word.rsplit_once(':') {
            Some((name, architecture)) => (name, Some(architecture.to_owned())),
            None => (word, None),
        };
        let is_pattern =
            name.contains(['*', '[', '?']) || (name.len() > 1 && name.starts_with('/'));
        let name = if is_pattern {
            let refused = |error| format!("{name} is no regular expression: {error}");
            NameMatch::Pattern(Pattern::parse(name).map_err(refused)?)
        } else {
            NameMatch::Exact(name.to_owned())
        };
        Ok(Self {
            of_source,
            name,
            architecture,
        })
    }

    fn matches(&self, key: PackageKey<'_>) -> bool {
        let name = if self.of_source { key.source } else { key.name };
        let named = match &self.name {
            NameMatch::Exact(exact) => exact == name,
            NameMatch::Pattern(pattern) => pattern.matches(name),
        };
        named
            && match self.architecture.as_deref() {
                None | Some("native") => self.of_source || key.is_native,
                Some("any") => true,
                Some(wanted) => wanted == key.architecture,
            }
    }
}

impl Rule {
    fn matches_archive(&self, archive: &Archive) -> bool {
        match self {
            Self::Version(_) => false,
            Self::AnyRelease => true,
            Self::Release(fields) => {
                !fields.is_empty() && fields.iter().all(|(key, text)| key.matches(text, archive))
            }
            // dpkg's own database is no source, not even a local one.
            Self::Origin(host) => !archive.is_status && host.matches(&archive.site),
        }
    }

    /// Whether the rule speaks for a version that these archives offer.
    pub(super) fn matches<'a>(
        &self,
        version: &str,
        mut archives: impl Iterator<Item = &'a Archive>,
    ) -> bool {
        match self {
            Self::Version(text) => text.matches(version),
            Self::AnyRelease | Self::Release(_) | Self::Origin(_) => {
                archives.any(|archive| self.matches_archive(archive))
            }
        }
    }
}

impl ReleaseKey {
    fn parse(key: &str) -> Option<Self> {
        Some(match key {
            "a" | "A" => Self::Archive,
            "n" | "N" => Self::Codename,
            "v" | "V" => Self::Version,
            "o" | "O" => Self::Origin,
            "l" | "L" => Self::Label,
            "c" | "C" => Self::Component,
            "b" | "B" => Self::Architecture,
            _ => return None,
        })
    }

    fn matches(self, text: &TextMatch, archive: &Archive) -> bool {
        let release = &archive.release;
        match self {
            Self::Archive => text.matches(&release.suite),
            Self::Codename => text.matches(&release.codename),
            Self::ArchiveOrCodename => {
                text.matches(&release.suite) || text.matches(&release.codename)
            }
            Self::Version => text.matches(&release.version),
            Self::Origin => text.matches(&release.origin),
            Self::Label => text.matches(&release.label),
            Self::Component => text.matches(&archive.component),
            Self::Architecture => text.matches(&archive.architecture),
        }
    }
}

fn parse_release(data: &str) -> Rule {
    if data == "*" {
        return Rule::AnyRelease;
    }
    if !data.contains('=') {
        let key = match data.starts_with(|first: char| first.is_ascii_digit()) {
            true => ReleaseKey::Version,
            false => ReleaseKey::ArchiveOrCodename,
        };
        return Rule::Release(vec![(key, TextMatch::new(data))]);
    }
    let fields = data.split(',').filter_map(|field| {
        let (key, value) = field.trim().split_once('=')?;
        Some((ReleaseKey::parse(key)?, TextMatch::new(value)))
    });
    Rule::Release(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_with_an_error_ends_its_file_with_the_reason() {
        for (text, reason) in [
            ("Package: a\nPin: release a=b\n", "no Pin-Priority"),
            (
                "Package: a\nPin: release a=b\nPin-Priority: 0\n",
                "Pin-Priority 0",
            ),
            (
                "Package: a\nPin: release a=b\nPin-Priority: 40000\n",
                "40000",
            ),
            (
                "Package: a\nPin: release a=b\nPin-Priority: never\n",
                "never",
            ),
            ("Pin: release a=b\n", "no Package"),
        ] {
            let refused = Preferences::default().add(text.as_bytes()).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(Package: |Pin: |Pin-Priority: |release |origin |version |[*/a=,:1\n\\[-]){0,40}") {
            let _ = Preferences::default().add(text.as_bytes());
        }
    }
}
