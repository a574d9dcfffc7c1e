//! Authentication, activations, nodes and tags.

use expect_test::{Expect, expect};
use holdfast_protocol::bounded::Text;
use holdfast_protocol::enrol::derive_key;
use holdfast_protocol::up::Platform;
use holdfast_protocol::{ActivationId, NodeId};
use serde_json::{Value as Json, json};

use super::client::{Fixture, KEY_ID, NOW_MS, Signer, now};
use crate::store::{Caller, NewActivation, NewNode, NodeCertificate, Page, Tag};

const HOUR_S: i64 = 3600;
const NOW_S: i64 = NOW_MS / 1000;

/// Holds a reply against its golden text.
pub(super) fn check(actual: &Json, expected: &Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(actual).unwrap());
}

/// The id of a node of the fixture's fleet.
pub(super) fn node_id(number: u8) -> NodeId {
    NodeId::from_random([number; 9])
}

impl Fixture {
    /// Registers node `number`, named and tagged after it.
    pub(super) async fn register(&self, number: u8) -> NodeId {
        let activation = ActivationId::from_random([number; 16]);
        let new = NewActivation {
            id: activation,
            code_key: derive_key(&activation, "code"),
            description: String::new(),
            default_name: format!("node-{number}"),
            iam_role: "edge".to_owned(),
            registration_limit: 1,
            expires: NOW_MS + 1,
            tags: vec![Tag {
                key: "site".to_owned(),
                value: if number.is_multiple_of(2) {
                    "north"
                } else {
                    "south"
                }
                .to_owned(),
            }],
        };
        let caller = Caller::local(NOW_MS);
        self.store.create_activation(caller, new).await.unwrap();
        let node = NewNode {
            node: node_id(number),
            activation,
            key: [number; 32],
            platform: Platform {
                name: Text::new("Debian GNU/Linux").unwrap(),
                version: Text::new("12").unwrap(),
                computer_name: Text::new("gate").unwrap(),
                ip_address: Text::new("192.0.2.7").unwrap(),
                architecture: Text::new("x86_64").unwrap(),
            },
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            certificate: NodeCertificate {
                serial: format!("{number:02x}"),
                expires: NOW_MS + 1,
            },
        };
        self.store.register_node(node, NOW_MS).await.unwrap();
        node_id(number)
    }
}

#[tokio::test]
async fn a_request_that_is_not_rightly_signed_is_refused_before_it_is_read() {
    let api = Fixture::new().await;
    let good = Signer::post("ListDocuments", b"{}".to_vec());
    assert_eq!(api.send(good.signed()).await.status, 200);

    let mut unsigned = good.signed();
    unsigned.headers_mut().remove("authorization");
    let mut tampered = good.signed();
    *tampered.body_mut() = r#"{"MaxResults":1}"#.into();
    let mut malformed = good.signed();
    malformed.headers_mut().insert(
        "authorization",
        "AWS4-HMAC-SHA256 nonsense".parse().unwrap(),
    );
    let late = Signer {
        at: now() + jiff::SignedDuration::from_secs(301),
        ..good.clone()
    };
    let early = Signer {
        at: now() - jiff::SignedDuration::from_secs(301),
        ..good.clone()
    };
    let unknown = Signer {
        key_id: "AKIAUNKNOWN".to_owned(),
        ..good.clone()
    };
    let wrong = Signer {
        secret: "guess".to_owned(),
        ..good.clone()
    };
    let elsewhere = Signer {
        service: "s3",
        ..good.clone()
    };
    for (request, code) in [
        (unsigned, "MissingAuthenticationTokenException"),
        (malformed, "IncompleteSignatureException"),
        (tampered, "InvalidSignatureException"),
        (late.signed(), "InvalidSignatureException"),
        (early.signed(), "InvalidSignatureException"),
        (wrong.signed(), "InvalidSignatureException"),
        (elsewhere.signed(), "InvalidSignatureException"),
        (unknown.signed(), "UnrecognizedClientException"),
    ] {
        let answer = api.send(request).await;
        assert_eq!((answer.status, answer.code()), (400, code.to_owned()));
        assert_eq!(answer.headers["x-amzn-requestid"].len(), 36);
    }
}

#[tokio::test]
async fn a_disabled_key_is_refused_from_the_next_request_on() {
    let api = Fixture::new().await;
    api.ok("ListDocuments", &json!({})).await;
    let caller = Caller::local(NOW_MS);
    api.store
        .disable_access_key(caller, KEY_ID.to_owned())
        .await
        .unwrap();
    let code = api.refused("ListDocuments", &json!({})).await;
    assert_eq!(code, "UnrecognizedClientException");
}

#[tokio::test]
async fn what_is_no_operation_or_no_request_is_refused_by_name() {
    let api = Fixture::new().await;
    assert_eq!(
        api.refused("Nonsense", &json!({})).await,
        "UnknownOperationException"
    );
    assert_eq!(
        api.refused("StartSession", &json!({"Target": "mi-0"}))
            .await,
        "UnsupportedOperationException"
    );
    assert_eq!(
        api.refused("ListDocuments", &json!([])).await,
        "SerializationException"
    );
    assert_eq!(
        api.refused("ListDocuments", &json!({"Page": 1})).await,
        "ValidationException"
    );

    let untargeted = Signer {
        target: None,
        ..Signer::post("", Vec::new())
    };
    assert_eq!(
        api.send(untargeted.signed()).await.code(),
        "UnknownOperationException"
    );
    let broken = Signer::post("ListDocuments", b"{".to_vec());
    assert_eq!(
        api.send(broken.signed()).await.code(),
        "SerializationException"
    );
    let large = Signer::post("ListDocuments", vec![b' '; (1 << 20) + 1]);
    let answer = api.send(large.signed()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "RequestEntityTooLargeException")
    );

    let mut binary = Signer::post("ListDocuments", b"{}".to_vec()).signed();
    let value = axum::http::HeaderValue::from_bytes(b"\xff").unwrap();
    binary.headers_mut().insert("x-note", value);
    assert_eq!(
        api.send(binary).await.code(),
        "IncompleteSignatureException"
    );

    let elsewhere = Signer {
        path: "/other".to_owned(),
        ..Signer::post("ListDocuments", Vec::new())
    };
    assert_eq!(
        api.send(elsewhere.signed()).await.code(),
        "UnknownOperationException"
    );
}

#[tokio::test]
async fn an_activation_is_made_with_a_code_that_only_its_maker_sees() {
    let api = Fixture::new().await;
    let made = api
        .ok(
            "CreateActivation",
            &json!({
                "IamRole": "edge", "Description": "plant 4", "DefaultInstanceName": "gate",
                "RegistrationLimit": 3, "ExpirationDate": NOW_S + 30 * 24 * HOUR_S,
                "Tags": [{"Key": "site", "Value": "north"}],
            }),
        )
        .await;
    let (id, code) = (
        made["ActivationId"].as_str().unwrap(),
        made["ActivationCode"].as_str().unwrap(),
    );
    assert_eq!(code.len(), 20);
    let id: ActivationId = id.parse().unwrap();
    let kept = api.store.activation(id).await.unwrap().unwrap();
    assert_eq!(kept.code_key, derive_key(&id, code));

    let mut listed = api.ok("DescribeActivations", &json!({})).await;
    listed["ActivationList"][0]["ActivationId"] = "an id".into();
    check(
        &listed,
        &expect![[r#"
        {
          "ActivationList": [
            {
              "ActivationId": "an id",
              "Description": "plant 4",
              "DefaultInstanceName": "gate",
              "IamRole": "edge",
              "RegistrationLimit": 3,
              "RegistrationsCount": 0,
              "ExpirationDate": 1771070400,
              "Expired": false,
              "CreatedDate": 1768478400,
              "Tags": [
                {
                  "Key": "site",
                  "Value": "north"
                }
              ]
            }
          ]
        }"#]],
    );

    let audit = api
        .store
        .audit(&Default::default(), &Page::first(1))
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(
        (audit.operation.as_str(), audit.access_key_id.as_str()),
        ("CreateActivation", KEY_ID)
    );
}

#[tokio::test]
async fn an_activation_lasts_a_day_and_serves_one_node_unless_told_otherwise() {
    let api = Fixture::new().await;
    api.ok("CreateActivation", &json!({"IamRole": "edge"}))
        .await;
    let listed = api.ok("DescribeActivations", &json!({})).await;
    let made = &listed["ActivationList"][0];
    assert_eq!(made["ExpirationDate"], NOW_S + 24 * HOUR_S);
    assert_eq!(
        (&made["RegistrationLimit"], &made["Expired"]),
        (&json!(1), &json!(false))
    );
}

#[tokio::test]
async fn an_activation_outside_its_bounds_is_refused() {
    let api = Fixture::new().await;
    let tags: Vec<Json> = (0..51)
        .map(|n| json!({"Key": format!("k{n}"), "Value": ""}))
        .collect();
    for (member, value, code) in [
        ("ExpirationDate", json!(NOW_S), "InvalidParameters"),
        (
            "ExpirationDate",
            json!(NOW_S + 30 * 24 * HOUR_S + 1),
            "InvalidParameters",
        ),
        ("Tags", json!(tags), "InvalidParameters"),
        (
            "Tags",
            json!([{"Key": "aws:site", "Value": ""}]),
            "ValidationException",
        ),
        (
            "Tags",
            json!([{"Key": "a", "Value": ""}, {"Key": "a", "Value": ""}]),
            "ValidationException",
        ),
        ("RegistrationLimit", json!(1001), "ValidationException"),
        ("RegistrationLimit", json!(0), "ValidationException"),
        (
            "RegistrationMetadata",
            json!([{"Key": "a", "Value": "b"}]),
            "ValidationException",
        ),
    ] {
        let mut request = json!({"IamRole": "edge"});
        request[member] = value;
        assert_eq!(
            api.refused("CreateActivation", &request).await,
            code,
            "{member}"
        );
    }
}

#[tokio::test]
async fn activations_are_filtered_paged_and_deleted() {
    let api = Fixture::new().await;
    let mut ids = Vec::new();
    for role in ["a", "a", "b"] {
        let made = api.ok("CreateActivation", &json!({"IamRole": role})).await;
        ids.push(made["ActivationId"].clone());
    }
    let filter = |key: &str, values: Json| json!({"FilterKey": key, "FilterValues": values});
    let count = async |filters: Json| {
        let listed = api
            .ok("DescribeActivations", &json!({"Filters": filters}))
            .await;
        listed["ActivationList"].as_array().unwrap().len()
    };
    assert_eq!(count(json!([filter("IamRole", json!(["a"]))])).await, 2);
    assert_eq!(
        count(json!([filter("ActivationIds", json!([ids[2]]))])).await,
        1
    );
    let both = json!([
        filter("IamRole", json!(["a"])),
        filter("IamRole", json!(["b"]))
    ]);
    assert_eq!(count(both).await, 0);

    let mut seen = Vec::new();
    let mut token = Json::Null;
    loop {
        let page = api
            .ok(
                "DescribeActivations",
                &json!({"MaxResults": 2, "NextToken": token}),
            )
            .await;
        seen.extend(
            page["ActivationList"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["ActivationId"].clone()),
        );
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    seen.sort_by_key(ToString::to_string);
    ids.sort_by_key(ToString::to_string);
    assert_eq!(seen, ids);

    let request = json!({"ActivationId": ids[0]});
    api.ok("DeleteActivation", &request).await;
    assert_eq!(
        api.refused("DeleteActivation", &request).await,
        "InvalidActivationId"
    );
    let wrong = json!({"Filters": [{"FilterKey": "IamRole"}]});
    assert_eq!(
        api.refused("DescribeActivations", &wrong).await,
        "InvalidFilter"
    );
    let wrong = json!({"NextToken": "AAAA"});
    assert_eq!(
        api.refused("DescribeActivations", &wrong).await,
        "InvalidNextToken"
    );
}

#[tokio::test]
async fn a_node_is_described_as_it_registered() {
    let api = Fixture::new().await;
    api.register(1).await;
    let listed = api.ok("DescribeInstanceInformation", &json!({})).await;
    check(
        &listed,
        &expect![[r#"
        {
          "InstanceInformationList": [
            {
              "InstanceId": "mi-01010101010101010",
              "PingStatus": "ConnectionLost",
              "LastPingDateTime": 1768478400,
              "AgentVersion": "0.1.0",
              "IsLatestVersion": true,
              "PlatformType": "Linux",
              "PlatformName": "Debian GNU/Linux",
              "PlatformVersion": "12",
              "ActivationId": "01010101-0101-4101-8101-010101010101",
              "IamRole": "edge",
              "RegistrationDate": 1768478400,
              "ResourceType": "ManagedInstance",
              "Name": "node-1",
              "IPAddress": "192.0.2.7",
              "ComputerName": "gate",
              "SourceId": "mi-01010101010101010",
              "SourceType": "AWS::SSM::ManagedInstance"
            }
          ]
        }"#]],
    );
}

#[tokio::test]
async fn nodes_are_filtered_in_both_forms() {
    let api = Fixture::new().await;
    for number in 1..=4 {
        api.register(number).await;
    }
    let one = node_id(1).to_string();
    for (key, values, found) in [
        ("InstanceIds", vec![one.as_str()], 1),
        ("AgentVersion", vec![env!("CARGO_PKG_VERSION")], 4),
        ("PingStatus", vec!["Online"], 0),
        ("PingStatus", vec!["Online", "ConnectionLost"], 4),
        ("PlatformTypes", vec!["Linux"], 4),
        ("PlatformTypes", vec!["Windows"], 0),
        ("IamRole", vec!["edge"], 4),
        ("ResourceType", vec!["ManagedInstance"], 4),
        ("ResourceType", vec!["EC2Instance"], 0),
        ("AssociationStatus", vec!["Success"], 0),
        ("SourceTypes", vec!["AWS::SSM::ManagedInstance"], 4),
        ("SourceTypes", vec!["AWS::IoT::Thing"], 0),
        ("SourceIds", vec![one.as_str()], 1),
        ("tag:site", vec!["north"], 2),
        ("tag:other", vec!["north"], 0),
        ("tag-key", vec!["site"], 4),
    ] {
        let request = json!({"Filters": [{"Key": key, "Values": values}]});
        let listed = api.ok("DescribeInstanceInformation", &request).await;
        let count = listed["InstanceInformationList"].as_array().unwrap().len();
        assert_eq!(count, found, "{key} {values:?}");
        if key.starts_with("tag") || key.starts_with("Source") {
            continue;
        }
        let older = json!({"InstanceInformationFilterList": [{"key": key, "valueSet": values}]});
        assert_eq!(api.ok("DescribeInstanceInformation", &older).await, listed);
    }
}

#[tokio::test]
async fn wrong_filters_of_nodes_are_refused_by_what_is_wrong() {
    let api = Fixture::new().await;
    let newer = json!([{"Key": "InstanceIds", "Values": ["mi-0"]}]);
    let older = json!([{"key": "PingStatus", "valueSet": ["Online"]}]);
    for (request, code) in [
        (
            json!({"Filters": newer, "InstanceInformationFilterList": older}),
            "InvalidFilterKey",
        ),
        (
            json!({"Filters": [{"Key": "Nonsense", "Values": ["a"]}]}),
            "InvalidFilterKey",
        ),
        (
            json!({"Filters": [{"Key": "PingStatus", "Values": ["Dead"]}]}),
            "InvalidInstanceInformationFilterValue",
        ),
        (json!({"NextToken": "AAAA"}), "InvalidNextToken"),
    ] {
        assert_eq!(
            api.refused("DescribeInstanceInformation", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_role_is_stored_and_returned() {
    let api = Fixture::new().await;
    let id = api.register(1).await.to_string();
    let request = json!({"InstanceId": id, "IamRole": "other"});
    api.ok("UpdateManagedInstanceRole", &request).await;
    let listed = api.ok("DescribeInstanceInformation", &json!({})).await;
    assert_eq!(listed["InstanceInformationList"][0]["IamRole"], "other");
    let request = json!({"InstanceId": "mi-0000000000000000f", "IamRole": "other"});
    let code = api.refused("UpdateManagedInstanceRole", &request).await;
    assert_eq!(code, "InvalidInstanceId");
    let request = json!({"InstanceId": "i-0123456789abcdef0", "IamRole": "other"});
    let code = api.refused("UpdateManagedInstanceRole", &request).await;
    assert_eq!(code, "ValidationException", "the model takes mi-… only");
}

#[tokio::test]
async fn tags_are_added_replaced_listed_and_removed() {
    let api = Fixture::new().await;
    let id = api.register(1).await.to_string();
    let of = |mut request: Json| {
        request["ResourceType"] = "ManagedInstance".into();
        request["ResourceId"] = id.as_str().into();
        request
    };
    let tags = json!([{"Key": "site", "Value": "west"}, {"Key": "ring", "Value": "1"}]);
    api.ok("AddTagsToResource", &of(json!({"Tags": tags})))
        .await;
    let listed = api.ok("ListTagsForResource", &of(json!({}))).await;
    assert_eq!(
        listed["TagList"],
        json!([{"Key": "ring", "Value": "1"}, {"Key": "site", "Value": "west"}])
    );
    api.ok(
        "RemoveTagsFromResource",
        &of(json!({"TagKeys": ["ring", "absent"]})),
    )
    .await;
    let listed = api.ok("ListTagsForResource", &of(json!({}))).await;
    assert_eq!(listed["TagList"], json!([{"Key": "site", "Value": "west"}]));

    let audit = api
        .store
        .audit(&Default::default(), &Page::first(2))
        .await
        .unwrap()
        .items;
    let operations: Vec<&str> = audit.iter().map(|entry| entry.operation.as_str()).collect();
    assert_eq!(operations, ["RemoveTagsFromResource", "AddTagsToResource"]);
}

#[tokio::test]
async fn wrong_tags_and_resources_are_refused() {
    let api = Fixture::new().await;
    let id = api.register(1).await.to_string();
    let many: Vec<Json> = (0..50)
        .map(|n| json!({"Key": format!("k{n}"), "Value": ""}))
        .collect();
    let one = json!([{"Key": "a", "Value": "b"}]);
    for (resource_type, resource, tags, code) in [
        (
            "ManagedInstance",
            id.as_str(),
            json!(many),
            "TooManyTagsError",
        ),
        (
            "ManagedInstance",
            &id,
            json!([{"Key": "AWS:a", "Value": ""}]),
            "ValidationException",
        ),
        (
            "ManagedInstance",
            "mi-0000000000000000f",
            one.clone(),
            "InvalidResourceId",
        ),
        (
            "ManagedInstance",
            "i-0123456789abcdef0",
            one.clone(),
            "InvalidResourceId",
        ),
        ("Document", "Nonsense", one.clone(), "InvalidResourceId"),
        ("Parameter", "a", one.clone(), "InvalidResourceType"),
        ("Nonsense", "a", one.clone(), "ValidationException"),
    ] {
        let request = json!({"ResourceType": resource_type, "ResourceId": resource, "Tags": tags});
        assert_eq!(
            api.refused("AddTagsToResource", &request).await,
            code,
            "{resource}"
        );
        if ["InvalidResourceId", "InvalidResourceType"].contains(&code) {
            let request = json!({"ResourceType": resource_type, "ResourceId": resource});
            assert_eq!(api.refused("ListTagsForResource", &request).await, code);
            let mut request = request;
            request["TagKeys"] = json!(["a"]);
            assert_eq!(api.refused("RemoveTagsFromResource", &request).await, code);
        }
    }
    let listed = json!({"ResourceType": "ManagedInstance", "ResourceId": id});
    let listed = api.ok("ListTagsForResource", &listed).await;
    assert_eq!(
        listed["TagList"].as_array().unwrap().len(),
        1,
        "nothing was added"
    );
}
