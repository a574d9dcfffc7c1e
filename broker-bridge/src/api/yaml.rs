//! A document's JSON written as YAML, for clients that ask for that format.
//! Never writes what a YAML 1.2 reader takes for another value: texts are quoted as JSON quotes them.

use serde_json::{Map, Value as Json};

/// The value as YAML in block style, two spaces a level, ended by a newline.
pub(super) fn write(value: &Json) -> String {
    let mut out = String::new();
    if !block(&mut out, value, 0, "") {
        line(&mut out, &flow(value));
    }
    out
}

/// Writes a collection that has items; false, and nothing written, for anything else.
/// `first` stands before the first line in place of the indentation, as after a dash.
fn block(out: &mut String, value: &Json, depth: usize, first: &str) -> bool {
    if let Json::Object(members) = value {
        object(out, members, depth, first);
        return !members.is_empty();
    }
    if let Json::Array(items) = value {
        array(out, items, depth, first);
        return !items.is_empty();
    }
    false
}

fn object(out: &mut String, members: &Map<String, Json>, depth: usize, first: &str) {
    for (at, (key, value)) in members.iter().enumerate() {
        start(out, depth, if at == 0 { first } else { "" });
        out.push_str(&plain_or_quoted(key));
        out.push(':');
        let mut nested = String::new();
        if block(&mut nested, value, depth + 1, "") {
            out.push('\n');
            out.push_str(&nested);
        } else {
            out.push(' ');
            line(out, &flow(value));
        }
    }
}

fn array(out: &mut String, items: &[Json], depth: usize, first: &str) {
    for (at, item) in items.iter().enumerate() {
        let dash = dash(depth, if at == 0 { first } else { "" });
        if !block(out, item, depth + 1, &dash) {
            out.push_str(&dash);
            line(out, &flow(item));
        }
    }
}

/// What stands before an item at this depth.
fn dash(depth: usize, first: &str) -> String {
    let mut prefix = String::new();
    start(&mut prefix, depth, first);
    prefix.push_str("- ");
    prefix
}

fn start(out: &mut String, depth: usize, first: &str) {
    if first.is_empty() {
        out.extend(std::iter::repeat_n("  ", depth));
    } else {
        out.push_str(first);
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// JSON's own form of numbers, booleans, null, quoted texts and empty collections is YAML's too.
fn flow(value: &Json) -> String {
    value.to_string()
}

/// A key that no reader takes for anything but text may stand without quotes.
fn plain_or_quoted(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.bytes().all(|b| b.is_ascii_alphanumeric())
        && key.len() > 3
        && !["true", "false", "null"].contains(&key.to_ascii_lowercase().as_str());
    if plain {
        key.to_owned()
    } else {
        Json::from(key).to_string()
    }
}

#[cfg(test)]
mod tests {
    use holdfast_documents::{Document, library};
    use serde_json::json;

    use super::*;

    #[test]
    fn every_built_in_document_reads_the_same_in_yaml() {
        for document in library::all() {
            let content = document.default_version().content();
            let yaml = write(&serde_json::from_str(content).unwrap());
            assert_eq!(
                Document::parse(&yaml).unwrap(),
                Document::parse(content).unwrap(),
                "{yaml}"
            );
        }
    }

    #[test]
    fn nested_lists_and_maps_keep_their_shape() {
        let value =
            json!({"steps": [{"a": [1, [true, null]], "name": "x: y"}, [], {}], "no": "no"});
        expect_test::expect![[r#"
            steps:
              - "a":
                  - 1
                  - - true
                    - null
                name: "x: y"
              - []
              - {}
            "no": "no"
        "#]]
        .assert_eq(&write(&value));
        assert_eq!(write(&json!({})), "{}\n");
    }
}
