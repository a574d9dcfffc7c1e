//! The built-in documents, part of the binary on both sides.
//! Never changed in place: another text is another version, so that a hash once seen stays true.

use crate::describe::Description;
use crate::document::{Document, DocumentType};
use crate::error::DocumentError;
use crate::hash::DocumentHash;
use crate::names::VersionSelector;

/// A built-in document with its versions.
#[derive(Debug, PartialEq, Eq)]
pub struct LibraryDocument {
    name: &'static str,
    document_type: DocumentType,
    default: LibraryVersion,
    others: &'static [LibraryVersion],
}

/// One version of a built-in document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibraryVersion {
    number: u32,
    content: &'static str,
}

static LIBRARY: [LibraryDocument; 3] = [
    LibraryDocument {
        name: "AWS-GatherSoftwareInventory",
        document_type: DocumentType::Policy,
        default: LibraryVersion {
            number: 1,
            content: include_str!("../library/AWS-GatherSoftwareInventory.json"),
        },
        others: &[],
    },
    LibraryDocument {
        name: "AWS-RunPatchBaseline",
        document_type: DocumentType::Command,
        default: LibraryVersion {
            number: 1,
            content: include_str!("../library/AWS-RunPatchBaseline.json"),
        },
        others: &[],
    },
    LibraryDocument {
        name: "AWS-RunShellScript",
        document_type: DocumentType::Command,
        default: LibraryVersion {
            number: 1,
            content: include_str!("../library/AWS-RunShellScript.json"),
        },
        others: &[],
    },
];

/// Every built-in document, by name.
pub fn all() -> &'static [LibraryDocument] {
    &LIBRARY
}

/// The built-in document `name`.
pub fn find(name: &str) -> Option<&'static LibraryDocument> {
    LIBRARY.iter().find(|document| document.name == name)
}

impl LibraryDocument {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is for.
    pub fn document_type(&self) -> DocumentType {
        self.document_type
    }

    /// The version that runs when none is asked for.
    pub fn default_version(&self) -> &LibraryVersion {
        &self.default
    }

    /// The newest version.
    pub fn latest_version(&self) -> &LibraryVersion {
        self.versions()
            .max_by_key(|version| version.number)
            .unwrap_or(&self.default)
    }

    /// All versions, the default first.
    pub fn versions(&self) -> impl Iterator<Item = &LibraryVersion> {
        std::iter::once(&self.default).chain(self.others)
    }

    /// The version that a request means; `None` when there is none of that number.
    pub fn version(&self, selector: VersionSelector) -> Option<&LibraryVersion> {
        match selector {
            VersionSelector::Default => Some(self.default_version()),
            VersionSelector::Latest => Some(self.latest_version()),
            VersionSelector::Number(number) => {
                self.versions().find(|version| version.number == number)
            }
        }
    }

    /// What `DescribeDocument` tells of one of its versions.
    ///
    /// # Errors
    /// As [`LibraryVersion::document`].
    pub fn describe(&self, version: &LibraryVersion) -> Result<Description, DocumentError> {
        Ok(Description {
            latest_version: self.latest_version().number,
            default_version: self.default.number,
            ..Description::of(
                self.name,
                version.number,
                self.document_type,
                version.content,
                &version.document()?,
            )
        })
    }
}

impl LibraryVersion {
    /// The number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The exact text.
    pub fn content(&self) -> &'static str {
        self.content
    }

    /// The hash of the exact text.
    pub fn hash(&self) -> DocumentHash {
        DocumentHash::of(self.content.as_bytes())
    }

    /// The document.
    ///
    /// # Errors
    /// [`DocumentError`], which this crate's tests rule out for every version in the library.
    pub fn document(&self) -> Result<Document, DocumentError> {
        Document::parse(self.content)
    }
}
