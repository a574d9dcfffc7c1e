//! What holds of every text and every value.
//! Never a panic, never a reference left over, never a value changed on its way.

use proptest::prelude::*;

use super::supplied;
use crate::{Disposition, Document, DocumentFormat, Platform, StepInputs, library};

const FIXTURES: [&str; 6] = [
    include_str!("../../fixtures/deploy.yaml"),
    include_str!("../../fixtures/restart-service.json"),
    include_str!("../../fixtures/cross-platform.json"),
    include_str!("../../library/AWS-RunShellScript.json"),
    include_str!("../../library/AWS-RunPatchBaseline.json"),
    include_str!("../../library/AWS-GatherSoftwareInventory.json"),
];

/// The commands of the only step of a plan on Linux.
fn commands(document: &Document, values: &[(&str, &[&str])]) -> Vec<String> {
    let bound = document.bind(&supplied(values)).unwrap();
    let plan = document.plan(&bound, Platform::Linux).unwrap();
    let Disposition::Run(StepInputs::RunShellScript(script)) = &plan.steps[0].disposition else {
        panic!("{plan:?}");
    };
    script.commands.clone()
}

/// A text of the pieces that the language gives a meaning.
fn braced_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{"),
        Just("}}"),
        Just("{"),
        Just("}"),
        Just(" "),
        Just("a"),
        Just("b"),
        Just("{{ a }}"),
        Just("{{a}}"),
        Just("\\"),
        Just("\n"),
        Just("é"),
        Just(".Names"),
        Just("$"),
        Just("\""),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn one_line(line: &str) -> Document {
    let line = serde_json::Value::from(line);
    Document::parse(format!(
        r#"{{"schemaVersion": "2.2",
            "parameters": {{"a": {{"type": "String"}}}},
            "mainSteps": [{{"name": "s", "action": "aws:runShellScript", "inputs": {{"runCommand": [{line}]}}}}]}}"#
    ))
    .unwrap()
}

proptest! {
    #[test]
    fn any_bytes_are_a_document_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Document::parse(bytes).map_err(|error| error.to_string());
    }

    #[test]
    fn any_text_that_looks_like_a_document_is_one_or_an_error(
        text in r##"(schemaVersion: "2.2"\n)?([-&*!|>{}\[\]:,'"#%@ a-z0-9\n\t]|mainSteps|inputs|\{\{){0,80}"##
    ) {
        let _ = Document::parse(text).map_err(|error| error.to_string());
    }

    #[test]
    fn a_mutated_document_is_a_document_or_an_error(
        fixture in 0..FIXTURES.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
        value in prop_oneof![Just("Scan"), Just("1.2.3"), Just("ssh")].prop_map(str::to_owned),
    ) {
        let mut bytes = FIXTURES[fixture].as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.drain(at..(at + usize::from(byte)).min(bytes.len() - 1).max(at))),
            }
        }
        if let Ok(document) = Document::parse(&bytes) {
            let required = document.parameters().iter().filter(|p| p.default().is_none());
            let values = required.map(|p| (p.name().to_owned(), vec![value.clone()])).collect();
            for platform in Platform::ALL {
                let _ = document.bind(&values).map(|bound| document.plan(&bound, platform));
            }
        }
    }

    #[test]
    fn a_value_arrives_as_it_was_supplied(items in proptest::collection::vec("[^\0]{0,40}", 1..8)) {
        prop_assume!(!items.iter().any(|item| item.contains("ssm")));
        let document = library::find("AWS-RunShellScript").unwrap().default_version().document().unwrap();
        let given: Vec<&str> = items.iter().map(String::as_str).collect();
        prop_assert_eq!(&commands(&document, &[("commands", &given)]), &items);
    }

    #[test]
    fn what_a_value_holds_is_never_looked_at_again(value in braced_text()) {
        let document = one_line("<{{ a }}>");
        prop_assert_eq!(commands(&document, &[("a", &[&value])]), vec![format!("<{value}>")]);
    }

    #[test]
    fn every_reference_to_a_declared_parameter_is_filled_and_nothing_else(line in braced_text()) {
        let reference = regex_lite::Regex::new(r"\{\{\s*a\s*\}\}").unwrap();
        let expected = reference.replace_all(&line, "VALUE").into_owned();
        prop_assert_eq!(commands(&one_line(&line), &[("a", &["VALUE"])]), vec![expected]);
    }
}

#[test]
fn json_and_yaml_of_the_same_document_are_the_same() {
    for json in &FIXTURES[1..] {
        // JSON is YAML too; a comment above it hides the brace that would tell it apart.
        let yaml = format!("# the same\n{json}");
        assert_eq!(DocumentFormat::of(&yaml), DocumentFormat::Yaml);
        assert_eq!(
            Document::parse(yaml).unwrap(),
            Document::parse(json).unwrap()
        );
    }
}

#[test]
fn a_document_turned_into_json_is_the_same_document() {
    for text in FIXTURES {
        let json = crate::to_json(text).unwrap();
        assert_eq!(DocumentFormat::of(&json), DocumentFormat::Json);
        assert_eq!(
            Document::parse(json).unwrap(),
            Document::parse(text).unwrap()
        );
    }
}
