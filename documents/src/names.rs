//! Names of documents and of their versions, as the API writes them.
//! Never looks anything up: whether the named thing exists is the library's or the bridge's answer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::NAME_BYTES_MAX;

/// A document's name: 3 to 128 of `a-z A-Z 0-9 _ - .` (the service model's `DocumentName`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocumentName(String);

impl DocumentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not a document name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "document name has {found} bytes or a character outside a-z A-Z 0-9 _ - .; 3 to 128 of these are allowed"
)]
pub struct InvalidDocumentName {
    /// Bytes given.
    pub found: usize,
}

impl FromStr for DocumentName {
    type Err = InvalidDocumentName;

    fn from_str(text: &str) -> Result<Self, InvalidDocumentName> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        if (3..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidDocumentName { found: text.len() })
        }
    }
}

impl TryFrom<String> for DocumentName {
    type Error = InvalidDocumentName;

    fn try_from(text: String) -> Result<Self, InvalidDocumentName> {
        text.parse()
    }
}

impl From<DocumentName> for String {
    fn from(name: DocumentName) -> Self {
        name.0
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which version of a document a request means; absent means [`VersionSelector::Default`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VersionSelector {
    /// `$DEFAULT`.
    #[default]
    Default,
    /// `$LATEST`.
    Latest,
    /// A version's number, from 1.
    Number(u32),
}

/// A text that selects no version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("document version '{found}' is not $DEFAULT, $LATEST or a number from 1")]
pub struct InvalidVersion {
    /// The text given, shortened.
    pub found: String,
}

impl FromStr for VersionSelector {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        match text {
            "$DEFAULT" => Ok(Self::Default),
            "$LATEST" => Ok(Self::Latest),
            digits if digits.starts_with(|c: char| ('1'..='9').contains(&c)) => digits
                .parse()
                .map(Self::Number)
                .map_err(|_| Self::invalid(text)),
            _ => Err(Self::invalid(text)),
        }
    }
}

impl VersionSelector {
    fn invalid(text: &str) -> InvalidVersion {
        InvalidVersion {
            found: crate::limits::excerpt(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_service_model() {
        assert!("AWS-RunShellScript".parse::<DocumentName>().is_ok());
        assert!("a.b".parse::<DocumentName>().is_ok());
        for bad in ["", "ab", "a b c", "a/b", "äöü", &"a".repeat(129)] {
            assert!(bad.parse::<DocumentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn version_selectors_follow_the_service_model() {
        assert_eq!("$LATEST".parse(), Ok(VersionSelector::Latest));
        assert_eq!("$DEFAULT".parse(), Ok(VersionSelector::Default));
        assert_eq!("12".parse(), Ok(VersionSelector::Number(12)));
        for bad in ["", "0", "01", "-1", "1.0", "$latest", "99999999999", "1x"] {
            assert!(bad.parse::<VersionSelector>().is_err(), "{bad}");
        }
    }
}
