//! Text to tree: which of the two formats a text is, and reading it under bounds.
//! Never expands a merge key, follows an include or guesses a type a document did not write.

use serde::{Deserialize, Serialize};

use crate::error::{DocumentError, DocumentPath};
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::node::Node;

/// The format of a document's text, in the API's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DocumentFormat {
    /// JSON.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl DocumentFormat {
    /// The format a text is in: JSON when its first visible character is a brace, else YAML.
    pub fn of(text: &str) -> Self {
        if text.trim_start().starts_with('{') {
            Self::Json
        } else {
            Self::Yaml
        }
    }

    /// The API's name of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        }
    }
}

/// Reads a document's bytes into a checked tree.
pub(crate) fn read(content: &[u8]) -> Result<Node, DocumentError> {
    if content.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge {
            bytes: content.len(),
            limit: DOCUMENT_BYTES_MAX,
        });
    }
    let text = std::str::from_utf8(content).map_err(DocumentError::NotUtf8)?;
    let node: Node = match DocumentFormat::of(text) {
        DocumentFormat::Json => serde_json::from_str(text).map_err(DocumentError::Json)?,
        DocumentFormat::Yaml => read_yaml(text)?,
    };
    node.check(&DocumentPath::default())?;
    Ok(node)
}

/// A document's text in JSON, from either format: for a reader that was built without YAML.
/// It reads as the same [`crate::Document`]; its hash is another text's.
///
/// # Errors
/// As [`crate::Document::parse`] for a text that is no tree of values; whether it is a document is
/// not looked at.
pub fn to_json(content: impl AsRef<[u8]>) -> Result<String, DocumentError> {
    Ok(read(content.as_ref())?.to_json().to_string())
}

#[cfg(feature = "yaml")]
fn read_yaml(text: &str) -> Result<Node, DocumentError> {
    crate::yaml::read(text)
}

#[cfg(not(feature = "yaml"))]
fn read_yaml(_text: &str) -> Result<Node, DocumentError> {
    Err(DocumentError::YamlNotBuilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let error = read(text.as_bytes()).unwrap_err();
        let source = std::error::Error::source(&error)
            .map(|source| format!(": {source}"))
            .unwrap_or_default();
        format!("{error}{source}")
    }

    #[test]
    fn a_key_given_twice_is_refused_with_its_place_in_both_formats() {
        assert_eq!(
            refusal(r#"{"a": {"b": 1, "c": [], "b": 2}}"#),
            "a.b: given twice; keep one"
        );
        assert_eq!(
            refusal("a:\n  b: 1\n  b: 2\n"),
            "a.b: given twice; keep one"
        );
    }

    #[test]
    fn yaml_scalars_that_only_look_like_numbers_or_booleans_stay_text() {
        let node = read(b"mode: 0755\nid: 1_000\nflag: yes\ncount: 12\n").unwrap();
        assert_eq!(
            node.to_json().to_string(),
            r#"{"mode":"0755","id":"1_000","flag":"yes","count":12}"#
        );
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_expands() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let below = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(refusal(&text).starts_with("document is not valid YAML: "));
    }

    #[test]
    fn merge_keys_and_second_documents_are_refused() {
        assert!(refusal("a: &a {x: 1}\nb:\n  <<: *a\n").starts_with("document is not valid YAML"));
        assert!(refusal("a: 1\n---\nb: 1\n").starts_with("document is not valid YAML"));
        assert_eq!(
            refusal("a: 1\nb: \"x"),
            "document is not valid YAML: line 2, column 4: unclosed quote"
        );
    }

    #[test]
    fn depth_and_size_are_bounded_in_both_formats() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(40), "]".repeat(40));
        assert!(refusal(&deep).ends_with("nested more than 24 levels deep"));
        let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
        assert!(refusal(&deep).ends_with("nested more than 24 levels deep"));
        let deep = format!("a: {}{}", "[".repeat(4_000), "]".repeat(4_000));
        assert!(refusal(&deep).starts_with("document is not valid YAML"));
        let long = format!("a: {}", "x".repeat(DOCUMENT_BYTES_MAX));
        assert_eq!(
            refusal(&long),
            "document is 65539 bytes; at most 65536 are allowed"
        );
    }
}
