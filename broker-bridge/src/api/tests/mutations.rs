//! Requests mutated before they are signed, so that they reach the handlers.
//! `HOLDFAST_CASES` sets how many, `HOLDFAST_SEED` repeats a run; both are printed.

use holdfast_aws_api::coverage;
use holdfast_aws_api::model::check_reply;
use serde_json::{Value as Json, json};

use super::client::{Fixture, Signer};

const CASES_DEFAULT: u64 = 2000;

/// SplitMix64, so that a seed means the same run on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Requests that are answered with a reply, for each operation with behaviour.
fn seeds(node: &str, command: &str, activation: &str) -> Vec<(&'static str, Json)> {
    let tagged = json!({"ResourceType": "ManagedInstance", "ResourceId": node});
    let with = |mut request: Json, member: &str, value: Json| {
        request[member] = value;
        request
    };
    let tag = json!([{"Key": "ring", "Value": "1"}]);
    vec![
        (
            "CreateActivation",
            json!({"IamRole": "edge", "RegistrationLimit": 2, "Description": "d", "Tags": tag}),
        ),
        (
            "DescribeActivations",
            json!({"Filters": [{"FilterKey": "IamRole", "FilterValues": ["edge"]}], "MaxResults": 5}),
        ),
        ("DeleteActivation", json!({"ActivationId": activation})),
        (
            "DescribeInstanceInformation",
            json!({"Filters": [{"Key": "PingStatus", "Values": ["Online"]}], "MaxResults": 5}),
        ),
        (
            "DescribeInstanceInformation",
            json!({"InstanceInformationFilterList": [{"key": "IamRole", "valueSet": ["a"]}]}),
        ),
        (
            "DeregisterManagedInstance",
            json!({"InstanceId": "mi-0000000000000000f"}),
        ),
        (
            "UpdateManagedInstanceRole",
            json!({"InstanceId": node, "IamRole": "edge"}),
        ),
        ("AddTagsToResource", with(tagged.clone(), "Tags", tag)),
        ("ListTagsForResource", tagged.clone()),
        (
            "RemoveTagsFromResource",
            with(tagged, "TagKeys", json!(["ring"])),
        ),
        (
            "SendCommand",
            json!({
                "DocumentName": "AWS-RunShellScript", "InstanceIds": [node], "TimeoutSeconds": 600, "Comment": "c",
                "MaxConcurrency": "10%", "MaxErrors": "1", "Parameters": {"commands": ["uptime"], "executionTimeout": ["60"]},
            }),
        ),
        (
            "SendCommand",
            json!({
                "DocumentName": "AWS-RunPatchBaseline", "Targets": [{"Key": "tag:site", "Values": ["south"]}],
                "DocumentVersion": "$DEFAULT", "Parameters": {"Operation": ["Scan"]},
            }),
        ),
        (
            "ListCommands",
            json!({"CommandId": command, "Filters": [{"key": "InvokedAfter", "value": "2026-01-01T00:00:00Z"}]}),
        ),
        (
            "ListCommandInvocations",
            json!({"InstanceId": node, "Details": true, "MaxResults": 3}),
        ),
        (
            "GetCommandInvocation",
            json!({"CommandId": command, "InstanceId": node, "PluginName": "aws:runShellScript"}),
        ),
        (
            "CancelCommand",
            json!({"CommandId": command, "InstanceIds": [node]}),
        ),
        (
            "ListDocuments",
            json!({"Filters": [{"Key": "Owner", "Values": ["Amazon"]}], "MaxResults": 2}),
        ),
        (
            "DescribeDocument",
            json!({"Name": "AWS-RunShellScript", "DocumentVersion": "1"}),
        ),
        (
            "GetDocument",
            json!({"Name": "AWS-RunShellScript", "DocumentFormat": "YAML"}),
        ),
        (
            "GetInventory",
            json!({"Filters": [{"Key": "AWS:Application.Name", "Values": ["a"], "Type": "BeginWith"}]}),
        ),
        (
            "ListInventoryEntries",
            json!({"InstanceId": node, "TypeName": "AWS:Application", "MaxResults": 2}),
        ),
        ("GetInventorySchema", json!({"TypeName": "AWS:Service"})),
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
            json!({"ResourceIds": [node], "ResourceTypes": ["ManagedInstance"]}),
        ),
        (
            "ListComplianceSummaries",
            json!({"Filters": [{"Key": "Status", "Values": ["COMPLIANT"], "Type": "EQUAL"}]}),
        ),
        (
            "ListResourceComplianceSummaries",
            json!({"MaxResults": 1, "NextToken": ""}),
        ),
    ]
}

/// Values that tend to find what was not thought of.
fn odd(random: &mut Random) -> Json {
    const TEXTS: &[&str] = &[
        "",
        "\0",
        "'; DROP TABLE nodes; --",
        "\u{202e}ünïcödé",
        "mi-0123456789abcdef0",
        "i-0123456789abcdef0",
        "00000000-0000-4000-8000-000000000000",
        "$LATEST",
        "100%",
        "0",
        "-1",
        "9223372036854775808",
        "tag:",
        "AWS:",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "arn:aws:ssm:::document/",
        "%",
        "{{ commands }}",
    ];
    match random.below(12) {
        0 => Json::Null,
        1 => json!(true),
        2 => json!(random.next()),
        3 => json!(-1),
        4 => json!(i64::MIN),
        5 => json!(1e308),
        6 => json!([]),
        7 => json!({}),
        8 => json!([[[{}]]]),
        9 => json!("x".repeat(random.below(5000))),
        _ => json!(TEXTS[random.below(TEXTS.len())]),
    }
}

/// Changes one place somewhere in a request.
fn mutate(value: &mut Json, random: &mut Random) {
    let here = random.below(4) == 0;
    match value {
        Json::Object(members) if !here && !members.is_empty() => {
            let at = random.below(members.len());
            if let Some((_, member)) = members.iter_mut().nth(at) {
                mutate(member, random);
            }
        }
        Json::Object(members) if random.below(2) == 0 => {
            let known = [
                "NextToken",
                "MaxResults",
                "Filters",
                "InstanceIds",
                "Parameters",
                "Nonsense",
            ];
            members.insert(known[random.below(known.len())].to_owned(), odd(random));
        }
        Json::Array(items) if !here && !items.is_empty() => {
            let at = random.below(items.len());
            mutate(&mut items[at], random);
        }
        Json::Array(items) if random.below(2) == 0 => {
            let item = items.first().cloned().unwrap_or_else(|| odd(random));
            let copies = random.below(60);
            items.extend(std::iter::repeat_n(item, copies));
        }
        Json::String(text) if random.below(2) == 0 => {
            let at = random.below(text.chars().count() + 1);
            let letter =
                char::from_u32(u32::try_from(random.below(0x3000)).unwrap()).unwrap_or('?');
            *text = text
                .chars()
                .take(at)
                .chain([letter])
                .chain(text.chars().skip(at + 1))
                .collect();
        }
        Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::String(_)
        | Json::Array(_)
        | Json::Object(_) => *value = odd(random),
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn no_signed_request_brings_the_bridge_to_a_fault() {
    let cases = setting("HOLDFAST_CASES").unwrap_or(CASES_DEFAULT);
    let fresh = || u64::from(std::process::id()) ^ (jiff::Timestamp::now().as_second() as u64);
    let seed = setting("HOLDFAST_SEED").unwrap_or_else(fresh);
    println!("HOLDFAST_SEED={seed} HOLDFAST_CASES={cases}");
    let api = Fixture::new().await;
    let node = api.register(1).await.to_string();
    let send = json!({
        "DocumentName": "AWS-RunShellScript", "InstanceIds": [node], "Parameters": {"commands": ["true"]},
    });
    let command = api.ok("SendCommand", &send).await["Command"]["CommandId"].take();
    let made = api
        .ok("CreateActivation", &json!({"IamRole": "edge"}))
        .await;
    let seeds = seeds(
        &node,
        command.as_str().unwrap(),
        made["ActivationId"].as_str().unwrap(),
    );
    for operation in coverage().filter(|operation| operation.has_behaviour) {
        assert!(
            seeds.iter().any(|(name, _)| *name == operation.operation),
            "{}",
            operation.operation
        );
    }
    let mut random = Random(seed);
    let mut refused = 0_u64;
    for case in 0..cases {
        let (operation, request) = &seeds[random.below(seeds.len())];
        let mut request = request.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut request, &mut random);
        }
        let mut body = request.to_string().into_bytes();
        if random.below(20) == 0 && !body.is_empty() {
            let at = random.below(body.len());
            body[at] = u8::try_from(random.below(256)).unwrap();
        }
        let answer = api.send(Signer::post(operation, body).signed()).await;
        assert!(
            answer.status < 500,
            "seed {seed}, case {case}: {operation} {request} is answered {}",
            String::from_utf8_lossy(&answer.bytes)
        );
        if answer.status == 200 {
            let sound = check_reply(operation, &answer.json());
            assert_eq!(
                sound,
                Ok(()),
                "seed {seed}, case {case}: {operation} {request}"
            );
        } else {
            refused += 1;
        }
    }
    assert!(
        refused > cases / 3 && refused < cases,
        "{refused} of {cases} were refused"
    );
}
