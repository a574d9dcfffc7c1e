//! What callers supply, against what documents declare.
//! Never checks a message by halves: these are the words an API client reads.

use super::supplied;
use crate::{Document, ParameterValue, library, supplied_from_json};

const DECLARED: &str = r#"{
    "schemaVersion": "2.2",
    "parameters": {
        "port": {"type": "String", "default": "80", "allowedPattern": "[1-9][0-9]{0,4}"},
        "level": {"type": "String", "default": "low", "allowedValues": ["low", "high"]},
        "name": {"type": "String", "default": "ab", "minChars": 2, "maxChars": 4},
        "hosts": {"type": "StringList", "default": ["a"], "minItems": 1, "maxItems": 2},
        "force": {"type": "Boolean", "default": true},
        "count": {"type": "Integer", "default": 3},
        "map": {"type": "StringMap", "default": {}},
        "maps": {"type": "MapList", "default": []}
    },
    "mainSteps": [{"name": "s", "action": "aws:runShellScript", "inputs": {"runCommand": ["x"]}}]
}"#;

fn refusal(name: &str, items: &[&str]) -> String {
    let document = Document::parse(DECLARED).unwrap();
    document
        .bind(&supplied(&[(name, items)]))
        .unwrap_err()
        .to_string()
}

fn value(name: &str, items: &[&str]) -> ParameterValue {
    let document = Document::parse(DECLARED).unwrap();
    let bound = document.bind(&supplied(&[(name, items)])).unwrap();
    bound.value(name).unwrap().clone()
}

#[test]
fn an_unknown_parameter_is_refused_with_the_declared_ones() {
    assert_eq!(
        refusal("comands", &["x"]),
        "parameter comands: not a parameter of this document; \
         it has: port, level, name, hosts, force, count, map, maps"
    );
}

#[test]
fn a_required_parameter_that_is_missing_is_named() {
    let shell = library::find("AWS-RunShellScript").unwrap();
    let document = shell.default_version().document().unwrap();
    let message = |values| document.bind(&supplied(values)).unwrap_err().to_string();
    assert_eq!(
        message(&[]),
        "parameter commands: required, and not supplied"
    );
    assert_eq!(
        message(&[("commands", &[])]),
        "parameter commands: 0 items; at least 1 are required"
    );
}

#[test]
fn a_pattern_holds_for_the_whole_value() {
    for bad in ["0", "80 ", "800000", "80\n", "x80", ""] {
        assert_eq!(
            refusal("port", &[bad]),
            "parameter port: does not match the allowed pattern [1-9][0-9]{0,4}"
        );
    }
    assert_eq!(
        value("port", &["8080"]),
        ParameterValue::String("8080".to_owned())
    );
}

#[test]
fn every_rule_has_its_own_message() {
    assert_eq!(
        refusal("level", &["Low"]),
        "parameter level: not an allowed value; allowed: low, high"
    );
    assert_eq!(
        refusal("name", &["é"]),
        "parameter name: 1 characters; at least 2 are required"
    );
    assert_eq!(
        refusal("name", &["ééééé"]),
        "parameter name: 5 characters; at most 4 are allowed"
    );
    assert_eq!(
        refusal("hosts", &["a", "b", "c"]),
        "parameter hosts: 3 items; at most 2 are allowed"
    );
    assert_eq!(
        refusal("port", &["80", "81"]),
        "parameter port: 2 values given; exactly one is allowed"
    );
    assert_eq!(
        refusal("force", &["maybe"]),
        "parameter force: not readable as Boolean; give true or false"
    );
    assert_eq!(
        refusal("count", &["9223372036854775808"]),
        "parameter count: not readable as Integer; give a whole number"
    );
    assert_eq!(
        refusal("map", &["[]"]),
        "parameter map: not readable as StringMap; give one JSON object"
    );
    assert_eq!(
        refusal("name", &["a\0b"]),
        "parameter name: holds a NUL character; remove it"
    );
    assert_eq!(
        refusal("map", &[r#"{"a": "\u0000"}"#]),
        "parameter map: holds a NUL character; remove it"
    );
    assert_eq!(
        refusal("hosts", &["{{ ssm-secure:db:3 }}"]),
        "parameter hosts: '{{ssm-secure:db:3}}' is not supported in this version; \
         supply the value itself"
    );
}

#[test]
fn values_are_bounded_together() {
    assert_eq!(
        refusal("name", &[&"x".repeat(65_536)]),
        "parameters: 65541 bytes together; at most 65536 are allowed"
    );
    assert!(refusal("hosts", &[""; 70_000]).starts_with("parameters: 70005 bytes"));
}

#[test]
fn a_refusal_never_repeats_the_value() {
    for name in ["port", "level", "name", "force", "count", "map"] {
        assert!(
            !refusal(name, &["hunter2-secret"]).contains("hunter2"),
            "{name}"
        );
    }
}

#[test]
fn lists_of_maps_come_as_one_array_or_one_object_an_item() {
    let maps = value("maps", &[r#"[{"a": 1}, {"b": 2}]"#]);
    assert_eq!(maps, value("maps", &[r#"{"a": 1}"#, r#"{"b": 2}"#]));
    assert_eq!(maps.to_text(), r#"[{"a":1},{"b":2}]"#);
}

#[test]
fn the_execution_timeout_of_run_shell_script_is_bounded_to_two_days() {
    let shell = library::find("AWS-RunShellScript").unwrap();
    let document = shell.default_version().document().unwrap();
    for seconds in (0_u32..400).chain(9_990..10_010).chain(99_990..200_000) {
        let text = seconds.to_string();
        let values = supplied(&[("commands", &["x"]), ("executionTimeout", &[&text])]);
        let fits = document.bind(&values).is_ok();
        assert_eq!(fits, (1..=172_800).contains(&seconds), "{seconds}");
    }
}

#[test]
fn parameters_are_read_from_the_json_that_the_aws_cli_takes() {
    let values = supplied_from_json(r#"{"commands": ["a", "b"], "x": "y", "n": 3}"#).unwrap();
    assert_eq!(
        values,
        supplied(&[("commands", &["a", "b"]), ("x", &["y"]), ("n", &["3"])])
    );
    for bad in ["", "[]", "{\"a\": null}", "{\"a\": [[1]]}"] {
        assert!(supplied_from_json(bad).is_err(), "{bad}");
    }
}
