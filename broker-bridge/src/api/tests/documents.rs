//! The built-in documents: listed, described and given.

use expect_test::expect;
use serde_json::{Value as Json, json};

use super::client::{ACCOUNT, Fixture, REGION};
use super::fleet::check;

#[tokio::test]
async fn documents_are_listed_by_filter_and_page() {
    let api = Fixture::new().await;
    let all = api.ok("ListDocuments", &json!({})).await;
    check(
        &all["DocumentIdentifiers"][2],
        &expect![[r#"
        {
          "Name": "AWS-RunShellScript",
          "Owner": "Amazon",
          "PlatformTypes": [
            "Linux",
            "MacOS"
          ],
          "DocumentVersion": "1",
          "DocumentType": "Command",
          "SchemaVersion": "1.2",
          "DocumentFormat": "JSON",
          "Tags": []
        }"#]],
    );
    for (key, value, found) in [
        ("Name", "AWS-Run", 2),
        ("Owner", "Amazon", 3),
        ("Owner", "All", 3),
        ("Owner", "Self", 0),
        ("Owner", "Private", 0),
        ("Owner", "ThirdParty", 0),
        ("DocumentType", "Command", 2),
        ("DocumentType", "Automation", 0),
        ("PlatformTypes", "Linux", 3),
        ("TargetType", "/", 0),
        ("tag:team", "a", 0),
    ] {
        let request = json!({"Filters": [{"Key": key, "Values": [value]}]});
        let listed = api.ok("ListDocuments", &request).await;
        let count = listed["DocumentIdentifiers"].as_array().unwrap().len();
        assert_eq!(count, found, "{key}={value}");
        if !key.starts_with("tag") && key != "TargetType" {
            let older = json!({"DocumentFilterList": [{"key": key, "value": value}]});
            assert_eq!(api.ok("ListDocuments", &older).await, listed);
        }
    }
    let first = api.ok("ListDocuments", &json!({"MaxResults": 2})).await;
    let request = json!({"MaxResults": 2, "NextToken": first["NextToken"]});
    let second = api.ok("ListDocuments", &request).await;
    assert_eq!(first["DocumentIdentifiers"].as_array().unwrap().len(), 2);
    assert_eq!(
        second["DocumentIdentifiers"],
        json!([all["DocumentIdentifiers"][2]])
    );
    assert_eq!(second["NextToken"], Json::Null);
    for (request, code) in [
        (
            json!({"Filters": [{"Key": "Owner", "Values": ["Nobody"]}]}),
            "InvalidFilterKey",
        ),
        (
            json!({"Filters": [{"Key": "Nonsense", "Values": ["a"]}]}),
            "InvalidFilterKey",
        ),
        (
            json!({"NextToken": first["NextToken"], "Filters": [{"Key": "Name", "Values": ["A"]}]}),
            "InvalidNextToken",
        ),
    ] {
        assert_eq!(
            api.refused("ListDocuments", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_document_is_described_by_name_arn_and_version() {
    let api = Fixture::new().await;
    let name = "AWS-RunShellScript";
    let described = api.ok("DescribeDocument", &json!({"Name": name})).await;
    check(
        &described,
        &expect![[r#"
        {
          "Document": {
            "Hash": "08874bd7191647e90d05f955aaa7db785a038aff72490dee36feeeb2ca3bacaf",
            "HashType": "Sha256",
            "Name": "AWS-RunShellScript",
            "Owner": "Amazon",
            "Status": "Active",
            "DocumentVersion": "1",
            "Description": "Runs the given lines as one shell script on Linux and macOS nodes.",
            "Parameters": [
              {
                "Name": "commands",
                "Type": "StringList",
                "Description": "(Required) The lines of the script, or whole scripts, run in this order."
              },
              {
                "Name": "workingDirectory",
                "Type": "String",
                "Description": "(Optional) The directory on the node in which the script runs.",
                "DefaultValue": ""
              },
              {
                "Name": "executionTimeout",
                "Type": "String",
                "Description": "(Optional) Seconds the script may run before it is stopped and counts as failed: 1 to 172800 (48 hours), 3600 (1 hour) if not given.",
                "DefaultValue": "3600"
              }
            ],
            "PlatformTypes": [
              "Linux",
              "MacOS"
            ],
            "DocumentType": "Command",
            "SchemaVersion": "1.2",
            "LatestVersion": "1",
            "DefaultVersion": "1",
            "DocumentFormat": "JSON",
            "Tags": []
          }
        }"#]],
    );
    let arn = format!("arn:aws:ssm:eu-central-1::document/{name}");
    for request in [
        json!({"Name": arn}),
        json!({"Name": name, "DocumentVersion": "$DEFAULT"}),
        json!({"Name": name, "DocumentVersion": "$LATEST"}),
        json!({"Name": name, "DocumentVersion": "1"}),
    ] {
        assert_eq!(api.ok("DescribeDocument", &request).await, described);
    }
    for operation in ["DescribeDocument", "GetDocument"] {
        for (request, code) in [
            (json!({"Name": "Nonsense"}), "InvalidDocument"),
            (
                json!({"Name": format!("arn:aws:ssm:us-east-1::document/{name}")}),
                "InvalidDocument",
            ),
            (
                json!({"Name": format!("arn:aws-cn:ssm:{REGION}::document/{name}")}),
                "InvalidDocument",
            ),
            (
                json!({"Name": format!("arn:aws:ssm:{REGION}:210987654321:document/{name}")}),
                "InvalidDocument",
            ),
            (
                json!({"Name": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:document/{name}")}),
                "InvalidDocument",
            ),
            (
                json!({"Name": name, "DocumentVersion": "2"}),
                "InvalidDocumentVersion",
            ),
            (
                json!({"Name": name, "VersionName": "final"}),
                "InvalidDocumentVersion",
            ),
        ] {
            assert_eq!(api.refused(operation, &request).await, code, "{request}");
        }
    }
}

#[tokio::test]
async fn a_document_is_given_in_the_format_asked_for() {
    let api = Fixture::new().await;
    let get = async |format: Option<&str>| {
        let request = json!({"Name": "AWS-RunShellScript", "DocumentFormat": format});
        let got = api.ok("GetDocument", &request).await;
        let content = got["Content"].as_str().unwrap().to_owned();
        assert_eq!(got["DocumentFormat"], format.unwrap_or("JSON"));
        content
    };
    let plain = get(None).await;
    let document = holdfast_documents::Document::parse(&plain).unwrap();
    assert_eq!(get(Some("JSON")).await, plain);
    assert_eq!(get(Some("TEXT")).await, plain);
    let yaml = get(Some("YAML")).await;
    assert!(yaml.starts_with("schemaVersion: "), "{yaml}");
    assert_eq!(
        holdfast_documents::Document::parse(&yaml).unwrap(),
        document
    );
}

#[tokio::test]
async fn a_listing_goes_on_after_a_restart_of_the_api() {
    let api = Fixture::new().await;
    let first = api.ok("ListDocuments", &json!({"MaxResults": 2})).await;
    let again = api.restarted().await;
    let request = json!({"MaxResults": 2, "NextToken": first["NextToken"]});
    let second = again.ok("ListDocuments", &request).await;
    assert_eq!(second["DocumentIdentifiers"].as_array().unwrap().len(), 1);
}
