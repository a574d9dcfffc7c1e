//! Lists of commands and invocations: filters and pages.

use serde_json::{Value as Json, json};

use super::client::Fixture;
use super::fleet::node_id;

#[tokio::test]
async fn commands_and_invocations_are_filtered() {
    let api = Fixture::new().await;
    let (one, two) = (api.register(1).await, api.register(2).await);
    let done = api.send_to(&[one, two]).await;
    api.finish(&done, one, 0, "", "").await;
    api.finish(&done, two, 0, "", "").await;
    let scan = json!({
        "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": [one.to_string()],
        "Parameters": {"Operation": ["Scan"]},
    });
    api.ok("SendCommand", &scan).await;
    let count = async |operation: &str, list: &str, request: Json| {
        api.ok(operation, &request).await[list]
            .as_array()
            .unwrap()
            .len()
    };
    for (request, commands, invocations) in [
        (json!({}), 2, 3),
        (json!({"CommandId": done}), 1, 2),
        (json!({"InstanceId": one.to_string()}), 2, 2),
        (json!({"InstanceId": two.to_string()}), 1, 1),
        (
            json!({"Filters": [{"key": "Status", "value": "Success"}]}),
            1,
            2,
        ),
        (
            json!({"Filters": [{"key": "Status", "value": "Failed"}]}),
            0,
            0,
        ),
        (
            json!({"Filters": [{"key": "DocumentName", "value": "AWS-RunPatchBaseline"}]}),
            1,
            1,
        ),
        (
            json!({"Filters": [{"key": "InvokedAfter", "value": "2026-01-15T12:00:00Z"}]}),
            2,
            3,
        ),
        (
            json!({"Filters": [{"key": "InvokedAfter", "value": "2026-01-15T12:00:01Z"}]}),
            0,
            0,
        ),
        (
            json!({"Filters": [{"key": "InvokedBefore", "value": "2026-01-15T12:00:01Z"}]}),
            2,
            3,
        ),
    ] {
        assert_eq!(
            count("ListCommands", "Commands", request.clone()).await,
            commands,
            "{request}"
        );
        let found = count(
            "ListCommandInvocations",
            "CommandInvocations",
            request.clone(),
        )
        .await;
        assert_eq!(found, invocations, "{request}");
    }
    for (stage, found) in [("Executing", 1), ("Complete", 1)] {
        let request = json!({"Filters": [{"key": "ExecutionStage", "value": stage}]});
        assert_eq!(
            count("ListCommands", "Commands", request).await,
            found,
            "{stage}"
        );
    }
    let unknown = json!({"CommandId": "00000000-0000-4000-8000-000000000000"});
    assert_eq!(
        count("ListCommandInvocations", "CommandInvocations", unknown).await,
        0
    );
    for operation in ["ListCommands", "ListCommandInvocations"] {
        for (request, code) in [
            (json!({"CommandId": "x".repeat(36)}), "InvalidCommandId"),
            (
                json!({"InstanceId": "i-0123456789abcdef0"}),
                "InvalidInstanceId",
            ),
            (
                json!({"InstanceId": node_id(9).to_string()}),
                "InvalidInstanceId",
            ),
            (
                json!({"Filters": [{"key": "Status", "value": "Odd"}]}),
                "InvalidFilterKey",
            ),
            (
                json!({"Filters": [{"key": "InvokedAfter", "value": "yesterday"}]}),
                "InvalidFilterKey",
            ),
            (
                json!({"Filters": [{"key": "Status", "value": "Failed"}, {"key": "Status", "value": "Success"}]}),
                "InvalidFilterKey",
            ),
            (json!({"NextToken": "AAAA"}), "InvalidNextToken"),
        ] {
            assert_eq!(
                api.refused(operation, &request).await,
                code,
                "{operation} {request}"
            );
        }
    }
}

#[tokio::test]
async fn pages_of_commands_and_invocations_hold_each_once() {
    let api = Fixture::new().await;
    let nodes = [api.register(1).await, api.register(2).await];
    for _ in 0..5 {
        api.send_to(&nodes).await;
    }
    for (operation, list, total) in [
        ("ListCommands", "Commands", 5_usize),
        ("ListCommandInvocations", "CommandInvocations", 10),
    ] {
        let whole = api.ok(operation, &json!({})).await[list].take();
        let (mut paged, mut token, mut pages) = (Vec::new(), Json::Null, 0);
        loop {
            let request = json!({"MaxResults": 3, "NextToken": token});
            let mut page = api.ok(operation, &request).await;
            paged.extend(page[list].as_array().unwrap().clone());
            token = page["NextToken"].take();
            pages += 1;
            if token.is_null() {
                break;
            }
        }
        assert_eq!((paged.len(), pages), (total, total.div_ceil(3)));
        assert_eq!(Json::Array(paged), whole);
    }
}
