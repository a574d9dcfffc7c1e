//! What can be wrong with a document's text, and where.
//! Never quotes more of the document than a line, and never a supplied parameter value.

use std::fmt;

use thiserror::Error;

use crate::document::Schema;
use crate::value::ValueProblem;

/// A place in a document, as `mainSteps[1].inputs.runCommand`; the root shows as `document`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct DocumentPath(String);

impl DocumentPath {
    /// The place of the member `name` of the map at this path.
    pub(crate) fn member(&self, name: &str) -> Self {
        let name = crate::limits::excerpt(name);
        if self.0.is_empty() {
            Self(name)
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    /// The place of item `index` of the list at this path.
    pub(crate) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for DocumentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "document"
        } else {
            &self.0
        })
    }
}

/// Why a text is not a document. The API's `InvalidDocumentContent`, except
/// [`DocumentError::UnsupportedSchema`], which is its `InvalidDocumentSchemaVersion`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The text is above [`crate::limits::DOCUMENT_BYTES_MAX`].
    #[error("document is {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The text is not UTF-8.
    #[error("document is not UTF-8; save it in that encoding")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// The text starts as JSON and is not JSON.
    #[error("document is not valid JSON")]
    Json(#[source] serde_json::Error),
    /// The text is not YAML, or uses what is refused in it (merge keys, many aliases, several
    /// documents).
    #[error("document is not valid YAML: line {line}, column {column}: {message}")]
    Yaml {
        /// From 1; 0 when unknown.
        line: usize,
        /// From 1; 0 when unknown.
        column: usize,
        /// What is wrong there, shortened.
        message: String,
    },
    /// This build reads JSON only.
    #[cfg(not(feature = "yaml"))]
    #[error("document does not start with '{{', and this build reads no YAML; write it in JSON")]
    YamlNotBuilt,
    /// Lists and maps deeper than [`crate::limits::DEPTH_MAX`].
    #[error("{path}: nested more than {limit} levels deep")]
    TooDeep {
        /// The first place too deep.
        path: DocumentPath,
        /// The bound.
        limit: usize,
    },
    /// A key given twice in one map.
    #[error("{path}: given twice; keep one")]
    DuplicateKey {
        /// The key's place.
        path: DocumentPath,
    },
    /// More entries than the language allows.
    #[error("{path}: {count} entries; at most {limit} are allowed")]
    TooMany {
        /// The list or map.
        path: DocumentPath,
        /// Entries given.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// A member that must be there is not.
    #[error("{path}: missing; it is required")]
    Missing {
        /// Where it should be.
        path: DocumentPath,
    },
    /// A member the language does not have in this place.
    #[error("{path}: unknown; allowed here: {allowed}")]
    UnknownMember {
        /// The member's place.
        path: DocumentPath,
        /// The members this place may have.
        allowed: String,
    },
    /// A value of another type.
    #[error("{path}: is {found}; expected {expected}")]
    WrongType {
        /// The value's place.
        path: DocumentPath,
        /// What is there.
        found: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// A schema version this crate does not read.
    #[error(
        "schemaVersion: '{found}' is not supported; use one of {}",
        Schema::ALLOWED
    )]
    UnsupportedSchema {
        /// The version given.
        found: String,
    },
    /// A value outside what the language allows there.
    #[error("{path}: '{found}' is not allowed; allowed: {allowed}")]
    NotAllowed {
        /// The value's place.
        path: DocumentPath,
        /// The value, shortened.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// A parameter's `allowedPattern` cannot be compiled.
    #[error("{path}: not a usable regular expression")]
    BadPattern {
        /// The pattern's place.
        path: DocumentPath,
        /// What the compiler says of it.
        #[source]
        source: regex_lite::Error,
    },
    /// A parameter's default breaks the parameter's own rules.
    #[error("{path}: {problem}")]
    BadDefault {
        /// The default's place.
        path: DocumentPath,
        /// The rule it breaks.
        problem: ValueProblem,
    },
    /// A reference of a kind this version does not resolve, as `{{ssm:…}}`.
    #[error(
        "{path}: '{{{{{reference}}}}}' is not supported in this version; use a parameter of the document"
    )]
    UnsupportedReference {
        /// Where it stands.
        path: DocumentPath,
        /// The text between the braces.
        reference: String,
    },
    /// A reference to a parameter that the document does not declare.
    #[error(
        "{path}: '{{{{{reference}}}}}' names no parameter of this document; declared: {declared}"
    )]
    UndeclaredReference {
        /// Where it stands.
        path: DocumentPath,
        /// The text between the braces.
        reference: String,
        /// The declared names.
        declared: String,
    },
    /// A list or map parameter where one text is needed.
    #[error("{path}: parameter '{name}' is a {found}; a single value is needed here")]
    NotScalar {
        /// Where it is referred to.
        path: DocumentPath,
        /// The parameter.
        name: String,
        /// Its type.
        found: crate::parameter::ParameterType,
    },
    /// Two members that exclude one another.
    #[error("{path}: also given at {other}; keep one")]
    Conflict {
        /// One place.
        path: DocumentPath,
        /// The other.
        other: DocumentPath,
    },
}
