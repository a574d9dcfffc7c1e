//! Reads the table of facts: one line a fact, words separated by a space.
//! Never accepts a table in which a name leads nowhere.
//!
//! ```text
//! holdfast-service-table 1
//! source NAME VERSION
//! service TARGET_PREFIX API_VERSION
//! error CODE STATUS MESSAGE_MEMBER
//! op NAME INPUT OUTPUT ERROR,ERROR INPUT_TOKEN,OUTPUT_TOKEN,LIMIT_KEY,RESULT_KEY
//! structure NAME [secret] MEMBER:SHAPE REQUIRED_MEMBER!:SHAPE
//! list NAME [secret] of=SHAPE [size=MIN..MAX]
//! map NAME [secret] key=SHAPE value=SHAPE [size=MIN..MAX]
//! string|integer|long|boolean|timestamp|blob NAME [secret] [size=MIN..MAX] [enum=A,B] [pattern=REST OF LINE]
//! ```
//! A dash stands for an empty list or an absent name; either end of a size may be absent.

use super::{DeclaredError, Kind, Member, Model, Operation, Pages, Pattern, Shape};

const HEADING: &str = "holdfast-service-table 1";

/// Why a table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The first line is not the one this reader knows.
    #[error("the table begins with {0:?}, not with {HEADING:?}")]
    Heading(String),
    /// A line that does not follow the grammar.
    #[error("line {line} of the table is malformed: {text:?}")]
    Line {
        /// From 1.
        line: usize,
        /// As it stands.
        text: String,
    },
    /// A shape or error that is named but not described.
    #[error("{user} refers to {name}, which the table does not describe")]
    Dangling {
        /// What names it.
        user: &'static str,
        /// What is named.
        name: &'static str,
    },
}

/// Parses a whole table.
///
/// # Errors
/// [`TableError`], with the line or the name at fault.
pub(super) fn parse(text: &'static str) -> Result<Model, TableError> {
    let mut lines = text.lines().enumerate();
    let heading = lines.next().map_or("", |(_, line)| line);
    if heading != HEADING {
        return Err(TableError::Heading(heading.to_owned()));
    }
    let mut model = Model::default();
    for (index, line) in lines {
        read_line(&mut model, line).ok_or_else(|| TableError::Line {
            line: index + 1,
            text: line.to_owned(),
        })?;
    }
    check_references(&model)?;
    Ok(model)
}

fn read_line(model: &mut Model, line: &'static str) -> Option<()> {
    let (what, rest) = line.split_once(' ')?;
    match what {
        "source" => model.source = rest,
        "service" => (model.target_prefix, model.api_version) = rest.split_once(' ')?,
        "error" => {
            let [code, status, message] = words(rest)?;
            let status = status.parse().ok()?;
            let message = (message != "-").then_some(message);
            model.errors.insert(code, DeclaredError { status, message });
        }
        "op" => {
            let operation = read_operation(rest)?;
            model.operations.insert(operation.name, operation);
        }
        kind => {
            let shape = read_shape(kind, rest)?;
            model.shapes.insert(shape.name, shape);
        }
    }
    Some(())
}

fn read_operation(rest: &'static str) -> Option<Operation> {
    let [name, input, output, errors, pages] = words(rest)?;
    let pages = match list(pages).as_slice() {
        [] => None,
        &[input_token, output_token, limit_key, result_key] => Some(Pages {
            input_token,
            output_token,
            limit_key,
            result_key,
        }),
        _ => return None,
    };
    Some(Operation {
        name,
        input,
        output,
        errors: list(errors),
        pages,
    })
}

fn read_shape(kind: &str, rest: &'static str) -> Option<Shape> {
    let (facts, pattern) = match rest.split_once(" pattern=") {
        Some((facts, pattern)) => (facts, Some(Pattern::new(pattern))),
        None => (rest, None),
    };
    let mut facts = facts.split(' ');
    let mut shape = Shape {
        name: facts.next()?,
        secret: false,
        kind: Kind::String,
        min: None,
        max: None,
        values: Vec::new(),
        pattern,
    };
    let (mut members, mut of, mut key, mut value) = (Vec::new(), None, None, None);
    for fact in facts {
        match fact.split_once('=') {
            None if fact == "secret" => shape.secret = true,
            None => members.push(read_member(fact)?),
            Some(("of", name)) => of = Some(name),
            Some(("key", name)) => key = Some(name),
            Some(("value", name)) => value = Some(name),
            Some(("enum", values)) => shape.values = list(values),
            Some(("size", range)) => {
                let (min, max) = range.split_once("..")?;
                (shape.min, shape.max) = (bound(min)?, bound(max)?);
            }
            Some(_) => return None,
        }
    }
    shape.kind = match kind {
        "structure" => Kind::Structure(members),
        "list" => Kind::List(of?),
        "map" => Kind::Map {
            key: key?,
            value: value?,
        },
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "long" => Kind::Long,
        "boolean" => Kind::Boolean,
        "timestamp" => Kind::Timestamp,
        "blob" => Kind::Blob,
        _ => return None,
    };
    Some(shape)
}

fn read_member(fact: &'static str) -> Option<Member> {
    let (name, shape) = fact.split_once(':')?;
    let (name, required) = match name.strip_suffix('!') {
        Some(name) => (name, true),
        None => (name, false),
    };
    Some(Member {
        name,
        shape,
        required,
    })
}

fn words<const N: usize>(rest: &'static str) -> Option<[&'static str; N]> {
    rest.split(' ').collect::<Vec<_>>().try_into().ok()
}

fn list(word: &'static str) -> Vec<&'static str> {
    if word == "-" {
        return Vec::new();
    }
    word.split(',').collect()
}

/// The outer option: whether it could be read; the inner: whether there is a bound.
#[expect(
    clippy::option_option,
    reason = "an unreadable bound is not an absent one"
)]
fn bound(text: &str) -> Option<Option<i64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.parse().ok().map(Some)
}

fn check_references(model: &Model) -> Result<(), TableError> {
    let shape = |user, name| match model.shapes.contains_key(name) {
        true => Ok(()),
        false => Err(TableError::Dangling { user, name }),
    };
    for operation in model.operations.values() {
        shape(operation.name, operation.input)?;
        shape(operation.name, operation.output)?;
        if let Some(name) = (operation.errors.iter()).find(|name| !model.errors.contains_key(*name))
        {
            return Err(TableError::Dangling {
                user: operation.name,
                name,
            });
        }
    }
    for user in model.shapes.values() {
        match &user.kind {
            Kind::Structure(members) => {
                members
                    .iter()
                    .try_for_each(|member| shape(user.name, member.shape))?;
            }
            Kind::List(of) => shape(user.name, of)?,
            Kind::Map { key, value } => {
                shape(user.name, key)?;
                shape(user.name, value)?;
            }
            Kind::String
            | Kind::Integer
            | Kind::Long
            | Kind::Boolean
            | Kind::Timestamp
            | Kind::Blob => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &'static str) -> Result<Model, TableError> {
        parse(lines)
    }

    #[test]
    fn the_committed_table_is_readable_and_whole() {
        let model = parse(super::super::TABLE).unwrap();
        assert_eq!(model.source, "botocore 1.44.5");
        assert_eq!(
            (model.target_prefix, model.api_version),
            ("AmazonSSM", "2014-11-06")
        );
        assert_eq!(model.operations.len(), 154);
        assert_eq!(
            model
                .operations
                .values()
                .filter(|op| op.pages.is_some())
                .count(),
            52
        );
        assert_eq!(model.errors["InternalServerError"].status, 500);
        assert_eq!(model.page_size_range("ListCommands"), Some(1..=50));
        assert_eq!(
            model.page_size_range("DescribeInstanceInformation"),
            Some(5..=50)
        );
        assert_eq!(model.page_size_range("GetDocument"), None);
    }

    #[test]
    fn reads_each_kind_of_fact() {
        let model = parsed(
            "holdfast-service-table 1\nsource botocore 1\nstructure In Name!:Text Max:Number\n\
             integer Number size=..50\nstring Text secret size=1.. enum=a,b pattern=^[a =]$",
        )
        .unwrap();
        let text = &model.shapes["Text"];
        assert!(text.secret);
        assert_eq!((text.min, text.max), (Some(1), None));
        assert_eq!(text.values, ["a", "b"]);
        assert_eq!(text.pattern.as_ref().map(Pattern::text), Some("^[a =]$"));
        assert_eq!(model.shapes["Number"].max, Some(50));
        let members = model.members("In");
        assert!(members[0].required && !members[1].required);
    }

    #[test]
    fn refuses_what_it_cannot_read_or_resolve() {
        assert_eq!(
            parsed("holdfast-service-table 2").unwrap_err(),
            TableError::Heading("holdfast-service-table 2".into())
        );
        for bad in [
            "holdfast-service-table 1\nfloat X",
            "holdfast-service-table 1\nstring X size=1",
            "holdfast-service-table 1\nstring X size=a..",
            "holdfast-service-table 1\nlist X",
            "holdfast-service-table 1\nop X In Out - a,b",
        ] {
            assert!(
                matches!(parsed(bad), Err(TableError::Line { line: 2, .. })),
                "{bad}"
            );
        }
        assert_eq!(
            parsed("holdfast-service-table 1\nlist X of=Y").unwrap_err(),
            TableError::Dangling {
                user: "X",
                name: "Y"
            }
        );
    }
}
