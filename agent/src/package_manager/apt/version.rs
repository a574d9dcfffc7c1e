//! What a stanza says of a version, as far as choosing goes.
//! Never compares versions by order: only whether two stanzas are of one build.

use crate::package_manager::deb822::Stanza;

/// One version of a package with the archives that offer it, by their place in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The version.
    pub version: Box<str>,
    /// Tells apart different builds that bear the same version.
    pub build: u64,
    /// The name of its source package.
    pub source: Box<str>,
    /// Indexes of its archives, ascending.
    pub archives: Vec<u16>,
    /// `amd64` or `all`, as the stanza says.
    pub architecture: Box<str>,
    /// The archive section, such as `admin` or `contrib/net`.
    pub section: Box<str>,
    /// `required` … `extra`.
    pub priority: Box<str>,
}

impl Version {
    /// Reads a version of the package `name`, as one archive offers it.
    pub(super) fn read(
        stanza: Stanza<'_>,
        version: &str,
        name: &str,
        architecture: &str,
        archive: u16,
    ) -> Self {
        let text = |field: &str| stanza.text_of(field).unwrap_or_default().into();
        Self {
            version: version.into(),
            build: build(stanza),
            source: source_of(stanza, name).into(),
            archives: vec![archive],
            architecture: architecture.into(),
            section: text("Section"),
            priority: text("Priority"),
        }
    }

    /// Takes section and priority of an archive's stanza: archives may override what a package says.
    pub(super) fn classify_as(&mut self, stanza: Stanza<'_>) {
        for (field, place) in [
            ("Section", &mut self.section),
            ("Priority", &mut self.priority),
        ] {
            if let Some(text) = stanza.text_of(field).filter(|text| **text != **place) {
                *place = text.into();
            }
        }
    }
}

/// `Source: name (version)`, where it differs from the package.
pub(super) fn source_of<'a>(stanza: Stanza<'a>, name: &'a str) -> &'a str {
    let source = stanza.text_of("Source");
    let word = source.and_then(|text| text.split_ascii_whitespace().next());
    word.unwrap_or(name)
}

/// A fingerprint of what apt compares to tell two builds of one version apart: these fields without
/// blanks or case, `<=` counting as `<`. Only equality matters, so any good hash will do (FNV-1a).
pub(super) fn build(stanza: Stanza<'_>) -> u64 {
    const FIELDS: [&str; 7] = [
        "Installed-Size",
        "Depends",
        "Pre-Depends",
        "Conflicts",
        "Breaks",
        "Replaces",
        "Multi-Arch",
    ];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for field in FIELDS {
        let value = stanza.bytes_of(field).unwrap_or_default();
        // `Multi-Arch: no` is what an absent field says.
        if value.is_empty() || (field == "Multi-Arch" && value == b"no") {
            continue;
        }
        let mut previous = b' ';
        for byte in value.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            if !(*byte == b'=' && matches!(previous, b'<' | b'>')) {
                add(byte.to_ascii_lowercase());
            }
            previous = *byte;
        }
        add(0);
    }
    hash
}
