//! Every operation, every shape and every refusal, against the table.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{Kind, Shape};

fn refused(target: &str, body: &str) -> String {
    parse(target, body.as_bytes()).unwrap_err().to_string()
}

/// A shape's type as [`crate::shape::trace`] writes it.
fn wire(shape: &Shape) -> String {
    let of = |name: &str| wire(&model().shapes[name]);
    match &shape.kind {
        Kind::Structure(_) => shape.name.to_owned(),
        Kind::List(member) => format!("[{}]", of(member)),
        Kind::Map { value, .. } => format!("{{{}}}", of(value)),
        Kind::String => "string".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Long => "long".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Timestamp => "timestamp".to_owned(),
        Kind::Blob => "blob".to_owned(),
    }
}

#[test]
fn every_typed_shape_reads_exactly_the_members_of_the_table() {
    let (operations, structures) = traced();
    for [operation, input, output] in operations {
        let known = &model().operations[operation.as_str()];
        assert_eq!(
            (input.as_str(), output.as_str()),
            (known.input, known.output),
            "{operation}"
        );
    }
    let results: BTreeSet<_> = model()
        .operations
        .values()
        .map(|operation| operation.output)
        .collect();
    for (name, members) in structures {
        let declared: Vec<_> = model()
            .members(name)
            .iter()
            .map(|member| {
                let ty = wire(&model().shapes[member.shape]);
                // A reply's own lists are always sent, if need be empty, as the service sends them.
                let always = member.required || (results.contains(name) && ty.starts_with('['));
                (member.name, if always { ty } else { format!("?{ty}") })
            })
            .collect();
        assert_eq!(members, declared, "{name}");
    }
}

#[test]
fn every_operation_of_the_table_answers_by_its_name() {
    for covered in coverage() {
        let answer = parse(&format!("AmazonSSM.{}", covered.operation), b"[]").unwrap_err();
        let expected = if covered.has_behaviour {
            "SerializationException"
        } else {
            "UnsupportedOperationException"
        };
        assert_eq!(answer.code(), expected, "{}", covered.operation);
    }
    assert_eq!(
        coverage().filter(|covered| covered.has_behaviour).count(),
        25
    );
    assert_eq!(coverage().count(), 154);
}

#[test]
fn every_listed_refusal_names_a_member_that_exists_and_is_not_required() {
    for (operation, members) in REFUSED {
        assert!(WITH_BEHAVIOUR.contains(operation), "{operation}");
        for member in *members {
            let declared = model().members(model().operations[operation].input).iter();
            let found: Vec<_> = declared
                .filter(|declared| declared.name == *member)
                .collect();
            assert!(
                found.len() == 1 && !found[0].required,
                "{operation}.{member}"
            );
        }
    }
}

#[test]
fn a_member_that_nothing_honours_is_refused_by_name_unless_it_is_null() {
    assert_eq!(
        refused(
            "AmazonSSM.SendCommand",
            r#"{"DocumentName": "AWS-RunShellScript", "NotificationConfig": {"NotificationType": "Command"}}"#
        ),
        "ValidationException: 1 validation error detected: SendCommand's member 'NotificationConfig' is not supported \
         by Holdfast and was refused rather than ignored; leave it out"
    );
    let body = br#"{"DocumentName": "AWS-RunShellScript", "NotificationConfig": null, "InstanceIds": null}"#;
    let Ok(Call::SendCommand(request)) = parse("AmazonSSM.SendCommand", body) else {
        panic!("null is absent");
    };
    assert_eq!(
        (request.document_name.as_str(), request.instance_ids),
        ("AWS-RunShellScript", None)
    );
}

#[test]
fn a_switch_without_behaviour_may_be_off() {
    assert!(parse("AmazonSSM.GetInventorySchema", br#"{"SubType": false}"#).is_ok());
    let refused = refused("AmazonSSM.GetInventorySchema", r#"{"SubType": true}"#);
    assert!(
        refused.contains("GetInventorySchema's member 'SubType'"),
        "{refused}"
    );
}

#[test]
fn a_target_outside_the_model_is_unknown() {
    for target in [
        "",
        "SendCommand",
        "AmazonSSM.Reboot",
        "AmazonEC2.SendCommand",
        "AmazonSSM.SendCommand.x",
    ] {
        assert!(
            refused(target, "{}").starts_with("UnknownOperationException"),
            "{target}"
        );
    }
}

#[test]
fn a_body_that_is_not_json_or_too_large_is_refused() {
    assert!(refused("AmazonSSM.ListCommands", "{").starts_with("SerializationException"));
    assert!(refused("AmazonSSM.ListCommands", "").starts_with("SerializationException"));
    assert!(
        refused("AmazonSSM.ListCommands", &"[".repeat(100_000))
            .starts_with("SerializationException")
    );
    let large = parse("AmazonSSM.ListCommands", &vec![b' '; BODY_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(
        (large.code(), large.status()),
        ("RequestEntityTooLargeException", 413)
    );
}

#[test]
fn a_time_out_of_range_is_refused_and_not_misread() {
    let refused = refused(
        "AmazonSSM.CreateActivation",
        r#"{"IamRole": "r", "ExpirationDate": 1e18}"#,
    );
    assert!(
        refused.contains("not a time between 1970 and 9999"),
        "{refused}"
    );
}

#[test]
fn a_reply_leaves_out_what_is_absent_and_keeps_empty_lists() {
    let reply = Reply::from(ListCommandsResult {
        commands: vec![Command {
            command_id: Some("0c1f7f8e-5b5c-4d26-a0f0-7dbb6a9e9b57".to_owned()),
            requested_date_time: Some(crate::shape::Timestamp::from_unix_ms(1_500)),
            ..Command::default()
        }],
        next_token: None,
    });
    let json = reply.to_json().unwrap();
    assert_eq!(
        json.to_string(),
        r#"{"Commands":[{"CommandId":"0c1f7f8e-5b5c-4d26-a0f0-7dbb6a9e9b57","RequestedDateTime":1.5}]}"#
    );
    assert_eq!(model::check_reply(reply.operation(), &json), Ok(()));
    let empty = Reply::from(DescribeActivationsResult::default());
    assert_eq!(empty.to_json().unwrap(), json!({"ActivationList": []}));
}

/// Any JSON, small, with names that often are a request's own.
fn any_json() -> impl Strategy<Value = Json> {
    let names = prop_oneof![
        Just("InstanceIds"),
        Just("Targets"),
        Just("DocumentName"),
        Just("Parameters"),
        Just("Filters"),
        Just("Key"),
        Just("Values"),
        Just("MaxResults"),
        Just("Aggregators"),
        Just("x"),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,40}".prop_map(Json::from),
        Just(json!("mi-0123456789abcdef0")),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((names.clone(), inner), 0..5).prop_map(|members| Json::Object(
                members
                    .into_iter()
                    .map(|(n, v)| (n.to_owned(), v))
                    .collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_answered_and_never_panics(request in any_json(), operation in 0_usize..25) {
        let target = format!("AmazonSSM.{}", WITH_BEHAVIOUR[operation]);
        let body = request.to_string();
        if let Err(error) = parse(&target, body.as_bytes()) {
            prop_assert!(["ValidationException", "SerializationException"].contains(&error.code()));
            prop_assert!(error.message().len() < 8_192);
        }
    }

    #[test]
    fn any_mutation_of_a_good_request_is_answered(at in 0_usize..200, byte: u8) {
        let mut body = br#"{"InstanceIds":["mi-0123456789abcdef0"],"DocumentName":"AWS-RunShellScript","Parameters":{"commands":["id"]},"TimeoutSeconds":60,"Targets":[{"Key":"tag:a","Values":["b"]}],"MaxErrors":"10%"}"#.to_vec();
        let at = at % body.len();
        body[at] = byte;
        if let Ok(call) = parse("AmazonSSM.SendCommand", &body) {
            prop_assert_eq!(call.operation(), "SendCommand");
        }
    }
}
