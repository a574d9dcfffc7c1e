//! Each way in which a text is no document, and the place and remedy its error names.
//! Never accepts what it does not understand.

use crate::Document;

fn refusal(text: &str) -> String {
    Document::parse(text).unwrap_err().to_string()
}

/// A document of schema 2.2 with these parameters and steps, in YAML's flow form.
fn document(parameters: &str, steps: &str) -> String {
    format!("schemaVersion: '2.2'\nparameters: {{{parameters}}}\nmainSteps: [{steps}]\n")
}

fn step(more: &str) -> String {
    document(
        "",
        &format!("{{name: a, action: 'aws:runShellScript', {more}}}"),
    )
}

#[test]
fn the_place_of_an_unknown_member_is_named_with_what_is_allowed() {
    assert_eq!(
        refusal("{\"schemaVersion\": \"2.2\", \"mainStep\": []}"),
        "mainSteps: missing; it is required"
    );
    assert_eq!(
        refusal(&step("inputs: {runCommands: [x]}")),
        "mainSteps[0].inputs.runCommand: missing; it is required"
    );
    assert_eq!(
        refusal(&step("inputs: {runCommand: [x], shell: bash}")),
        "mainSteps[0].inputs.shell: unknown; allowed here: finallyStep, onFailure, onSuccess, \
         runCommand, timeoutSeconds, workingDirectory"
    );
    assert_eq!(
        refusal(&step("isEnd: true, inputs: {runCommand: [x]}")),
        "mainSteps[0].isEnd: unknown; allowed here: action, description, finallyStep, inputs, \
         name, onFailure, onSuccess, precondition, timeoutSeconds"
    );
}

#[test]
fn schemas_and_actions_outside_this_version_are_named() {
    assert_eq!(
        refusal("schemaVersion: '0.3'\nmainSteps: []\n"),
        "schemaVersion: '0.3' is not supported; use one of 1.2, 2.0, 2.2"
    );
    assert_eq!(
        refusal(&document("", "{name: a, action: 'aws:sleep', inputs: {}}")),
        "mainSteps[0].action: 'aws:sleep' is not allowed; allowed: aws:runShellScript, \
         aws:runPowerShellScript, aws:softwareInventory, holdfast:patchBaseline"
    );
    assert_eq!(
        refusal("schemaVersion: '1.2'\nruntimeConfig: {'aws:psModule': {properties: []}}\n"),
        "runtimeConfig.aws:psModule: 'aws:psModule' is not allowed; allowed: aws:runShellScript, \
         aws:runPowerShellScript, aws:softwareInventory, holdfast:patchBaseline"
    );
}

#[test]
fn an_unquoted_schema_version_is_understood() {
    let text =
        "schemaVersion: 2.2\nmainSteps: [{name: a, action: 'aws:softwareInventory', inputs: {}}]";
    assert!(Document::parse(text).is_ok());
}

#[test]
fn types_of_values_are_named() {
    assert_eq!(refusal("[]"), "document: is a list; expected a map");
    assert_eq!(refusal(""), "document: is empty; expected a map");
    assert_eq!(
        refusal(&step("inputs: {runCommand: [x, [y]]}")),
        "mainSteps[0].inputs.runCommand[1]: is a list; expected a string"
    );
    assert_eq!(
        refusal("schemaVersion: '2.2'\nmainSteps: []\n"),
        "mainSteps: is a list; expected a list of one step or more"
    );
}

#[test]
fn values_written_out_are_checked_when_the_document_is_read() {
    assert_eq!(
        refusal(&step("inputs: {runCommand: [x], timeoutSeconds: 172801}")),
        "mainSteps[0].inputs.timeoutSeconds: '172801' is not allowed; \
         allowed: whole seconds from 1 to 172800"
    );
    assert_eq!(
        refusal(&document(
            "",
            "{name: a, action: 'holdfast:patchBaseline', inputs: {operation: scan}}"
        )),
        "mainSteps[0].inputs.operation: 'scan' is not allowed; allowed: Scan, Install"
    );
    assert_eq!(
        refusal(&step("onFailure: abort, inputs: {runCommand: [x]}")),
        "mainSteps[0].onFailure: 'abort' is not allowed; allowed: exit, successAndExit"
    );
    assert_eq!(
        refusal(&step(
            "onFailure: exit, inputs: {runCommand: [x], onFailure: exit}"
        )),
        "mainSteps[0].inputs.onFailure: also given at mainSteps[0].onFailure; keep one"
    );
}

#[test]
fn steps_are_named_once_and_a_final_step_is_the_last() {
    let one = "{name: a, action: 'aws:softwareInventory', inputs: {}}";
    assert_eq!(
        refusal(&document("", &format!("{one}, {one}"))),
        "mainSteps[1].name: 'a' is not allowed; allowed: a name that no other step has"
    );
    let last = "{name: b, action: 'aws:softwareInventory', inputs: {finallyStep: true}}";
    assert_eq!(
        refusal(&document("", &format!("{last}, {one}"))),
        "mainSteps[1]: 'a' is not allowed; allowed: no step after 'b', which is the finallyStep"
    );
    for bad in ["../x", ".x", "a/b", "''", "'a b'"] {
        let text = document(
            "",
            &format!("{{name: {bad}, action: 'aws:softwareInventory', inputs: {{}}}}"),
        );
        assert!(refusal(&text).starts_with("mainSteps[0].name: "), "{bad}");
    }
}

#[test]
fn preconditions_compare_the_platform_or_a_parameter_and_only_in_schema_2_2() {
    let on = |operands: &str| {
        step(&format!(
            "precondition: {{StringEquals: {operands}}}, inputs: {{runCommand: [x]}}"
        ))
    };
    assert!(Document::parse(on("[platformType, MacOS]")).is_ok());
    assert_eq!(
        refusal(&on("[platformType, linux]")),
        "mainSteps[0].precondition.StringEquals[1]: 'linux' is not allowed; \
         allowed: Linux, MacOS, Windows"
    );
    assert_eq!(
        refusal(&on("[a, b]")),
        "mainSteps[0].precondition.StringEquals: 'two constants' is not allowed; \
         allowed: platformType or a parameter on one side"
    );
    assert_eq!(
        refusal(&on("[platformType, Linux, Windows]")),
        "mainSteps[0].precondition.StringEquals: 3 entries; at most 2 are allowed"
    );
    let text = on("[platformType, Linux]").replace("2.2", "2.0");
    assert!(refusal(&text).starts_with("mainSteps[0].precondition: unknown; "));
}

#[test]
fn references_are_resolved_or_refused_by_name() {
    assert_eq!(
        refusal(&step("inputs: {runCommand: ['echo {{ ssm:db }}']}")),
        "mainSteps[0].inputs.runCommand[0]: '{{ssm:db}}' is not supported in this version; \
         use a parameter of the document"
    );
    assert_eq!(
        refusal(&step(
            "inputs: {runCommand: [x], workingDirectory: '{{ dri }}'}"
        )),
        "mainSteps[0].inputs.workingDirectory: '{{dri}}' names no parameter of this document; \
         declared: none"
    );
    let list = "{name: a, action: 'aws:runShellScript', inputs: {runCommand: [x], workingDirectory: '{{ l }}'}}";
    assert_eq!(
        refusal(&document("l: {type: StringList}", list)),
        "mainSteps[0].inputs.workingDirectory: parameter 'l' is a StringList; \
         a single value is needed here"
    );
}

#[test]
fn declarations_are_checked() {
    let one = "{name: a, action: 'aws:softwareInventory', inputs: {}}";
    let declared = |parameter: &str| refusal(&document(&format!("p: {{{parameter}}}"), one));
    assert_eq!(
        declared("type: 'List<String>'"),
        "parameters.p.type: 'List<String>' is not allowed; \
         allowed: String, StringList, Boolean, Integer, MapList, StringMap"
    );
    assert_eq!(
        declared("default: x"),
        "parameters.p.type: missing; it is required"
    );
    for pattern in ["(", "a)|(b", "(?=x)"] {
        assert_eq!(
            declared(&format!("type: String, allowedPattern: '{pattern}'")),
            "parameters.p.allowedPattern: not a usable regular expression"
        );
    }
    assert_eq!(
        declared("type: String, allowedValues: [a, b], default: c"),
        "parameters.p.default: not an allowed value; allowed: a, b"
    );
    assert_eq!(
        declared("type: StringList, interpolationType: ENV_VAR"),
        "parameters.p.interpolationType: 'ENV_VAR' is not allowed; \
         allowed: ENV_VAR on String, Boolean and Integer parameters only"
    );
    assert_eq!(
        declared("type: String, maxChars: -1"),
        "parameters.p.maxChars: '-1' is not allowed; allowed: a whole number, 0 or more"
    );
    assert!(refusal(&document("'a b': {type: String}", one)).starts_with("parameters.a b: "));
}

#[test]
fn counts_of_steps_and_parameters_are_bounded() {
    let steps: Vec<String> = (0..101)
        .map(|n| format!("{{name: s{n}, action: 'aws:softwareInventory', inputs: {{}}}}"))
        .collect();
    assert_eq!(
        refusal(&document("", &steps.join(", "))),
        "mainSteps: 101 entries; at most 100 are allowed"
    );
    let parameters: Vec<String> = (0..201)
        .map(|n| format!("p{n}: {{type: String}}"))
        .collect();
    assert_eq!(
        refusal(&document(&parameters.join(", "), "{}")),
        "parameters: 201 entries; at most 200 are allowed"
    );
}
