//! A document: text that was understood to the last member.
//! Never holds anything unchecked; what cannot be wrong any more is not looked at again later.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cursor::{Cursor, Members};
use crate::error::DocumentError;
use crate::limits::excerpt;
use crate::node::Node;
use crate::parameter::{self, Parameter};
use crate::source;
use crate::step::{self, Platform, Step};

/// A schema version of command documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Schema {
    /// 1.2: plugins in `runtimeConfig`.
    #[serde(rename = "1.2")]
    V1_2,
    /// 2.0: named steps in `mainSteps`.
    #[serde(rename = "2.0")]
    V2_0,
    /// 2.2: the same, with preconditions.
    #[serde(rename = "2.2")]
    V2_2,
}

impl Schema {
    pub(crate) const ALLOWED: &'static str = "1.2, 2.0, 2.2";

    /// The version as documents write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V2_0 => "2.0",
            Self::V2_2 => "2.2",
        }
    }

    fn parse(cursor: &Cursor<'_>) -> Result<Self, DocumentError> {
        // YAML authors leave the quotes away.
        let found = if let Node::Decimal(value) = cursor.node {
            format!("{value:.1}")
        } else {
            cursor.scalar_text()?
        };
        [Self::V1_2, Self::V2_0, Self::V2_2]
            .into_iter()
            .find(|schema| schema.as_str() == found)
            .ok_or_else(|| DocumentError::UnsupportedSchema {
                found: excerpt(&found),
            })
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a document is for, in the API's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DocumentType {
    /// Run on nodes by a command.
    Command,
    /// Kept up on nodes by an association; a command may run it too.
    Policy,
}

impl DocumentType {
    /// The API's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "Command",
            Self::Policy => "Policy",
        }
    }
}

/// A command document of schema 1.2, 2.0 or 2.2.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    schema: Schema,
    description: Option<String>,
    parameters: Vec<Parameter>,
    steps: Vec<Step>,
}

impl Document {
    /// Reads a document in JSON or YAML ([`crate::DocumentFormat::of`] says which).
    ///
    /// # Errors
    /// [`DocumentError`], with the place in the document, what is there and what is allowed.
    pub fn parse(content: impl AsRef<[u8]>) -> Result<Self, DocumentError> {
        let node = source::read(content.as_ref())?;
        let mut members = Cursor::root(&node).members()?;
        let document = Self::from_members(&mut members)?;
        members.finish()?;
        Ok(document)
    }

    fn from_members(members: &mut Members<'_>) -> Result<Self, DocumentError> {
        let schema = Schema::parse(&members.required("schemaVersion")?)?;
        let description = members.optional_text("description")?;
        let parameters = match members.optional("parameters") {
            Some(map) => parameter::parse_all(&map, schema)?,
            None => Vec::new(),
        };
        let steps = match schema {
            Schema::V1_2 => step::runtime_config(&members.required("runtimeConfig")?, &parameters)?,
            Schema::V2_0 | Schema::V2_2 => {
                let preconditions = schema == Schema::V2_2;
                step::main_steps(&members.required("mainSteps")?, &parameters, preconditions)?
            }
        };
        Ok(Self {
            schema,
            description,
            parameters,
            steps,
        })
    }

    /// The schema version.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// What the author says of it.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The declared parameters, in the order of the document.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The declared parameter `name`.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name() == name)
    }

    /// The steps, in order; at least one.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The platforms on which the document runs: all that a step may run on, and for the schemas
    /// without preconditions only those that every step runs on.
    pub fn platform_types(&self) -> Vec<Platform> {
        Platform::ALL
            .into_iter()
            .filter(|platform| match self.schema {
                Schema::V1_2 | Schema::V2_0 => self.steps.iter().all(|s| s.may_run_on(*platform)),
                Schema::V2_2 => self.steps.iter().any(|s| s.may_run_on(*platform)),
            })
            .collect()
    }

    pub(crate) fn declared_names(&self) -> String {
        names_of(&self.parameters)
    }
}

/// The names for an error's list of what is allowed.
pub(crate) fn names_of(parameters: &[Parameter]) -> String {
    if parameters.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = parameters.iter().map(Parameter::name).collect();
    names.join(", ")
}
