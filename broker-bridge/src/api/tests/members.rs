//! Each top-level member of each request is honoured or refused by its name: of two values of a member, with all else
//! the same, the outcomes differ. Complete by test: a new operation with behaviour, or a new model, needs its lines.

use std::collections::BTreeSet;

use holdfast_aws_api::coverage;
use holdfast_aws_api::model::model;
use holdfast_documents::library;
use serde_json::{Value as Json, json};

use super::client::{Fixture, NOW_MS};
use super::reports::table;

/// A member and two values of it; null stands for an absent one.
type Values = (&'static str, Json, Json);

/// Operation, request that succeeds, and the values of each member that is not refused by name.
type Case = (&'static str, Json, Vec<Values>);

/// Members whose working no reply can show in a small world, and the test that shows it.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "GetInventorySchema",
        "MaxResults",
        "page::size: there are fewer types than the smallest page holds",
    ),
    (
        "ListComplianceSummaries",
        "MaxResults",
        "page::size: there is one type of compliance, and each page holds one",
    ),
];

/// A value that the model allows, for each member that is refused by name.
fn refused() -> Vec<(&'static str, &'static str, Json)> {
    let role = "arn:aws:iam::123456789012:role/notify";
    vec![
        (
            "CreateActivation",
            "RegistrationMetadata",
            json!([{"Key": "a", "Value": "b"}]),
        ),
        ("SendCommand", "OutputS3Region", json!("eu-central-1")),
        ("SendCommand", "OutputS3BucketName", json!("bucket")),
        ("SendCommand", "OutputS3KeyPrefix", json!("prefix")),
        ("SendCommand", "ServiceRoleArn", json!(role)),
        (
            "SendCommand",
            "NotificationConfig",
            json!({"NotificationType": "Command"}),
        ),
        (
            "SendCommand",
            "CloudWatchOutputConfig",
            json!({"CloudWatchOutputEnabled": true}),
        ),
        (
            "SendCommand",
            "AlarmConfiguration",
            json!({"Alarms": [{"Name": "alarm"}]}),
        ),
        (
            "GetInventory",
            "Aggregators",
            json!([{"Expression": "AWS:InstanceInformation.PlatformType"}]),
        ),
        ("GetInventorySchema", "Aggregator", json!(true)),
        ("GetInventorySchema", "SubType", json!(true)),
    ]
}

/// What the requests are about.
struct Fleet {
    api: Fixture,
    /// A node that was scanned, with eleven patches, as each of the eleven nodes was.
    scanned: String,
    /// Two nodes with inventory.
    stocked: [String; 2],
    /// Nodes that are cancelled on, deregistered and so on.
    spare: String,
    /// Two commands, sent to [`Self::stocked`].
    commands: [String; 2],
    activation: String,
}

impl Fleet {
    async fn new() -> Self {
        let api = Fixture::new().await;
        let scanned = api.with_scan(1, true).await;
        let rows: Vec<String> = (0..11).map(|n| format!("package-{n:02}")).collect();
        let rows: Vec<[&str; 3]> = rows
            .iter()
            .map(|name| [name, "Important", "Missing"])
            .collect();
        let rows: Vec<&[&str]> = rows.iter().map(<[&str; 3]>::as_slice).collect();
        let patches = table(&["Title", "Severity", "State"], &rows);
        api.report(scanned, "AWS:PatchState", patches).await;
        for number in 2..=11 {
            api.with_scan(number, false).await;
        }
        let stocked = [
            api.with_inventory(12, "5.2").await,
            api.with_inventory(13, "5.3").await,
        ];
        let spare = api.register(14).await.to_string();
        let commands = [
            api.send_to(&stocked).await,
            api.send_to(&stocked[..1]).await,
        ];
        let made = api
            .ok("CreateActivation", &json!({"IamRole": "spare"}))
            .await;
        Self {
            activation: made["ActivationId"].as_str().unwrap().to_owned(),
            scanned: scanned.to_string(),
            stocked: stocked.map(|node| node.to_string()),
            spare,
            commands,
            api,
        }
    }

    /// What a request comes to: the error's code, or what can be seen of it afterwards, without what is random.
    async fn outcome(&self, operation: &str, request: &Json) -> Json {
        let answer = self.api.call(operation, request).await;
        let reply = answer.json();
        if answer.status != 200 {
            assert_eq!(answer.status, 400, "{operation} {request}: {reply}");
            return json!([answer.code(), reply["Message"], reply["message"]]);
        }
        let seen = match operation {
            "CreateActivation" => {
                let id = &reply["ActivationId"];
                let request =
                    json!({"Filters": [{"FilterKey": "ActivationIds", "FilterValues": [id]}]});
                self.api.ok("DescribeActivations", &request).await
            }
            "AddTagsToResource" | "RemoveTagsFromResource" => {
                let request = json!({"ResourceType": request["ResourceType"], "ResourceId": request["ResourceId"]});
                self.api.ok("ListTagsForResource", &request).await
            }
            "UpdateManagedInstanceRole" => {
                let request = json!({"Filters": [{"Key": "InstanceIds", "Values": [self.spare]}]});
                self.api.ok("DescribeInstanceInformation", &request).await
            }
            "CancelCommand" => {
                let request = json!({"CommandId": request["CommandId"]});
                self.api.ok("ListCommandInvocations", &request).await
            }
            _ => reply,
        };
        without_random(seen)
    }
}

/// A reply without the ids and the tokens that no two have alike.
fn without_random(mut reply: Json) -> Json {
    match &mut reply {
        Json::Object(members) => {
            for name in ["ActivationId", "CommandId", "NextToken"] {
                if let Some(value) = members.get_mut(name) {
                    *value = Json::Bool(value.is_string());
                }
            }
            for value in members.values_mut() {
                *value = without_random(value.take());
            }
        }
        Json::Array(items) => {
            for item in items {
                *item = without_random(item.take());
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
    reply
}

/// No token that was ever given.
fn token() -> Values {
    ("NextToken", Json::Null, json!("AAAA"))
}

fn page(size: u32) -> Values {
    ("MaxResults", Json::Null, json!(size))
}

fn fleet_cases(fleet: &Fleet) -> Vec<Case> {
    let unknown = "mi-0000000000000000f";
    let node = fleet.spare.as_str();
    let tagged = json!({"ResourceType": "ManagedInstance", "ResourceId": node});
    let with = |member: &str, value: Json| {
        let mut request = tagged.clone();
        request[member] = value;
        request
    };
    let tag = |value: &str| json!([{"Key": "ring", "Value": value}]);
    let resource = |mut values: Vec<Values>| {
        values.push(("ResourceType", json!("ManagedInstance"), json!("Document")));
        values.push(("ResourceId", json!(node), json!(unknown)));
        values
    };
    let filter = |key: &str, value: &str| json!([{"Key": key, "Values": [value]}]);
    vec![
        (
            "AddTagsToResource",
            with("Tags", tag("1")),
            resource(vec![("Tags", tag("1"), tag("2"))]),
        ),
        ("ListTagsForResource", tagged.clone(), resource(vec![])),
        (
            "RemoveTagsFromResource",
            with("TagKeys", json!(["absent"])),
            resource(vec![("TagKeys", json!(["absent"]), json!(["ring"]))]),
        ),
        (
            "CreateActivation",
            json!({"IamRole": "edge"}),
            vec![
                ("Description", Json::Null, json!("gates")),
                ("DefaultInstanceName", Json::Null, json!("gate")),
                ("IamRole", json!("edge"), json!("other")),
                ("RegistrationLimit", Json::Null, json!(7)),
                ("ExpirationDate", Json::Null, json!(NOW_MS / 1000 + 60)),
                ("Tags", Json::Null, tag("1")),
            ],
        ),
        (
            "DescribeActivations",
            json!({}),
            vec![
                (
                    "Filters",
                    Json::Null,
                    json!([{"FilterKey": "IamRole", "FilterValues": ["spare"]}]),
                ),
                page(1),
                token(),
            ],
        ),
        (
            "DeleteActivation",
            json!({"ActivationId": fleet.activation}),
            vec![(
                "ActivationId",
                json!(unknown_uuid()),
                json!(fleet.activation),
            )],
        ),
        (
            "DescribeInstanceInformation",
            json!({}),
            vec![
                (
                    "InstanceInformationFilterList",
                    Json::Null,
                    json!([{"key": "InstanceIds", "valueSet": [node]}]),
                ),
                ("Filters", Json::Null, filter("InstanceIds", node)),
                page(5),
                token(),
            ],
        ),
        (
            "UpdateManagedInstanceRole",
            json!({"InstanceId": node, "IamRole": "a"}),
            vec![
                ("IamRole", json!("a"), json!("b")),
                ("InstanceId", json!(node), json!(unknown)),
            ],
        ),
    ]
}

fn unknown_uuid() -> &'static str {
    "00000000-0000-4000-8000-000000000000"
}

fn command_cases(fleet: &Fleet) -> Vec<Case> {
    let [node, other] = [&fleet.stocked[0], &fleet.stocked[1]];
    let [command, second] = [&fleet.commands[0], &fleet.commands[1]];
    let content = library::find("AWS-RunShellScript").unwrap();
    let hash = content.default_version().hash().to_string();
    let send = json!({
        "DocumentName": "AWS-RunShellScript", "InstanceIds": [node], "DocumentHash": hash,
        "Parameters": {"commands": ["uptime"]},
    });
    let by_name = |value: &str| json!([{"key": "DocumentName", "value": value}]);
    vec![
        (
            "SendCommand",
            send,
            vec![
                ("InstanceIds", json!([node]), json!([node, other])),
                (
                    "Targets",
                    Json::Null,
                    json!([{"Key": "tag:site", "Values": ["north"]}]),
                ),
                (
                    "DocumentName",
                    json!("AWS-RunShellScript"),
                    json!("AWS-RunPatchBaseline"),
                ),
                ("DocumentVersion", Json::Null, json!("7")),
                ("DocumentHash", json!(hash), json!("0".repeat(64))),
                ("DocumentHashType", json!("Sha256"), json!("Sha1")),
                ("TimeoutSeconds", Json::Null, json!(60)),
                ("Comment", Json::Null, json!("why")),
                (
                    "Parameters",
                    json!({"commands": ["uptime"]}),
                    json!({"commands": ["id"]}),
                ),
                ("MaxConcurrency", Json::Null, json!("10%")),
                ("MaxErrors", Json::Null, json!("3")),
            ],
        ),
        (
            "ListCommands",
            json!({}),
            vec![
                ("CommandId", Json::Null, json!(command)),
                ("InstanceId", Json::Null, json!(other)),
                ("Filters", Json::Null, by_name("AWS-RunPatchBaseline")),
                page(1),
                token(),
            ],
        ),
        (
            "ListCommandInvocations",
            json!({"CommandId": command}),
            vec![
                ("CommandId", json!(command), json!(second)),
                ("InstanceId", Json::Null, json!(node)),
                ("Filters", Json::Null, by_name("AWS-RunPatchBaseline")),
                ("Details", Json::Null, json!(true)),
                page(1),
                token(),
            ],
        ),
        (
            "GetCommandInvocation",
            json!({"CommandId": command, "InstanceId": other}),
            vec![
                ("CommandId", json!(command), json!(second)),
                ("InstanceId", json!(node), json!(other)),
                ("PluginName", Json::Null, json!("nope")),
            ],
        ),
        (
            "CancelCommand",
            json!({"CommandId": command, "InstanceIds": [node]}),
            vec![
                ("InstanceIds", json!([node]), json!([other])),
                ("CommandId", json!(command), json!(unknown_uuid())),
            ],
        ),
    ]
}

fn document_cases() -> Vec<Case> {
    let one = json!({"Name": "AWS-RunShellScript"});
    let named = || {
        vec![
            (
                "Name",
                json!("AWS-RunShellScript"),
                json!("AWS-RunPatchBaseline"),
            ),
            ("DocumentVersion", Json::Null, json!("7")),
            ("VersionName", Json::Null, json!("final")),
        ]
    };
    let mut given = named();
    given.push(("DocumentFormat", Json::Null, json!("YAML")));
    vec![
        ("DescribeDocument", one.clone(), named()),
        ("GetDocument", one, given),
        (
            "ListDocuments",
            json!({}),
            vec![
                (
                    "DocumentFilterList",
                    Json::Null,
                    json!([{"key": "Name", "value": "AWS-Run"}]),
                ),
                (
                    "Filters",
                    Json::Null,
                    json!([{"Key": "Name", "Values": ["AWS-Run"]}]),
                ),
                page(1),
                token(),
            ],
        ),
    ]
}

fn report_cases(fleet: &Fleet) -> Vec<Case> {
    let (node, scanned) = (&fleet.stocked[0], &fleet.scanned);
    let filter = |key: &str, value: &str| json!([{"Key": key, "Values": [value]}]);
    let status = || filter("Status", "NON_COMPLIANT");
    let all: Vec<String> = (1..=11)
        .map(|number| super::fleet::node_id(number).to_string())
        .collect();
    vec![
        (
            "GetInventory",
            json!({}),
            vec![
                (
                    "Filters",
                    Json::Null,
                    filter("AWS:Application.Version", "5.2"),
                ),
                (
                    "ResultAttributes",
                    Json::Null,
                    json!([{"TypeName": "AWS:Application"}]),
                ),
                page(1),
                token(),
            ],
        ),
        (
            "ListInventoryEntries",
            json!({"InstanceId": node, "TypeName": "AWS:Application"}),
            vec![
                ("InstanceId", json!(node), json!(fleet.stocked[1])),
                (
                    "TypeName",
                    json!("AWS:Application"),
                    json!("AWS:InstanceInformation"),
                ),
                ("Filters", Json::Null, filter("Name", "zsh")),
                page(1),
                token(),
            ],
        ),
        (
            "GetInventorySchema",
            json!({}),
            vec![("TypeName", Json::Null, json!("AWS:Service")), token()],
        ),
        (
            "DescribeInstancePatchStates",
            json!({"InstanceIds": all}),
            vec![
                ("InstanceIds", json!(all), json!([scanned])),
                page(10),
                token(),
            ],
        ),
        (
            "DescribeInstancePatches",
            json!({"InstanceId": scanned}),
            vec![
                ("InstanceId", json!(scanned), json!(all[1])),
                ("Filters", Json::Null, filter("State", "Installed")),
                page(10),
                token(),
            ],
        ),
        (
            "ListComplianceItems",
            json!({}),
            vec![
                ("Filters", Json::Null, status()),
                ("ResourceIds", Json::Null, json!([scanned])),
                ("ResourceTypes", Json::Null, json!(["Instance"])),
                page(1),
                token(),
            ],
        ),
        (
            "ListComplianceSummaries",
            json!({}),
            vec![("Filters", Json::Null, status()), token()],
        ),
        (
            "ListResourceComplianceSummaries",
            json!({}),
            vec![("Filters", Json::Null, status()), page(1), token()],
        ),
        // The last: nothing is left of the node.
        (
            "DeregisterManagedInstance",
            json!({"InstanceId": fleet.spare}),
            vec![(
                "InstanceId",
                json!("mi-0000000000000000f"),
                json!(fleet.spare),
            )],
        ),
    ]
}

fn with(base: &Json, member: &str, value: &Json) -> Json {
    let mut request = base.clone();
    request[member] = value.clone();
    request
}

#[tokio::test]
async fn each_member_of_each_request_is_honoured_or_refused_by_name() {
    let fleet = Fleet::new().await;
    let cases = [
        fleet_cases(&fleet),
        command_cases(&fleet),
        document_cases(),
        report_cases(&fleet),
    ]
    .concat();
    let elsewhere = ELSEWHERE.iter().map(|(name, member, _)| (*name, *member));
    let mut accounted: BTreeSet<(&str, &str)> = elsewhere.collect();
    for (operation, base, members) in &cases {
        for (member, one, other) in members {
            let first = fleet.outcome(operation, &with(base, member, one)).await;
            let again = fleet.outcome(operation, &with(base, member, one)).await;
            assert_eq!(
                first, again,
                "{operation}.{member}: outcomes differ by chance"
            );
            let second = fleet.outcome(operation, &with(base, member, other)).await;
            assert_ne!(first, second, "{operation} ignores {member}");
            assert!(
                accounted.insert((operation, member)),
                "{operation}.{member}"
            );
        }
    }
    for (operation, member, value) in refused() {
        let (_, base, _) = cases.iter().find(|(name, ..)| *name == operation).unwrap();
        let answer = fleet.api.call(operation, &with(base, member, &value)).await;
        assert_eq!(answer.code(), "ValidationException", "{operation}.{member}");
        let message = answer.json().to_string();
        assert!(message.contains(&format!("'{member}'")), "{message}");
        assert!(
            accounted.insert((operation, member)),
            "{operation}.{member}"
        );
    }
    let known: BTreeSet<(&str, &str)> = coverage()
        .filter(|known| known.has_behaviour)
        .flat_map(|known| {
            let input = model().operations[known.operation].input;
            let members = model().members(input).iter();
            members.map(move |member| (known.operation, member.name))
        })
        .collect();
    assert_eq!(accounted, known);
}
