//! The service model's facts: operations, shapes, bounds and declared errors, and the one validator over them.
//! Never holds the model's prose, and never changes after it was parsed.

mod pattern;
mod table;
mod validate;

use std::collections::BTreeMap;
use std::sync::OnceLock;

pub use pattern::Pattern;
pub use table::TableError;
pub use validate::{MAX_DEPTH, check_reply, validate};

/// The committed table; `cargo xtask model` writes it.
const TABLE: &str = include_str!("ssm.table");

/// All that the table says.
#[derive(Debug, Default)]
pub struct Model {
    /// Where the facts are from, such as `botocore 1.44.5`.
    pub source: &'static str,
    /// What stands before the dot in `X-Amz-Target`.
    pub target_prefix: &'static str,
    /// The service's API version, a date.
    pub api_version: &'static str,
    /// By operation name.
    pub operations: BTreeMap<&'static str, Operation>,
    /// By error code.
    pub errors: BTreeMap<&'static str, DeclaredError>,
    /// By shape name.
    pub shapes: BTreeMap<&'static str, Shape>,
}

/// One operation of the service.
#[derive(Debug)]
pub struct Operation {
    /// As clients name it in `X-Amz-Target`.
    pub name: &'static str,
    /// The request's shape.
    pub input: &'static str,
    /// The reply's shape.
    pub output: &'static str,
    /// The codes of the errors it declares.
    pub errors: Vec<&'static str>,
    /// How it is paged, when it is.
    pub pages: Option<Pages>,
}

/// The members that carry an operation's pagination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// The request's token.
    pub input_token: &'static str,
    /// The reply's token.
    pub output_token: &'static str,
    /// The request's page size.
    pub limit_key: &'static str,
    /// The reply's list.
    pub result_key: &'static str,
}

/// An error that some operation declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredError {
    /// The HTTP status: 400, or 500 for the service's own fault.
    pub status: u16,
    /// The member that carries the message: `Message`, `message`, or none.
    pub message: Option<&'static str>,
}

/// A type of the wire, with its constraints.
#[derive(Debug)]
pub struct Shape {
    /// The service's name of it.
    pub name: &'static str,
    /// Values of it never appear in a message.
    pub secret: bool,
    /// What it is.
    pub kind: Kind,
    /// The least value of a number, else the least length or size.
    pub min: Option<i64>,
    /// The greatest value of a number, else the greatest length or size.
    pub max: Option<i64>,
    /// The values it may take; empty for any.
    pub values: Vec<&'static str>,
    /// What the whole text must match.
    pub pattern: Option<Pattern>,
}

/// The kinds of shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An object with these members.
    Structure(Vec<Member>),
    /// An array of the named shape.
    List(&'static str),
    /// An object whose keys and values are of the named shapes.
    Map {
        /// The keys' shape: a string.
        key: &'static str,
        /// The values' shape.
        value: &'static str,
    },
    /// Text.
    String,
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    Long,
    /// `true` or `false`.
    Boolean,
    /// Seconds since 1970, with a fraction.
    Timestamp,
    /// Bytes, in base64.
    Blob,
}

/// A member of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// As the wire spells it.
    pub name: &'static str,
    /// Its shape's name.
    pub shape: &'static str,
    /// It may not be absent or null.
    pub required: bool,
}

impl Model {
    /// The members of a structure; none for any other shape.
    #[must_use]
    pub fn members(&self, shape: &str) -> &[Member] {
        match self.shapes.get(shape).map(|shape| &shape.kind) {
            Some(Kind::Structure(members)) => members,
            Some(
                Kind::List(_)
                | Kind::Map { .. }
                | Kind::String
                | Kind::Integer
                | Kind::Long
                | Kind::Boolean
                | Kind::Timestamp
                | Kind::Blob,
            )
            | None => &[],
        }
    }

    /// The range that the model gives an operation's page size, or none when it is not paged.
    #[must_use]
    pub fn page_size_range(&self, operation: &str) -> Option<std::ops::RangeInclusive<i64>> {
        let operation = self.operations.get(operation)?;
        let limit_key = operation
            .pages
            .map_or("MaxResults", |pages| pages.limit_key);
        let member = self
            .members(operation.input)
            .iter()
            .find(|member| member.name == limit_key)?;
        let shape = self.shapes.get(member.shape)?;
        Some(shape.min.unwrap_or(1)..=shape.max.unwrap_or(50))
    }
}

/// The parsed table.
///
/// Were the committed table unreadable, the model would know no operation and every request would be refused by
/// name; a test parses it, so that this cannot be shipped.
pub fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| table::parse(TABLE).unwrap_or_default())
}
