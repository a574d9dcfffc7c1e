//! Mutated HTTP requests, mutated before they are signed, so that they reach the handlers.
//! Never expects more than an answer: a refusal by name or a result, no crash, no growth.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::{ApiConnection, Random, World, cases, mutate, resident_bytes, say};
use serde_json::{Value, json};

const MEBIBYTE: u64 = 1 << 20;
/// What a run of any length may add to the bridge's memory once it is warm.
const GROWTH_MAX: u64 = 8 * MEBIBYTE;

/// A valid call of each group of operations.
fn calls(node: &str) -> Vec<(&'static str, Value)> {
    let tag = json!({"Key": "tag:Environment", "Values": ["test", "demo"]});
    vec![
        (
            "SendCommand",
            json!({"DocumentName": "AWS-RunShellScript", "Targets": [tag], "TimeoutSeconds": 600,
            "Parameters": {"commands": ["#"], "executionTimeout": ["60"]}, "MaxConcurrency": "10%", "MaxErrors": "1"}),
        ),
        (
            "SendCommand",
            json!({"DocumentName": "AWS-RunPatchBaseline", "InstanceIds": [node], "Comment": "x",
            "Parameters": {"Operation": ["Scan"]}}),
        ),
        (
            "ListCommands",
            json!({"MaxResults": 5, "Filters": [{"key": "Status", "value": "Success"}]}),
        ),
        (
            "ListCommandInvocations",
            json!({"InstanceId": node, "Details": true, "MaxResults": 5}),
        ),
        (
            "GetCommandInvocation",
            json!({"CommandId": "11111111-2222-4333-8444-555555555555", "InstanceId": node}),
        ),
        (
            "CancelCommand",
            json!({"CommandId": "11111111-2222-4333-8444-555555555555", "InstanceIds": [node]}),
        ),
        (
            "CreateActivation",
            json!({"IamRole": "r", "RegistrationLimit": 3, "DefaultInstanceName": "n",
            "Tags": [{"Key": "a", "Value": "b"}]}),
        ),
        (
            "DescribeActivations",
            json!({"MaxResults": 5, "Filters": [{"FilterKey": "IamRole", "FilterValues": ["r"]}]}),
        ),
        (
            "DescribeInstanceInformation",
            json!({"Filters": [{"Key": "InstanceIds", "Values": [node]}], "MaxResults": 5}),
        ),
        (
            "AddTagsToResource",
            json!({"ResourceType": "ManagedInstance", "ResourceId": node, "Tags": [{"Key": "a", "Value": "b"}]}),
        ),
        (
            "ListTagsForResource",
            json!({"ResourceType": "ManagedInstance", "ResourceId": node}),
        ),
        (
            "ListDocuments",
            json!({"Filters": [{"Key": "Owner", "Values": ["Amazon"]}], "MaxResults": 5}),
        ),
        (
            "GetDocument",
            json!({"Name": "AWS-RunShellScript", "DocumentVersion": "1", "DocumentFormat": "JSON"}),
        ),
        (
            "GetInventory",
            json!({"Filters": [{"Key": "AWS:Application.Name", "Values": ["a"], "Type": "BeginWith"}], "MaxResults": 5}),
        ),
        (
            "ListInventoryEntries",
            json!({"InstanceId": node, "TypeName": "AWS:Application", "MaxResults": 5}),
        ),
        (
            "DescribeInstancePatchStates",
            json!({"InstanceIds": [node], "MaxResults": 10}),
        ),
        (
            "DescribeInstancePatches",
            json!({"InstanceId": node, "Filters": [{"Key": "State", "Values": ["Missing"]}]}),
        ),
        (
            "ListComplianceItems",
            json!({"ResourceIds": [node], "Filters": [{"Key": "Severity", "Values": ["HIGH"], "Type": "EQUAL"}]}),
        ),
    ]
}

/// Sends so many mutated requests; how many were answered well and how many refused.
fn storm(
    world: &World,
    random: &mut Random,
    calls: &[(&str, Value)],
    count: usize,
) -> (usize, usize) {
    let mut connection = ApiConnection::open(&world.api).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..count {
        let (operation, input) = random.of_these(calls).unwrap();
        let body = mutate::json(random, input);
        let target = format!("AmazonSSM.{operation}");
        let answer = connection.exchange(&target, &body);
        let Ok((status, answer)) = answer else {
            // A request that HTTP itself refuses may end its connection; the bridge must go on.
            connection = ApiConnection::open(&world.api).unwrap();
            continue;
        };
        let shown = String::from_utf8_lossy(&body);
        match status {
            200 => accepted += 1,
            400..=499 => {
                let error: Value = serde_json::from_slice(&answer).expect("a refusal is JSON");
                assert!(error["__type"].is_string(), "{operation} {shown}: {error}");
                refused += 1;
            }
            other => panic!(
                "{operation} {shown}: {other} {}",
                String::from_utf8_lossy(&answer)
            ),
        }
    }
    (accepted, refused)
}

#[test]
fn mutated_requests_are_answered_and_leave_no_trace_in_memory() {
    let count = cases(3_000, 100_000);
    let mut random = Random::of("mutated_requests_are_answered_and_leave_no_trace_in_memory");
    let world = World::start().unwrap();
    let nodes = world
        .nodes(1, &holdfast_e2e::AgentOptions::default())
        .unwrap();
    let calls = calls(&nodes[0].id);
    for (operation, input) in &calls {
        // What is mutated is valid, or refused only because the thing it names is not there.
        let (status, answer) = world
            .api
            .send(operation, input.to_string().as_bytes())
            .unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            status < 500 && !text.contains("Validation"),
            "{operation}: {text}"
        );
    }
    storm(&world, &mut random, &calls, (count / 4).max(1000));
    let bridge = world.bridge.id();
    let before = resident_bytes(bridge).unwrap();
    let (accepted, refused) = storm(&world, &mut random, &calls, count);
    let after = resident_bytes(bridge).unwrap();
    say(format!(
        "{count} mutated requests: {accepted} accepted, {refused} refused; resident {:.1} MiB, then {:.1} MiB",
        before as f64 / MEBIBYTE as f64,
        after as f64 / MEBIBYTE as f64
    ));
    assert!(
        refused > count / 4 && accepted > 0,
        "the mutations miss the handlers"
    );
    assert!(
        after.saturating_sub(before) < GROWTH_MAX,
        "{before} to {after} bytes"
    );
    world
        .api
        .call("DescribeInstanceInformation", &json!({}))
        .unwrap();
}
