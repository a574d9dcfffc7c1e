//! Compliance: items, and sums over nodes and by node.

use expect_test::expect;
use serde_json::{Value as Json, json};

use super::client::Fixture;
use super::fleet::{check, node_id};

#[tokio::test]
async fn compliance_items_are_listed_of_a_node_or_of_all_and_paged() {
    let api = Fixture::new().await;
    let node = api.with_scan(1, true).await;
    api.with_scan(2, false).await;
    let request = json!({
        "ResourceIds": [node.to_string()], "ResourceTypes": ["ManagedInstance"],
        "Filters": [{"Key": "Status", "Values": ["NON_COMPLIANT"], "Type": "EQUAL"}],
    });
    let listed = api.ok("ListComplianceItems", &request).await;
    check(
        &listed,
        &expect![[r#"
            {
              "ComplianceItems": [
                {
                  "ComplianceType": "Patch",
                  "ResourceType": "ManagedInstance",
                  "ResourceId": "mi-01010101010101010",
                  "Id": "bash.amd64",
                  "Title": "bash",
                  "Status": "NON_COMPLIANT",
                  "Severity": "CRITICAL",
                  "ExecutionSummary": {
                    "ExecutionTime": 1768478400,
                    "ExecutionId": "an id",
                    "ExecutionType": "Command"
                  },
                  "Details": {
                    "CVEIds": "CVE-2026-1",
                    "Classification": "Security",
                    "DocumentName": "AWS-RunPatchBaseline",
                    "PatchBaselineId": "pb-0123456789abcdef0",
                    "PatchSeverity": "Critical",
                    "PatchState": "Missing"
                  }
                }
              ]
            }"#]],
    );
    for (key, value, found) in [
        ("ComplianceType", "Patch", 4),
        ("ComplianceType", "Association", 0),
        ("Severity", "CRITICAL", 2),
        ("PatchState", "Missing", 1),
        ("Title", "apt", 2),
        ("ExecutionType", "Command", 4),
        ("PatchBaselineId", "pb-0123456789abcdef0", 4),
    ] {
        let request = json!({"Filters": [{"Key": key, "Values": [value], "Type": "EQUAL"}]});
        let listed = api.ok("ListComplianceItems", &request).await;
        assert_eq!(
            listed["ComplianceItems"].as_array().unwrap().len(),
            found,
            "{key}={value}"
        );
    }
    let whole = api.ok("ListComplianceItems", &json!({})).await["ComplianceItems"].take();
    let (mut paged, mut token) = (Vec::new(), Json::Null);
    loop {
        let mut page = api
            .ok(
                "ListComplianceItems",
                &json!({"MaxResults": 1, "NextToken": token}),
            )
            .await;
        paged.extend(page["ComplianceItems"].as_array().unwrap().clone());
        token = page["NextToken"].take();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(Json::Array(paged), whole);
    for (request, code) in [
        (
            json!({"ResourceIds": [node_id(9).to_string()]}),
            "InvalidResourceId",
        ),
        (json!({"ResourceIds": ["nonsense"]}), "InvalidResourceId"),
        (json!({"ResourceTypes": ["Toaster"]}), "InvalidResourceType"),
        (
            json!({"Filters": [{"Key": "Colour", "Values": ["a"]}]}),
            "InvalidFilter",
        ),
        (json!({"NextToken": "AAAA"}), "InvalidNextToken"),
    ] {
        assert_eq!(
            api.refused("ListComplianceItems", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn items_of_several_nodes_by_name_are_paged_without_gap_or_repeat() {
    let api = Fixture::new().await;
    let second = api.with_scan(2, true).await.to_string();
    let first = api.with_scan(1, true).await.to_string();
    // Named in another order than theirs, and one of them twice.
    let mut request = json!({"ResourceIds": [second, first, second]});
    let whole = api.ok("ListComplianceItems", &request).await["ComplianceItems"].take();
    let whole = whole.as_array().unwrap();
    for id in [&first, &second] {
        let of = |item: &&Json| item["ResourceId"] == **id;
        assert_eq!(whole.iter().filter(of).count() * 2, whole.len());
    }
    let mut paged = Vec::new();
    request["MaxResults"] = 1.into();
    for _ in 0..whole.len() {
        let mut page = api.ok("ListComplianceItems", &request).await;
        paged.extend(page["ComplianceItems"].as_array().unwrap().clone());
        request["NextToken"] = page["NextToken"].take();
    }
    assert_eq!(request["NextToken"], Json::Null);
    assert_eq!(&paged, whole);
}

#[tokio::test]
async fn compliance_is_summed_up_over_nodes_and_by_node() {
    let api = Fixture::new().await;
    api.with_scan(1, true).await;
    api.with_scan(2, false).await;
    let summed = api.ok("ListComplianceSummaries", &json!({})).await;
    check(
        &summed,
        &expect![[r#"
            {
              "ComplianceSummaryItems": [
                {
                  "ComplianceType": "Patch",
                  "CompliantSummary": {
                    "CompliantCount": 1,
                    "SeveritySummary": {
                      "CriticalCount": 0,
                      "HighCount": 0,
                      "MediumCount": 0,
                      "LowCount": 0,
                      "InformationalCount": 0,
                      "UnspecifiedCount": 1
                    }
                  },
                  "NonCompliantSummary": {
                    "NonCompliantCount": 1,
                    "SeveritySummary": {
                      "CriticalCount": 1,
                      "HighCount": 0,
                      "MediumCount": 0,
                      "LowCount": 0,
                      "InformationalCount": 0,
                      "UnspecifiedCount": 0
                    }
                  }
                }
              ]
            }"#]],
    );
    let by_node = api
        .ok("ListResourceComplianceSummaries", &json!({"MaxResults": 1}))
        .await;
    check(
        &by_node["ResourceComplianceSummaryItems"],
        &expect![[r#"
            [
              {
                "ComplianceType": "Patch",
                "ResourceType": "ManagedInstance",
                "ResourceId": "mi-01010101010101010",
                "Status": "NON_COMPLIANT",
                "OverallSeverity": "CRITICAL",
                "ExecutionSummary": {
                  "ExecutionTime": 1768478400,
                  "ExecutionId": "an id",
                  "ExecutionType": "Command"
                },
                "CompliantSummary": {
                  "CompliantCount": 1,
                  "SeveritySummary": {
                    "CriticalCount": 0,
                    "HighCount": 1,
                    "MediumCount": 0,
                    "LowCount": 0,
                    "InformationalCount": 0,
                    "UnspecifiedCount": 0
                  }
                },
                "NonCompliantSummary": {
                  "NonCompliantCount": 1,
                  "SeveritySummary": {
                    "CriticalCount": 1,
                    "HighCount": 0,
                    "MediumCount": 0,
                    "LowCount": 0,
                    "InformationalCount": 0,
                    "UnspecifiedCount": 0
                  }
                }
              }
            ]"#]],
    );
    let rest = json!({"MaxResults": 1, "NextToken": by_node["NextToken"]});
    let rest = api.ok("ListResourceComplianceSummaries", &rest).await;
    assert_eq!(
        rest["ResourceComplianceSummaryItems"][0]["Status"],
        "COMPLIANT"
    );
    for (key, value, found) in [
        ("Status", "NON_COMPLIANT", 1),
        ("OverallSeverity", "CRITICAL", 1),
        ("ComplianceType", "Patch", 2),
        ("ComplianceType", "Association", 0),
        ("PatchBaselineId", "pb-0123456789abcdef0", 2),
        ("PatchGroup", "none", 0),
    ] {
        let request = json!({"Filters": [{"Key": key, "Values": [value], "Type": "EQUAL"}]});
        let listed = api.ok("ListResourceComplianceSummaries", &request).await;
        let items = listed["ResourceComplianceSummaryItems"].as_array().unwrap();
        assert_eq!(items.len(), found, "{key}={value}");
        let summed = api.ok("ListComplianceSummaries", &request).await;
        let nodes: i64 = summed["ComplianceSummaryItems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                item["CompliantSummary"]["CompliantCount"].as_i64().unwrap()
                    + item["NonCompliantSummary"]["NonCompliantCount"]
                        .as_i64()
                        .unwrap()
            })
            .sum();
        assert_eq!(usize::try_from(nodes).unwrap(), found, "{key}={value}");
    }
    for operation in ["ListComplianceSummaries", "ListResourceComplianceSummaries"] {
        for (request, code) in [
            (
                json!({"Filters": [{"Key": "Colour", "Values": ["a"]}]}),
                "InvalidFilter",
            ),
            (json!({"NextToken": "AAAA"}), "InvalidNextToken"),
        ] {
            assert_eq!(api.refused(operation, &request).await, code, "{request}");
        }
    }
}
