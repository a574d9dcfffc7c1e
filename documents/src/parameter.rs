//! What a document declares of its parameters: types, defaults and the rules values must keep.
//! Never holds a supplied value.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::document::Schema;
use crate::error::DocumentError;
use crate::limits;
use crate::value::{ParameterValue, ValueProblem};

/// The type of a parameter, in the API's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParameterType {
    /// One text.
    String,
    /// Texts in order.
    StringList,
    /// `true` or `false`.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// JSON objects in order.
    MapList,
    /// One JSON object.
    StringMap,
}

impl ParameterType {
    const ALL: [Self; 6] = [
        Self::String,
        Self::StringList,
        Self::Boolean,
        Self::Integer,
        Self::MapList,
        Self::StringMap,
    ];

    /// The API's name of the type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::MapList => "MapList",
            Self::StringMap => "StringMap",
        }
    }

    /// How a value of the type is written, for errors.
    pub(crate) fn form(self) -> &'static str {
        match self {
            Self::String => "one text",
            Self::StringList => "a list of texts",
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::MapList => "JSON objects",
            Self::StringMap => "one JSON object",
        }
    }

    fn is_list_or_map(self) -> bool {
        matches!(self, Self::StringList | Self::MapList | Self::StringMap)
    }
}

impl fmt::Display for ParameterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a console shows the parameter's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DisplayType {
    /// One line.
    #[serde(rename = "textfield")]
    TextField,
    /// Several lines.
    #[serde(rename = "textarea")]
    TextArea,
}

/// How a value reaches a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Interpolation {
    /// Its text takes the reference's place.
    #[default]
    Text,
    /// As the environment variable `SSM_<name>`, so that a shell never parses it.
    EnvironmentVariable,
}

/// Bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bounds {
    min: Option<usize>,
    max: Option<usize>,
}

/// An `allowedPattern`. The value as a whole must match, as the service has it: its own documents
/// write patterns such as `[1-9][0-9]{0,4}` and mean the entire value by them.
#[derive(Debug, Clone)]
struct Pattern {
    source: String,
    whole: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// One declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    name: String,
    kind: ParameterType,
    description: Option<String>,
    default: Option<ParameterValue>,
    allowed_values: Vec<String>,
    allowed_pattern: Option<Pattern>,
    chars: Bounds,
    items: Bounds,
    display_type: Option<DisplayType>,
    interpolation: Interpolation,
}

impl Parameter {
    /// The name: 1 to 128 of `a-z A-Z 0-9 _`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type.
    pub fn kind(&self) -> ParameterType {
        self.kind
    }

    /// What the author says of it.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The value when none is supplied; a parameter without one is required.
    pub fn default(&self) -> Option<&ParameterValue> {
        self.default.as_ref()
    }

    /// The only texts allowed; empty when any is.
    pub fn allowed_values(&self) -> &[String] {
        &self.allowed_values
    }

    /// The regular expression that each text must match as a whole.
    pub fn allowed_pattern(&self) -> Option<&str> {
        self.allowed_pattern
            .as_ref()
            .map(|pattern| pattern.source.as_str())
    }

    /// How a console shows it.
    pub fn display_type(&self) -> Option<DisplayType> {
        self.display_type
    }

    /// How its value reaches a script.
    pub fn interpolation(&self) -> Interpolation {
        self.interpolation
    }

    /// The environment variable that carries the value, for [`Interpolation::EnvironmentVariable`].
    pub(crate) fn environment_name(&self) -> String {
        format!("SSM_{}", self.name)
    }

    /// Holds a value of the right type against the declared rules.
    pub(crate) fn check(&self, value: &ParameterValue) -> Result<(), ValueProblem> {
        if let Some(items) = value.item_count() {
            match self.items {
                Bounds {
                    min: Some(limit), ..
                } if items < limit => {
                    return Err(ValueProblem::TooFewItems { items, limit });
                }
                Bounds {
                    max: Some(limit), ..
                } if items > limit => {
                    return Err(ValueProblem::TooManyItems { items, limit });
                }
                Bounds { .. } => {}
            }
        }
        value
            .texts()
            .iter()
            .try_for_each(|text| self.check_text(text))
    }

    fn check_text(&self, text: &str) -> Result<(), ValueProblem> {
        let chars = text.chars().count();
        match self.chars {
            Bounds {
                min: Some(limit), ..
            } if chars < limit => {
                return Err(ValueProblem::TooShort { chars, limit });
            }
            Bounds {
                max: Some(limit), ..
            } if chars > limit => {
                return Err(ValueProblem::TooLong { chars, limit });
            }
            Bounds { .. } => {}
        }
        if !self.allowed_values.is_empty() && !self.allowed_values.iter().any(|v| v == text) {
            return Err(ValueProblem::NotAllowed {
                allowed: self.allowed_values.join(", "),
            });
        }
        match &self.allowed_pattern {
            Some(pattern) if !pattern.whole.is_match(text) => Err(ValueProblem::PatternMismatch {
                pattern: pattern.source.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Reads the `parameters` map.
pub(crate) fn parse_all(map: &Cursor<'_>, schema: Schema) -> Result<Vec<Parameter>, DocumentError> {
    map.entries(limits::PARAMETERS_MAX)?
        .into_iter()
        .map(|(name, cursor)| parse(name, &cursor, schema))
        .collect()
}

fn parse(name: &str, cursor: &Cursor<'_>, schema: Schema) -> Result<Parameter, DocumentError> {
    let is_name_byte = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || !name.bytes().all(is_name_byte) {
        return Err(cursor.not_allowed(name, "a name of 1 to 128 of a-z A-Z 0-9 _"));
    }
    let mut members = cursor.members()?;
    let kind = parse_kind(&members.required("type")?)?;
    let description = members.optional_text("description")?;
    let default = members.optional("default");
    let mut parameter = Parameter {
        name: name.to_owned(),
        kind,
        description,
        default: None,
        allowed_values: match members.optional("allowedValues") {
            Some(list) => parse_allowed_values(&list)?,
            None => Vec::new(),
        },
        allowed_pattern: members
            .optional("allowedPattern")
            .map(|pattern| parse_pattern(&pattern))
            .transpose()?,
        chars: Bounds {
            min: members.optional("minChars").map(|c| c.size()).transpose()?,
            max: members.optional("maxChars").map(|c| c.size()).transpose()?,
        },
        items: Bounds {
            min: members.optional("minItems").map(|c| c.size()).transpose()?,
            max: members.optional("maxItems").map(|c| c.size()).transpose()?,
        },
        display_type: members
            .optional("displayType")
            .map(|display| parse_display_type(&display))
            .transpose()?,
        interpolation: match schema {
            Schema::V2_2 => members
                .optional("interpolationType")
                .map(|interpolation| parse_interpolation(&interpolation, kind))
                .transpose()?
                .unwrap_or_default(),
            Schema::V1_2 | Schema::V2_0 => Interpolation::Text,
        },
    };
    members.finish()?;
    if let Some(default) = default {
        parameter.default = Some(parse_default(&default, &parameter)?);
    }
    Ok(parameter)
}

fn parse_kind(cursor: &Cursor<'_>) -> Result<ParameterType, DocumentError> {
    let text = cursor.text()?;
    ParameterType::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| {
            cursor.not_allowed(
                text,
                ParameterType::ALL.map(ParameterType::as_str).join(", "),
            )
        })
}

fn parse_allowed_values(list: &Cursor<'_>) -> Result<Vec<String>, DocumentError> {
    list.items(limits::ALLOWED_VALUES_MAX)?
        .iter()
        .map(Cursor::scalar_text)
        .collect()
}

fn parse_pattern(cursor: &Cursor<'_>) -> Result<Pattern, DocumentError> {
    let source = cursor.text()?;
    if source.len() > limits::PATTERN_BYTES_MAX {
        return Err(cursor.not_allowed(
            source,
            format!("at most {} bytes", limits::PATTERN_BYTES_MAX),
        ));
    }
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(limits::PATTERN_COMPILED_BYTES_MAX)
            .build()
            .map_err(|source| DocumentError::BadPattern {
                path: cursor.path.clone(),
                source,
            })
    };
    // Compiled alone first: `a)|(b` must not become right by the group put around it.
    compile(source)?;
    Ok(Pattern {
        source: source.to_owned(),
        whole: compile(&format!(r"\A(?:{source})\z"))?,
    })
}

fn parse_display_type(cursor: &Cursor<'_>) -> Result<DisplayType, DocumentError> {
    match cursor.text()? {
        "textfield" => Ok(DisplayType::TextField),
        "textarea" => Ok(DisplayType::TextArea),
        other => Err(cursor.not_allowed(other, "textfield, textarea")),
    }
}

fn parse_interpolation(
    cursor: &Cursor<'_>,
    kind: ParameterType,
) -> Result<Interpolation, DocumentError> {
    match cursor.text()? {
        "ENV_VAR" if kind.is_list_or_map() => Err(cursor.not_allowed(
            "ENV_VAR",
            "ENV_VAR on String, Boolean and Integer parameters only",
        )),
        "ENV_VAR" => Ok(Interpolation::EnvironmentVariable),
        other => Err(cursor.not_allowed(other, "ENV_VAR")),
    }
}

fn parse_default(
    cursor: &Cursor<'_>,
    parameter: &Parameter,
) -> Result<ParameterValue, DocumentError> {
    let value = ParameterValue::from_node(parameter.kind, cursor.node);
    value
        .and_then(|value| parameter.check(&value).map(|()| value))
        .map_err(|problem| DocumentError::BadDefault {
            path: cursor.path.clone(),
            problem,
        })
}
