//! ARNs in requests: those of this account, partition and region mean what their names mean, others are refused.

use serde_json::{Value as Json, json};

use super::client::{ACCOUNT, Fixture, REGION};

const NAME: &str = "AWS-RunShellScript";

/// ARNs of a built-in document that lie elsewhere, and what each message names.
fn foreign() -> [(String, &'static str); 4] {
    [
        (
            format!("arn:aws-cn:ssm:{REGION}::document/{NAME}"),
            "partition 'aws-cn'",
        ),
        (
            format!("arn:aws:ssm:us-east-1::document/{NAME}"),
            "region 'us-east-1'",
        ),
        (
            format!("arn:aws:ssm:{REGION}:210987654321:document/{NAME}"),
            "account '210987654321'",
        ),
        (
            format!("arn:aws:ssm:{REGION}:{ACCOUNT}:document/{NAME}"),
            "no documents of its own",
        ),
    ]
}

#[tokio::test]
async fn a_foreign_document_is_refused_wherever_one_is_named() {
    let api = Fixture::new().await;
    let node = api.register(1).await.to_string();
    let tags = json!([{"Key": "a", "Value": "b"}]);
    for (arn, why) in foreign() {
        let tagged = json!({"ResourceType": "Document", "ResourceId": arn});
        let with = |member: &str, value: Json| {
            let mut request = tagged.clone();
            request[member] = value;
            request
        };
        for (operation, request, code) in [
            ("DescribeDocument", json!({"Name": arn}), "InvalidDocument"),
            ("GetDocument", json!({"Name": arn}), "InvalidDocument"),
            (
                "SendCommand",
                json!({"DocumentName": arn, "InstanceIds": [node], "Parameters": {"commands": ["#"]}}),
                "InvalidDocument",
            ),
            (
                "AddTagsToResource",
                with("Tags", tags.clone()),
                "InvalidResourceId",
            ),
            ("ListTagsForResource", tagged.clone(), "InvalidResourceId"),
            (
                "RemoveTagsFromResource",
                with("TagKeys", json!(["a"])),
                "InvalidResourceId",
            ),
        ] {
            let answer = api.call(operation, &request).await;
            assert_eq!(answer.code(), code, "{operation} {arn}");
            let message = answer.json()["Message"].as_str().unwrap().to_owned();
            assert!(message.contains(why), "{operation}: {message}");
        }
    }
}

#[tokio::test]
async fn tags_and_filters_take_a_documents_arn_for_its_name() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let arn = format!("arn:aws:ssm:{REGION}::document/{NAME}");
    let tags = json!([{"Key": "team", "Value": "edge"}]);
    let request = json!({"ResourceType": "Document", "ResourceId": arn, "Tags": tags});
    api.ok("AddTagsToResource", &request).await;
    let request = json!({"ResourceType": "Document", "ResourceId": NAME});
    assert_eq!(
        api.ok("ListTagsForResource", &request).await["TagList"],
        tags
    );

    api.send_to(&[node]).await;
    for (operation, list) in [
        ("ListCommands", "Commands"),
        ("ListCommandInvocations", "CommandInvocations"),
    ] {
        let count = async |value: &str| {
            let request = json!({"Filters": [{"key": "DocumentName", "value": value}]});
            let listed = api.ok(operation, &request).await;
            listed[list].as_array().unwrap().len()
        };
        assert_eq!(count(&arn).await, 1);
        for (foreign, _) in foreign() {
            assert_eq!(count(&foreign).await, 0, "{foreign}");
        }
    }
}

#[tokio::test]
async fn a_role_of_this_account_is_kept_by_its_name_and_another_is_refused() {
    let api = Fixture::new().await;
    let node = api.register(1).await.to_string();
    let own = format!("arn:aws:iam::{ACCOUNT}:role/edge-2");
    let request = json!({"InstanceId": node, "IamRole": own});
    api.ok("UpdateManagedInstanceRole", &request).await;
    let listed = api.ok("DescribeInstanceInformation", &json!({})).await;
    assert_eq!(listed["InstanceInformationList"][0]["IamRole"], "edge-2");
    api.ok("CreateActivation", &json!({"IamRole": own})).await;
    let filter = json!({"Filters": [{"FilterKey": "IamRole", "FilterValues": ["edge-2"]}]});
    let listed = api.ok("DescribeActivations", &filter).await;
    assert_eq!(listed["ActivationList"].as_array().unwrap().len(), 1);

    let foreign = "arn:aws:iam::210987654321:role/edge";
    let request = json!({"IamRole": foreign});
    assert_eq!(
        api.refused("CreateActivation", &request).await,
        "InvalidParameters"
    );
    let request = json!({"InstanceId": node, "IamRole": foreign});
    assert_eq!(
        api.refused("UpdateManagedInstanceRole", &request).await,
        "ValidationException"
    );
}
