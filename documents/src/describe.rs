//! What the API tells of a document: the members of `DescribeDocument` that the text determines.
//! Never names an owner or a date: those are the bridge's.

use serde::{Deserialize, Serialize};

use crate::document::{Document, DocumentType, Schema};
use crate::hash::DocumentHash;
use crate::parameter::ParameterType;
use crate::source::DocumentFormat;
use crate::step::Platform;

/// Whether a document can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DocumentStatus {
    /// It can.
    Active,
}

impl DocumentStatus {
    /// The API's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
        }
    }
}

/// One version of a document, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The document's name.
    pub name: String,
    /// This version's number, from 1.
    pub version: u32,
    /// The newest version's number.
    pub latest_version: u32,
    /// The number of the version that runs when none is asked for.
    pub default_version: u32,
    /// What it is for.
    pub document_type: DocumentType,
    /// The format of its text.
    pub format: DocumentFormat,
    /// Its schema version.
    pub schema: Schema,
    /// What the author says of it.
    pub description: Option<String>,
    /// Where it runs.
    pub platform_types: Vec<Platform>,
    /// Its parameters, in the order of the text.
    pub parameters: Vec<ParameterDescription>,
    /// The hash of its text.
    pub hash: DocumentHash,
    /// Whether it can be used.
    pub status: DocumentStatus,
}

/// A parameter, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterDescription {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ParameterType,
    /// What the author says of it.
    pub description: Option<String>,
    /// Its default as text, a list as JSON; a parameter without one is required.
    pub default_value: Option<String>,
}

impl Description {
    /// Describes `document`, whose exact text is `content`, as its only version so far.
    pub fn of(
        name: &str,
        version: u32,
        document_type: DocumentType,
        content: &str,
        document: &Document,
    ) -> Self {
        let parameters = document
            .parameters()
            .iter()
            .map(|parameter| ParameterDescription {
                name: parameter.name().to_owned(),
                kind: parameter.kind(),
                description: parameter.description().map(str::to_owned),
                default_value: parameter.default().map(|value| value.to_text()),
            });
        Self {
            name: name.to_owned(),
            version,
            latest_version: version,
            default_version: version,
            document_type,
            format: DocumentFormat::of(content),
            schema: document.schema(),
            description: document.description().map(str::to_owned),
            platform_types: document.platform_types(),
            parameters: parameters.collect(),
            hash: DocumentHash::of(content.as_bytes()),
            status: DocumentStatus::Active,
        }
    }
}
