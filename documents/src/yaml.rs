//! YAML to tree, from the events of a YAML 1.2 parser: the core schema's types, and no more of it.
//! Never guesses: what is no plain decimal number, boolean or null stays the text that was written.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::error::DocumentError;
use crate::limits::{DOCUMENT_BYTES_MAX, excerpt_of};
use crate::node::Node;

/// Above the language's own depth, so that `Node::check` names the place; below what a stack holds.
const DEPTH_MAX: usize = 64;
/// Bytes that all aliases together may repeat, a byte more for each value: a document with its
/// aliases written out must not be longer than one without any.
const REPEATED_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// Bytes of what the parser says of a text it refuses.
const MESSAGE_BYTES_MAX: usize = 200;

/// Reads the one document of `text`.
pub(crate) fn read(text: &str) -> Result<Node, DocumentError> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        repeated_bytes_left: REPEATED_BYTES_MAX,
    };
    let mut document = None;
    while let Some((event, span)) = reader.next()? {
        if matches!(event, Event::DocumentStart(..)) && document.is_some() {
            return Err(refused(&span, "a second document; keep one"));
        }
        if !is_frame(&event) {
            document = Some(reader.node(event, &span, 0)?);
        }
    }
    Ok(document.unwrap_or(Node::Null))
}

/// Events around documents, which hold no value.
fn is_frame(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd
    )
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    repeated_bytes_left: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, DocumentError> {
        self.parser.next().transpose().map_err(|error| {
            let marker = error.marker();
            refusal(marker.line(), marker.col() + 1, &error.kind().to_string())
        })
    }

    /// The next event inside a value.
    fn inner(&mut self) -> Result<(Event<'a>, Span), DocumentError> {
        self.next()?
            .ok_or_else(|| refusal(0, 0, "ends in the middle of a value"))
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, DocumentError> {
        if depth >= DEPTH_MAX {
            return Err(refused(span, &format!("more than {DEPTH_MAX} levels deep")));
        }
        if let Event::Alias(anchor) = event {
            return self.repeat(anchor, span);
        }
        let (anchor, node) = if let Event::Scalar(text, style, anchor, tag) = event {
            let forced = is_text(tag.as_deref(), span)?;
            let plain = style == ScalarStyle::Plain && !forced;
            let text = text.into_owned();
            (
                anchor,
                if plain {
                    resolve(text)
                } else {
                    Node::Text(text)
                },
            )
        } else if let Event::SequenceStart(_, anchor, tag) = event {
            refuse_tag(tag.as_deref(), span)?;
            (anchor, self.list(depth)?)
        } else if let Event::MappingStart(_, anchor, tag) = event {
            refuse_tag(tag.as_deref(), span)?;
            (anchor, self.map(depth)?)
        } else {
            return Err(refused(span, "no value where one is needed"));
        };
        // Recorded after its value, so that an alias inside it names nothing.
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node, DocumentError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.inner()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Node::List(items));
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, DocumentError> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.inner()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Node::Map(entries));
            }
            let Event::Scalar(key, style, _, tag) = event else {
                return Err(refused(&span, "a key that is no plain text"));
            };
            is_text(tag.as_deref(), &span)?;
            if key == "<<" && style == ScalarStyle::Plain {
                return Err(refused(&span, "a merge key (<<); write its entries out"));
            }
            let (event, span) = self.inner()?;
            entries.push((key.into_owned(), self.node(event, &span, depth + 1)?));
        }
    }

    fn repeat(&mut self, anchor: usize, span: &Span) -> Result<Node, DocumentError> {
        let node = self
            .anchors
            .get(&anchor)
            .ok_or_else(|| refused(span, "an alias inside the value it stands for"))?;
        match self.repeated_bytes_left.checked_sub(size(node)) {
            Some(left) => {
                self.repeated_bytes_left = left;
                Ok(node.clone())
            }
            None => Err(refused(
                span,
                &format!("aliases repeat more than {REPEATED_BYTES_MAX} bytes"),
            )),
        }
    }
}

/// Bytes of text in a value, and one for each value.
fn size(node: &Node) -> usize {
    match node {
        Node::Null | Node::Boolean(_) | Node::Integer(_) | Node::Decimal(_) => 1,
        Node::Text(text) => text.len() + 1,
        Node::List(items) => items.iter().map(size).sum::<usize>() + 1,
        Node::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| key.len() + size(value));
            entries.sum::<usize>() + 1
        }
    }
}

/// Whether a tag makes a scalar text whatever it looks like; any other tag is refused.
fn is_text(tag: Option<&Tag>, span: &Span) -> Result<bool, DocumentError> {
    match tag {
        Some(tag) if tag.core_suffix() == Some("str") => Ok(true),
        other => refuse_tag(other, span).map(|()| false),
    }
}

fn refuse_tag(tag: Option<&Tag>, span: &Span) -> Result<(), DocumentError> {
    match tag {
        None => Ok(()),
        Some(_) => Err(refused(span, "a tag other than !!str; remove it")),
    }
}

/// The type of a plain scalar: YAML 1.2's core schema (10.3.2), of its numbers the decimal ones
/// without leading zeros. A file mode, a date, a hexadecimal id or `yes` is what its author typed.
fn resolve(text: String) -> Node {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => return Node::Boolean(true),
        "false" | "False" | "FALSE" => return Node::Boolean(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let padded = whole.len() > 1 && whole.starts_with('0');
    if !digits(whole) || padded || fraction.is_some_and(|fraction| !digits(fraction)) {
        return Node::Text(text);
    }
    let number = match fraction {
        None => text.parse().ok().map(Node::Integer),
        Some(_) => text.parse().ok().map(Node::Decimal),
    };
    // A whole number of more than 64 bits keeps its digits as text.
    number.unwrap_or(Node::Text(text))
}

fn refused(span: &Span, what: &str) -> DocumentError {
    refusal(span.start.line(), span.start.col() + 1, what)
}

fn refusal(line: usize, column: usize, message: &str) -> DocumentError {
    DocumentError::Yaml {
        line,
        column,
        message: excerpt_of(message, MESSAGE_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

    use super::*;

    fn message(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    /// The same text, read by another reader set to the same rules.
    fn other_reader(text: &str) -> Option<Node> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            merge_keys: MergeKeyPolicy::Error,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            strict_booleans: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options).ok()
    }

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema_and_no_more() {
        let text = "[~, null, true, False, 12, -3, +4, 0, 2.2, -0.5]";
        assert_eq!(
            read(text).unwrap().to_json().to_string(),
            "[null,null,true,false,12,-3,4,0,2.2,-0.5]"
        );
        for kept in [
            "yes", "0755", "00", "0x1F", "0o7", "1_000", "1.2.3", "1.", ".5", "1e3", ".inf",
        ] {
            let text = format!("[{kept}, '12', !!str 12]");
            let expected = [kept, "12", "12"].map(|text| Node::Text(text.to_owned()));
            assert_eq!(read(&text).unwrap(), Node::List(expected.to_vec()));
        }
        let long = "9223372036854775808";
        assert_eq!(read(long).unwrap(), Node::Text(long.to_owned()));
    }

    #[test]
    fn aliases_repeat_their_value_within_a_bound() {
        let node = read("a: &x [1, {b: &y c}]\nd: [*x, *y]\n").unwrap();
        assert_eq!(
            node.to_json().to_string(),
            r#"{"a":[1,{"b":"c"}],"d":[[1,{"b":"c"}],"c"]}"#
        );
        let text = format!("a: &x {}\nb: [{}]\n", "y".repeat(10_000), "*x, ".repeat(7));
        assert!(message(&text).ends_with("aliases repeat more than 65536 bytes"));
        assert!(message("a: &x [*x]\n").ends_with("an alias inside the value it stands for"));
    }

    #[test]
    fn what_the_language_has_no_use_for_is_refused_with_its_place() {
        assert_eq!(
            message("a: 1\nb: !secret x\n"),
            "document is not valid YAML: line 2, column 12: a tag other than !!str; remove it"
        );
        assert!(
            message("%YAML 1.2\n---\na: 1\n").starts_with("document is not valid YAML: line 1")
        );
        assert!(message("[a]: 1\n").ends_with("a key that is no plain text"));
    }

    proptest! {
        #[test]
        fn reads_what_another_reader_reads(
            text in "(a: |- |  |\n|b: |[a-c]|'|\"|\\||>|, |\\[|\\]|\\{|\\}|#|true|1[0-9]|-5| |\n\n|- a: |\n  ){0,24}"
        ) {
            match (read(&text), other_reader(&text)) {
                (Ok(node), Some(other)) => prop_assert_eq!(node, other),
                (Err(_), None) => {}
                (mine, other) => prop_assert!(false, "{text:?}: {mine:?} against {other:?}"),
            }
        }
    }
}
