//! Values of parameters: their types, the text each becomes inside other text, the rules they may break.
//! Never shows a supplied value: the API marks parameters as sensitive, so errors state the rule alone.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::node::Node;
use crate::parameter::ParameterType;
use crate::template;

/// The value of a parameter, of one of the API's types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ParameterValue {
    /// One text.
    String(String),
    /// Texts in order.
    StringList(Vec<String>),
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// One JSON object.
    StringMap(Map<String, Value>),
    /// JSON objects in order.
    MapList(Vec<Map<String, Value>>),
}

impl ParameterValue {
    /// The value as it stands inside other text: a text as it is, everything else as JSON.
    pub fn to_text(&self) -> String {
        match self {
            Self::String(text) => text.clone(),
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::StringList(items) => Value::from(items.as_slice()).to_string(),
            Self::StringMap(map) => Value::from(map.clone()).to_string(),
            Self::MapList(maps) => maps.iter().cloned().collect::<Value>().to_string(),
        }
    }

    /// The texts that patterns, lengths and allowed values are applied to, one by one.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            Self::StringList(items) => items.clone(),
            Self::MapList(maps) => maps
                .iter()
                .map(|map| Value::from(map.clone()).to_string())
                .collect(),
            Self::String(_) | Self::Boolean(_) | Self::Integer(_) | Self::StringMap(_) => {
                vec![self.to_text()]
            }
        }
    }

    /// Items of a list or map; `None` for a single value.
    pub(crate) fn item_count(&self) -> Option<usize> {
        match self {
            Self::StringList(items) => Some(items.len()),
            Self::StringMap(map) => Some(map.len()),
            Self::MapList(maps) => Some(maps.len()),
            Self::String(_) | Self::Boolean(_) | Self::Integer(_) => None,
        }
    }

    /// Reads what the API's `Parameters` carries: a list of texts for every type.
    pub(crate) fn from_supplied(
        kind: ParameterType,
        items: &[String],
    ) -> Result<Self, ValueProblem> {
        let value = match kind {
            ParameterType::String => single(items).map(|text| Self::String(text.to_owned()))?,
            ParameterType::StringList => Self::StringList(items.to_vec()),
            ParameterType::Boolean => Self::Boolean(match single(items)? {
                "true" | "True" => true,
                "false" | "False" => false,
                _ => return Err(ValueProblem::NotOfType { expected: kind }),
            }),
            ParameterType::Integer => Self::Integer(
                single(items)?
                    .parse()
                    .map_err(|_| ValueProblem::NotOfType { expected: kind })?,
            ),
            ParameterType::StringMap => Self::StringMap(
                serde_json::from_str(single(items)?)
                    .map_err(|_| ValueProblem::NotOfType { expected: kind })?,
            ),
            ParameterType::MapList => {
                Self::MapList(map_list(items).ok_or(ValueProblem::NotOfType { expected: kind })?)
            }
        };
        value.usable()
    }

    /// Reads a default as the document writes it.
    pub(crate) fn from_node(kind: ParameterType, node: &Node) -> Result<Self, ValueProblem> {
        let items = match (kind, node) {
            // YAML authors leave the quotes of "3600" and "true" away.
            (ParameterType::String | ParameterType::Integer, Node::Integer(value)) => {
                Some(vec![value.to_string()])
            }
            (ParameterType::String | ParameterType::Boolean, Node::Boolean(value)) => {
                Some(vec![value.to_string()])
            }
            (ParameterType::StringList, Node::List(items)) => items.iter().map(list_item).collect(),
            (ParameterType::StringMap, Node::Map(_)) | (ParameterType::MapList, Node::List(_)) => {
                Some(vec![node.to_json().to_string()])
            }
            (_, Node::Text(text)) => Some(vec![text.clone()]),
            _ => None,
        };
        match items {
            Some(items) => Self::from_supplied(kind, &items),
            None => Err(ValueProblem::NotOfType { expected: kind }),
        }
    }

    /// Refuses what no type may hold.
    fn usable(self) -> Result<Self, ValueProblem> {
        for text in self.texts() {
            // JSON writes a NUL of its strings as an escape.
            if text.contains('\0') || (self.is_json() && text.contains("\\u0000")) {
                return Err(ValueProblem::Nul);
            }
            if let Some(reference) = template::store_reference(&text) {
                return Err(ValueProblem::UnsupportedReference { reference });
            }
        }
        Ok(self)
    }

    fn is_json(&self) -> bool {
        matches!(self, Self::StringMap(_) | Self::MapList(_))
    }
}

/// An item of a list of texts; YAML authors leave the quotes of numbers away.
fn list_item(item: &Node) -> Option<String> {
    match item {
        Node::Text(text) => Some(text.clone()),
        Node::Integer(value) => Some(value.to_string()),
        Node::Null | Node::Boolean(_) | Node::Decimal(_) | Node::List(_) | Node::Map(_) => None,
    }
}

fn single(items: &[String]) -> Result<&str, ValueProblem> {
    match items {
        [item] => Ok(item),
        _ => Err(ValueProblem::NotSingle { count: items.len() }),
    }
}

/// Either one JSON array of objects, or one JSON object an item.
fn map_list(items: &[String]) -> Option<Vec<Map<String, Value>>> {
    if let [item] = items
        && let Ok(maps) = serde_json::from_str(item)
    {
        return Some(maps);
    }
    items
        .iter()
        .map(|item| serde_json::from_str(item).ok())
        .collect()
}

/// Which rule a value breaks. Reads on after `parameter NAME: `.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueProblem {
    /// None or several values for a type that has one.
    #[error("{count} values given; exactly one is allowed")]
    NotSingle {
        /// Values given.
        count: usize,
    },
    /// Not readable as the declared type.
    #[error("not readable as {expected}; give {}", expected.form())]
    NotOfType {
        /// The declared type.
        expected: ParameterType,
    },
    /// Not among `allowedValues`.
    #[error("not an allowed value; allowed: {allowed}")]
    NotAllowed {
        /// The allowed values.
        allowed: String,
    },
    /// Does not match `allowedPattern` as a whole.
    #[error("does not match the allowed pattern {pattern}")]
    PatternMismatch {
        /// The pattern as the document has it.
        pattern: String,
    },
    /// Shorter than `minChars`.
    #[error("{chars} characters; at least {limit} are required")]
    TooShort {
        /// Characters given.
        chars: usize,
        /// The bound.
        limit: usize,
    },
    /// Longer than `maxChars`.
    #[error("{chars} characters; at most {limit} are allowed")]
    TooLong {
        /// Characters given.
        chars: usize,
        /// The bound.
        limit: usize,
    },
    /// Fewer than `minItems`.
    #[error("{items} items; at least {limit} are required")]
    TooFewItems {
        /// Items given.
        items: usize,
        /// The bound.
        limit: usize,
    },
    /// More than `maxItems`.
    #[error("{items} items; at most {limit} are allowed")]
    TooManyItems {
        /// Items given.
        items: usize,
        /// The bound.
        limit: usize,
    },
    /// Holds a NUL, which neither a command line nor an environment can carry.
    #[error("holds a NUL character; remove it")]
    Nul,
    /// Refers to a parameter store, which this version does not read.
    #[error("'{{{{{reference}}}}}' is not supported in this version; supply the value itself")]
    UnsupportedReference {
        /// The text between the braces.
        reference: String,
    },
}
