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
        if items.iter().any(|item| item.contains('\0')) {
            return Err(ValueProblem::Nul);
        }
        if let Some(reference) = items
            .iter()
            .find_map(|item| template::store_reference(item))
        {
            return Err(ValueProblem::UnsupportedReference { reference });
        }
        let expected = ValueProblem::NotOfType { expected: kind };
        match kind {
            ParameterType::String => single(items).map(|text| Self::String(text.to_owned())),
            ParameterType::StringList => Ok(Self::StringList(items.to_vec())),
            ParameterType::Boolean => match single(items)? {
                "true" | "True" => Ok(Self::Boolean(true)),
                "false" | "False" => Ok(Self::Boolean(false)),
                _ => Err(expected),
            },
            ParameterType::Integer => single(items)?
                .parse()
                .map(Self::Integer)
                .map_err(|_| expected),
            ParameterType::StringMap => match serde_json::from_str(single(items)?) {
                Ok(map) => Ok(Self::StringMap(map)),
                Err(_) => Err(expected),
            },
            ParameterType::MapList => map_list(items).map(Self::MapList).ok_or(expected),
        }
    }

    /// Reads a default as the document writes it.
    pub(crate) fn from_node(kind: ParameterType, node: &Node) -> Result<Self, ValueProblem> {
        let expected = ValueProblem::NotOfType { expected: kind };
        let value = match (kind, node) {
            (ParameterType::Boolean, Node::Boolean(value)) => Self::Boolean(*value),
            (ParameterType::Integer, Node::Integer(value)) => Self::Integer(*value),
            // YAML authors leave the quotes of "3600" and "true" away.
            (ParameterType::String, Node::Integer(value)) => Self::String(value.to_string()),
            (ParameterType::String, Node::Boolean(value)) => Self::String(value.to_string()),
            (ParameterType::StringList, Node::List(items)) => {
                let texts = items.iter().map(|item| match item {
                    Node::Text(text) => Some(text.clone()),
                    Node::Integer(value) => Some(value.to_string()),
                    Node::Null
                    | Node::Boolean(_)
                    | Node::Decimal(_)
                    | Node::List(_)
                    | Node::Map(_) => None,
                });
                let texts: Vec<String> = texts.collect::<Option<_>>().ok_or(expected)?;
                return Self::from_supplied(kind, &texts);
            }
            (ParameterType::StringMap, Node::Map(_)) => match node.to_json() {
                Value::Object(map) => Self::StringMap(map),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => {
                    return Err(expected);
                }
            },
            (ParameterType::MapList, Node::List(_)) => {
                let text = node.to_json().to_string();
                map_list(&[text]).map(Self::MapList).ok_or(expected)?
            }
            (_, Node::Text(text)) => return Self::from_supplied(kind, std::slice::from_ref(text)),
            _ => return Err(expected),
        };
        if value.texts().iter().any(|text| text.contains('\0')) {
            return Err(ValueProblem::Nul);
        }
        Ok(value)
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
    #[error("not a {expected} ({})", expected.form())]
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
