//! Brings a document's declared parameters and a caller's supplied values together.
//! Never lets an unknown name, a missing value or a broken rule reach a plan.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use crate::document::Document;
use crate::limits::{VALUES_BYTES_MAX, excerpt};
use crate::value::{ParameterValue, ValueProblem};

/// Values by parameter name, in the shape of the API's `Parameters`: a list of texts each.
pub type Supplied = BTreeMap<String, Vec<String>>;

/// A value for every parameter of one document.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundParameters {
    values: BTreeMap<String, ParameterValue>,
}

impl BoundParameters {
    /// The value of the parameter `name`.
    pub fn value(&self, name: &str) -> Option<&ParameterValue> {
        self.values.get(name)
    }
}

/// Why supplied values do not fit a document: the message of the API's `InvalidParameters`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The document declares no such parameter.
    #[error("parameter {name}: not a parameter of this document; it has: {declared}")]
    Unknown {
        /// The name given, shortened.
        name: String,
        /// The declared names.
        declared: String,
    },
    /// No value is supplied, and there is no default.
    #[error("parameter {name}: required, and not supplied")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// The value breaks the parameter's rules.
    #[error("parameter {name}: {problem}")]
    Invalid {
        /// The parameter.
        name: String,
        /// The rule.
        problem: ValueProblem,
    },
    /// All values together are above [`VALUES_BYTES_MAX`].
    #[error("parameters: {bytes} bytes together; at most {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
}

impl Document {
    /// Fits `supplied` to the declared parameters; what is not supplied takes its default.
    ///
    /// # Errors
    /// [`BindError`]: size first, then unknown names, then the declared parameters in their order.
    pub fn bind(&self, supplied: &Supplied) -> Result<BoundParameters, BindError> {
        let bytes = supplied
            .iter()
            .map(supplied_bytes)
            .fold(0, usize::saturating_add);
        if bytes > VALUES_BYTES_MAX {
            return Err(BindError::TooLarge {
                bytes,
                limit: VALUES_BYTES_MAX,
            });
        }
        if let Some(name) = supplied.keys().find(|name| self.parameter(name).is_none()) {
            return Err(BindError::Unknown {
                name: excerpt(name),
                declared: self.declared_names(),
            });
        }
        let mut values = BTreeMap::new();
        for parameter in self.parameters() {
            let name = parameter.name();
            let value = match (supplied.get(name), parameter.default()) {
                (Some(items), _) => ParameterValue::from_supplied(parameter.kind(), items)
                    .and_then(|value| parameter.check(&value).map(|()| value))
                    .map_err(|problem| BindError::Invalid {
                        name: name.to_owned(),
                        problem,
                    })?,
                (None, Some(default)) => default.clone(),
                (None, None) => {
                    return Err(BindError::Missing {
                        name: name.to_owned(),
                    });
                }
            };
            values.insert(name.to_owned(), value);
        }
        Ok(BoundParameters { values })
    }
}

/// Bytes that one supplied parameter counts; an item counts one more, so that empty ones are bounded too.
fn supplied_bytes((name, items): (&String, &Vec<String>)) -> usize {
    items
        .iter()
        .map(|item| item.len().saturating_add(1))
        .fold(name.len(), usize::saturating_add)
}

/// Why a text is not a set of parameters.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SuppliedJsonError {
    /// Not JSON, or not an object.
    #[error("parameters are not a JSON object, as {{\"commands\": [\"uptime\"]}}")]
    NotAnObject(#[source] serde_json::Error),
    /// A value that is neither a text nor a list of texts.
    #[error("parameter {name}: give a text or a list of texts")]
    NotTexts {
        /// The parameter, shortened.
        name: String,
    },
}

/// Reads parameters as the AWS CLI's `--parameters` takes them in JSON: a text, or a list of texts,
/// by name. Numbers and booleans are taken as their text, an object as its JSON.
///
/// # Errors
/// [`SuppliedJsonError`]
pub fn supplied_from_json(text: &str) -> Result<Supplied, SuppliedJsonError> {
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(SuppliedJsonError::NotAnObject)?;
    object
        .into_iter()
        .map(|(name, value)| {
            let items = match value {
                Value::Array(items) => items.into_iter().map(item_text).collect(),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_) => item_text(value).map(|text| vec![text]),
            };
            match items {
                Some(items) => Ok((name, items)),
                None => Err(SuppliedJsonError::NotTexts {
                    name: excerpt(&name),
                }),
            }
        })
        .collect()
}

fn item_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) => None,
    }
}
