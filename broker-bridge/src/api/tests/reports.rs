//! Inventory, patches and compliance, as nodes report them.

use expect_test::expect;
use holdfast_protocol::NodeId;
use holdfast_protocol::report::{Cell, Row, Table};
use serde_json::{Value as Json, json};

use super::client::{Fixture, NOW_MS};
use super::fleet::{check, node_id};
use crate::store::{StoreError, reports, writing};

pub(super) fn table(columns: &[&str], rows: &[&[&str]]) -> Table {
    let row = |cells: &&[&str]| {
        Row::new(cells.iter().map(|cell| Cell::new(*cell).unwrap()).collect()).unwrap()
    };
    Table::new(1, columns, rows.iter().map(row).collect()).unwrap()
}

impl Fixture {
    pub(super) async fn report(&self, node: NodeId, type_name: &'static str, table: Table) {
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(async move {
                reports::replace(connection, node, type_name, &table, NOW_MS).await?;
                reports::derive(connection, node, NOW_MS).await
            })
        });
        self.store.writer.write(work).await.unwrap();
    }

    /// A node with two applications.
    pub(super) async fn with_inventory(&self, number: u8, version: &str) -> NodeId {
        let node = self.register(number).await;
        let information = table(
            &["InstanceId", "AgentStatus", "PlatformType", "ComputerName"],
            &[&["", "Active", "Linux", "gate"]],
        );
        self.report(node, "AWS:InstanceInformation", information)
            .await;
        let applications = table(
            &["Name", "Version", "URL"],
            &[
                &["bash", version, ""],
                &["zsh", "5.9", "https://zsh.example"],
            ],
        );
        self.report(node, "AWS:Application", applications).await;
        node
    }

    /// A node with a scan that found one patch missing, or none.
    pub(super) async fn with_scan(&self, number: u8, is_missing: bool) -> NodeId {
        let node = self.register(number).await;
        let missing = if is_missing { "1" } else { "0" };
        let summary = table(
            &[
                "BaselineId",
                "Operation",
                "InstalledCount",
                "MissingCount",
                "ExecutionId",
                "ExecutionType",
            ],
            &[&[
                "pb-0123456789abcdef0",
                "Scan",
                "1",
                missing,
                "an id",
                "Command",
            ]],
        );
        let state = if is_missing {
            "Missing"
        } else {
            "InstalledOther"
        };
        let states = table(
            &[
                "Title",
                "Arch",
                "KBId",
                "Classification",
                "Severity",
                "State",
                "InstalledTime",
                "CVEIds",
            ],
            &[
                &[
                    "apt",
                    "amd64",
                    "apt.amd64",
                    "Security",
                    "Important",
                    "Installed",
                    "1768000000",
                    "",
                ],
                &[
                    "bash",
                    "amd64",
                    "bash.amd64",
                    "Security",
                    "Critical",
                    state,
                    "",
                    "CVE-2026-1",
                ],
            ],
        );
        self.report(node, "AWS:PatchSummary", summary).await;
        self.report(node, "AWS:PatchState", states).await;
        node
    }
}

#[tokio::test]
async fn inventory_is_listed_by_node_with_what_the_bridge_knows_itself() {
    let api = Fixture::new().await;
    api.with_inventory(1, "5.2").await;
    api.register(2).await;
    let mut listed = api.ok("GetInventory", &json!({})).await;
    listed["Entities"][0]["Data"]["AWS:InstanceInformation"]["ContentHash"] = "…".into();
    check(
        &listed,
        &expect![[r#"
        {
          "Entities": [
            {
              "Id": "mi-01010101010101010",
              "Data": {
                "AWS:InstanceInformation": {
                  "TypeName": "AWS:InstanceInformation",
                  "SchemaVersion": "1.0",
                  "CaptureTime": "2026-01-15T12:00:00Z",
                  "ContentHash": "…",
                  "Content": [
                    {
                      "ComputerName": "gate",
                      "IamRole": "edge",
                      "InstanceId": "mi-01010101010101010",
                      "InstanceStatus": "ConnectionLost",
                      "PlatformType": "Linux"
                    }
                  ]
                }
              }
            }
          ]
        }"#]],
    );
}

#[tokio::test]
async fn inventory_is_filtered_by_attributes_of_one_and_the_same_entry() {
    let api = Fixture::new().await;
    let (one, two) = (
        api.with_inventory(1, "5.2").await,
        api.with_inventory(2, "5.10").await,
    );
    let filter = |attribute: &str, kind: &str, values: Json| json!({"Key": format!("AWS:Application.{attribute}"), "Type": kind, "Values": values});
    for (filters, found) in [
        (
            json!([filter("Name", "Equal", json!(["bash"]))]),
            vec![one, two],
        ),
        (
            json!([filter("Version", "Equal", json!(["5.2"]))]),
            vec![one],
        ),
        (
            json!([
                filter("Name", "Equal", json!(["bash"])),
                filter("Version", "GreaterThan", json!(["5.9"]))
            ]),
            vec![two],
        ),
        (
            json!([
                filter("Name", "Equal", json!(["bash"])),
                filter("Version", "Equal", json!(["5.9"]))
            ]),
            vec![],
        ),
        (
            json!([filter("URL", "BeginWith", json!(["https:"]))]),
            vec![one, two],
        ),
        (
            json!([{"Key": "AWS:InstanceInformation.InstanceId", "Values": [two.to_string(), "mi-0000000000000000f"]}]),
            vec![two],
        ),
    ] {
        let request =
            json!({"Filters": filters, "ResultAttributes": [{"TypeName": "AWS:Application"}]});
        let listed = api.ok("GetInventory", &request).await;
        let ids: Vec<String> = listed["Entities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entity| entity["Id"].as_str().unwrap().to_owned())
            .collect();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(ids, found, "{filters}");
        for entity in listed["Entities"].as_array().unwrap() {
            assert_eq!(
                entity["Data"]["AWS:Application"]["Content"]
                    .as_array()
                    .unwrap()
                    .len(),
                2
            );
        }
    }
    for (request, code) in [
        (
            json!({"Filters": [{"Key": "AWS:Application.Colour", "Values": ["a"]}]}),
            "InvalidFilter",
        ),
        (
            json!({"Filters": [{"Key": "Name", "Values": ["a"]}]}),
            "InvalidFilter",
        ),
        (
            json!({"ResultAttributes": [{"TypeName": "AWS:Nonsense"}]}),
            "InvalidTypeNameException",
        ),
        (json!({"NextToken": "AAAA"}), "InvalidNextToken"),
        (
            json!({"Aggregators": [{"Expression": "AWS:Application.Name"}]}),
            "ValidationException",
        ),
    ] {
        assert_eq!(
            api.refused("GetInventory", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn pages_of_inventory_hold_each_node_once() {
    let api = Fixture::new().await;
    for number in 1..=5 {
        api.with_inventory(number, "5.2").await;
    }
    let (mut seen, mut token) = (Vec::new(), Json::Null);
    loop {
        let mut page = api
            .ok(
                "GetInventory",
                &json!({"MaxResults": 2, "NextToken": token}),
            )
            .await;
        seen.extend(
            page["Entities"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entity| entity["Id"].as_str().unwrap().to_owned()),
        );
        token = page["NextToken"].take();
        if token.is_null() {
            break;
        }
    }
    let all: Vec<String> = (1..=5).map(|number| node_id(number).to_string()).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn entries_are_listed_filtered_and_paged_within_one_content() {
    let api = Fixture::new().await;
    let node = api.with_inventory(1, "5.2").await;
    let of = |mut request: Json| {
        request["InstanceId"] = node.to_string().into();
        request["TypeName"] = "AWS:Application".into();
        request
    };
    let listed = api.ok("ListInventoryEntries", &of(json!({}))).await;
    check(
        &listed,
        &expect![[r#"
        {
          "TypeName": "AWS:Application",
          "InstanceId": "mi-01010101010101010",
          "SchemaVersion": "1.1",
          "CaptureTime": "2026-01-15T12:00:00Z",
          "Entries": [
            {
              "Name": "bash",
              "Version": "5.2"
            },
            {
              "Name": "zsh",
              "URL": "https://zsh.example",
              "Version": "5.9"
            }
          ]
        }"#]],
    );
    let request = of(json!({"Filters": [{"Key": "Name", "Values": ["b"], "Type": "BeginWith"}]}));
    let listed = api.ok("ListInventoryEntries", &request).await;
    assert_eq!(listed["Entries"].as_array().unwrap().len(), 1);

    let first = api
        .ok("ListInventoryEntries", &of(json!({"MaxResults": 1})))
        .await;
    let rest = of(json!({"MaxResults": 1, "NextToken": first["NextToken"]}));
    let second = api.ok("ListInventoryEntries", &rest).await;
    assert_eq!(
        (&second["Entries"][0]["Name"], &second["NextToken"]),
        (&json!("zsh"), &Json::Null)
    );
    let fewer = table(&["Name"], &[&["bash"], &["fish"]]);
    api.report(node, "AWS:Application", fewer).await;
    assert_eq!(
        api.refused("ListInventoryEntries", &rest).await,
        "InvalidNextToken"
    );

    let unreported = json!({"InstanceId": node.to_string(), "TypeName": "AWS:Service"});
    let listed = api.ok("ListInventoryEntries", &unreported).await;
    assert_eq!(listed["Entries"], json!([]));
    for (request, code) in [
        (
            json!({"InstanceId": node_id(9).to_string(), "TypeName": "AWS:Service"}),
            "InvalidInstanceId",
        ),
        (
            json!({"InstanceId": "i-0123456789abcdef0", "TypeName": "AWS:Service"}),
            "InvalidInstanceId",
        ),
        (
            json!({"InstanceId": node.to_string(), "TypeName": "AWS:Nonsense"}),
            "InvalidTypeNameException",
        ),
        (
            of(json!({"Filters": [{"Key": "Colour", "Values": ["a"]}]})),
            "InvalidFilter",
        ),
        (of(json!({"NextToken": "AAAA"})), "InvalidNextToken"),
    ] {
        assert_eq!(
            api.refused("ListInventoryEntries", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn schemas_are_listed_and_paged() {
    let api = Fixture::new().await;
    let one = api
        .ok("GetInventorySchema", &json!({"TypeName": "AWS:Service"}))
        .await;
    assert_eq!(one["Schemas"][0]["TypeName"], "AWS:Service");
    let first = api
        .ok("GetInventorySchema", &json!({"MaxResults": 50}))
        .await;
    assert!(first["Schemas"].as_array().unwrap().len() >= 6);
    assert_eq!(first["NextToken"], Json::Null);
    for (request, code) in [
        (
            json!({"TypeName": "AWS:Nonsense"}),
            "InvalidTypeNameException",
        ),
        (json!({"NextToken": "AAAA"}), "InvalidNextToken"),
        (json!({"Aggregator": true}), "ValidationException"),
    ] {
        assert_eq!(
            api.refused("GetInventorySchema", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn every_type_of_inventory_is_answered_in_the_attributes_of_its_schema() {
    let api = Fixture::new().await;
    let node = api.with_scan(1, true).await;
    for type_name in ["AWS:PatchSummary", "AWS:ComplianceItem"] {
        let schema = api
            .ok("GetInventorySchema", &json!({"TypeName": type_name}))
            .await;
        let known: Vec<&Json> = schema["Schemas"][0]["Attributes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|attribute| &attribute["Name"])
            .collect();
        let request = json!({"InstanceId": node.to_string(), "TypeName": type_name});
        let listed = api.ok("ListInventoryEntries", &request).await;
        let entry = listed["Entries"][0].as_object().unwrap();
        assert!(
            entry.keys().all(|name| known.contains(&&json!(name))),
            "{entry:?}"
        );
        assert!(entry.len() > 5, "{entry:?}");
    }
}

#[tokio::test]
async fn patch_states_are_shown_of_the_nodes_asked_for_that_were_scanned() {
    let api = Fixture::new().await;
    let node = api.with_scan(1, true).await;
    let unscanned = api.register(2).await;
    let request =
        json!({"InstanceIds": [node.to_string(), unscanned.to_string(), "mi-0000000000000000f"]});
    let listed = api.ok("DescribeInstancePatchStates", &request).await;
    check(
        &listed,
        &expect![[r#"
        {
          "InstancePatchStates": [
            {
              "InstanceId": "mi-01010101010101010",
              "PatchGroup": "",
              "BaselineId": "pb-0123456789abcdef0",
              "InstalledCount": 1,
              "InstalledOtherCount": 0,
              "InstalledPendingRebootCount": 0,
              "InstalledRejectedCount": 0,
              "MissingCount": 1,
              "FailedCount": 0,
              "NotApplicableCount": 0,
              "OperationStartTime": 1768478400,
              "OperationEndTime": 1768478400,
              "Operation": "Scan",
              "CriticalNonCompliantCount": 0,
              "SecurityNonCompliantCount": 0,
              "OtherNonCompliantCount": 0
            }
          ]
        }"#]],
    );
    let wrong = json!({"InstanceIds": [node.to_string()], "NextToken": "AAAA"});
    assert_eq!(
        api.refused("DescribeInstancePatchStates", &wrong).await,
        "InvalidNextToken"
    );
}

#[tokio::test]
async fn the_patch_group_is_the_nodes_tag_as_it_is_now() {
    let api = Fixture::new().await;
    let node = api.with_scan(1, true).await.to_string();
    let tagged = json!({"ResourceType": "ManagedInstance", "ResourceId": node});
    let group = async || {
        let request = json!({"InstanceIds": [node]});
        let listed = api.ok("DescribeInstancePatchStates", &request).await;
        let group = listed["InstancePatchStates"][0]["PatchGroup"].clone();
        let request = json!({"ResourceIds": [node]});
        let items = api.ok("ListComplianceItems", &request).await;
        let detail = &items["ComplianceItems"][0]["Details"]["PatchGroup"];
        assert_eq!(detail.as_str().unwrap_or_default(), group);
        let request = json!({"InstanceId": node, "TypeName": "AWS:PatchSummary"});
        let summary = api.ok("ListInventoryEntries", &request).await;
        let attribute = &summary["Entries"][0]["PatchGroup"];
        assert_eq!(attribute.as_str().unwrap_or_default(), group);
        let filter = json!({"Filters": [{"Key": "PatchGroup", "Values": ["tills"]}]});
        let counted = api.ok("ListResourceComplianceSummaries", &filter).await;
        let found = counted["ResourceComplianceSummaryItems"].as_array();
        assert_eq!(found.unwrap().len(), usize::from(group == "tills"));
        group
    };
    for (key, value) in [("PatchGroup", "gates"), ("Patch Group", "tills")] {
        let mut request = tagged.clone();
        request["Tags"] = json!([{"Key": key, "Value": value}]);
        api.ok("AddTagsToResource", &request).await;
        assert_eq!(group().await, value);
    }
    let mut request = tagged.clone();
    request["TagKeys"] = json!(["Patch Group", "PatchGroup"]);
    api.ok("RemoveTagsFromResource", &request).await;
    assert_eq!(group().await, "");
}

#[tokio::test]
async fn patches_are_listed_and_filtered() {
    let api = Fixture::new().await;
    let node = api.with_scan(1, true).await;
    let id = node.to_string();
    let listed = api
        .ok("DescribeInstancePatches", &json!({"InstanceId": id}))
        .await;
    check(
        &listed,
        &expect![[r#"
        {
          "Patches": [
            {
              "Title": "apt",
              "KBId": "apt.amd64",
              "Classification": "Security",
              "Severity": "Important",
              "State": "INSTALLED",
              "InstalledTime": 1768000000
            },
            {
              "Title": "bash",
              "KBId": "bash.amd64",
              "Classification": "Security",
              "Severity": "Critical",
              "State": "MISSING",
              "InstalledTime": 0,
              "CVEIds": "CVE-2026-1"
            }
          ]
        }"#]],
    );
    for (key, value, found) in [
        ("State", "Missing", 1),
        ("State", "MISSING", 1),
        ("State", "InstalledOther", 0),
        ("KBId", "apt.amd64", 1),
        ("Severity", "Critical", 1),
        ("Classification", "Security", 2),
        ("Classification", "Bugfix", 0),
    ] {
        let request = json!({"InstanceId": id, "Filters": [{"Key": key, "Values": [value]}]});
        let listed = api.ok("DescribeInstancePatches", &request).await;
        assert_eq!(
            listed["Patches"].as_array().unwrap().len(),
            found,
            "{key}={value}"
        );
    }
    let unscanned = api.register(2).await;
    let listed = api
        .ok(
            "DescribeInstancePatches",
            &json!({"InstanceId": unscanned.to_string()}),
        )
        .await;
    assert_eq!(listed["Patches"], json!([]));
    for (request, code) in [
        (
            json!({"InstanceId": node_id(9).to_string()}),
            "InvalidInstanceId",
        ),
        (
            json!({"InstanceId": id, "Filters": [{"Key": "State", "Values": ["Odd"]}]}),
            "InvalidFilter",
        ),
        (
            json!({"InstanceId": id, "Filters": [{"Key": "Colour", "Values": ["a"]}]}),
            "InvalidFilter",
        ),
        (
            json!({"InstanceId": id, "NextToken": "AAAA"}),
            "InvalidNextToken",
        ),
    ] {
        assert_eq!(
            api.refused("DescribeInstancePatches", &request).await,
            code,
            "{request}"
        );
    }
}
