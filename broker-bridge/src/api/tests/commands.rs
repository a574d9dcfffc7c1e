//! Commands and their invocations, with results as nodes report them.

use expect_test::expect;
use holdfast_bridge_core::invocation::Event;
use holdfast_documents::library;
use holdfast_protocol::bounded::Bytes;
use holdfast_protocol::up::{InvocationState, OutputChunk, OutputStream};
use holdfast_protocol::{CommandId, NodeId};
use serde_json::{Value as Json, json};

use super::client::{Fixture, HOST, KEY_ID, NOW_MS, Signer};
use super::fleet::{check, node_id};
use crate::store::{Page, Step, StoreError, commands, invocations, outputs, writing};

fn command_id(reply: &Json) -> String {
    reply["Command"]["CommandId"].as_str().unwrap().to_owned()
}

/// A request to run a line on nodes.
fn run(nodes: &[NodeId]) -> Json {
    let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    json!({
        "DocumentName": "AWS-RunShellScript", "InstanceIds": ids,
        "Parameters": {"commands": ["uptime"]},
    })
}

impl Fixture {
    pub(super) async fn send_to(&self, nodes: &[NodeId]) -> String {
        command_id(&self.ok("SendCommand", &run(nodes)).await)
    }

    /// Takes a node's result with its output.
    pub(super) async fn finish(
        &self,
        command: &str,
        node: NodeId,
        exit_code: i32,
        out: &str,
        err: &str,
    ) {
        let state = match exit_code {
            0 => InvocationState::Success,
            _ => InvocationState::Failed,
        };
        self.end(command, node, (state, exit_code, ""), out, err)
            .await;
    }

    /// Takes a node's result: its state, its exit code and what the agent says of it.
    pub(super) async fn end(
        &self,
        command: &str,
        node: NodeId,
        (state, exit_code, detail): (InvocationState, i32, &'static str),
        out: &str,
        err: &str,
    ) {
        let id: CommandId = command.parse().unwrap();
        let step = Step {
            name: "aws:runShellScript".to_owned(),
            action: "aws:runShellScript".to_owned(),
            state: format!("{state:?}"),
            exit_code,
            started: Some(NOW_MS + 1000),
            ended: Some(NOW_MS + 2500),
            stdout_bytes: out.len() as u64,
            stderr_bytes: err.len() as u64,
            detail: detail.to_owned(),
        };
        let pieces = [
            (OutputStream::Stdout, out.to_owned()),
            (OutputStream::Stderr, err.to_owned()),
        ];
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(async move {
                for event in [
                    Event::LinkUp,
                    Event::Sent,
                    Event::Delivered,
                    Event::Result(state),
                ] {
                    invocations::advance(connection, (id, node), event, NOW_MS + 3000).await?;
                }
                for (stream, text) in pieces {
                    for (at, bytes) in text.as_bytes().chunks(10_000).enumerate() {
                        let chunk = OutputChunk {
                            command: id,
                            step: 0,
                            stream,
                            offset: u32::try_from(at * 10_000).unwrap(),
                            bytes: Bytes::new(bytes).unwrap(),
                        };
                        outputs::insert(connection, &[(node, chunk)]).await?;
                    }
                }
                let outcome = invocations::Outcome {
                    steps: &[step],
                    detail,
                    started: Some(NOW_MS + 1000),
                    ended: NOW_MS + 2500,
                };
                invocations::save_outcome(connection, (id, node), &outcome).await?;
                commands::refresh(connection, id).await
            })
        });
        self.store.writer.write(work).await.unwrap();
    }

    pub(super) async fn invocation(&self, command: &str, node: NodeId) -> Json {
        let request = json!({"CommandId": command, "InstanceId": node.to_string()});
        self.ok("GetCommandInvocation", &request).await
    }
}

#[tokio::test]
async fn a_command_is_answered_with_all_that_was_asked_and_its_expiry() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let mut request = run(&[node]);
    request["Comment"] = "look".into();
    request["TimeoutSeconds"] = 600.into();
    request["MaxConcurrency"] = "10%".into();
    request["MaxErrors"] = "3".into();
    request["DocumentVersion"] = "$LATEST".into();
    let mut sent = api.ok("SendCommand", &request).await;
    let id = command_id(&sent);
    sent["Command"]["CommandId"] = "an id".into();
    check(
        &sent,
        &expect![[r#"
        {
          "Command": {
            "CommandId": "an id",
            "DocumentName": "AWS-RunShellScript",
            "DocumentVersion": "1",
            "Comment": "look",
            "ExpiresAfter": 1768479000,
            "Parameters": {
              "commands": [
                "uptime"
              ]
            },
            "InstanceIds": [
              "mi-01010101010101010"
            ],
            "Targets": [],
            "RequestedDateTime": 1768478400,
            "Status": "Pending",
            "StatusDetails": "Delayed",
            "MaxConcurrency": "10%",
            "MaxErrors": "3",
            "TargetCount": 1,
            "CompletedCount": 0,
            "ErrorCount": 0,
            "DeliveryTimedOutCount": 0,
            "TimeoutSeconds": 600
          }
        }"#]],
    );
    let listed = api.ok("ListCommands", &json!({"CommandId": id})).await;
    assert_eq!(listed["Commands"][0]["CommandId"], id.as_str());
    let audit = api
        .store
        .audit(&Default::default(), &Page::first(1))
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(
        (audit.operation.as_str(), audit.access_key_id.as_str()),
        ("SendCommand", KEY_ID)
    );
}

#[tokio::test]
async fn an_invocation_of_a_node_that_is_away_is_delayed_from_the_start() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let id = api.send_to(&[node]).await;
    let mut got = api.invocation(&id, node).await;
    got["CommandId"] = "an id".into();
    check(
        &got,
        &expect![[r#"
        {
          "CommandId": "an id",
          "InstanceId": "mi-01010101010101010",
          "Comment": "",
          "DocumentName": "AWS-RunShellScript",
          "DocumentVersion": "1",
          "PluginName": "aws:runShellScript",
          "ResponseCode": -1,
          "ExecutionStartDateTime": "",
          "ExecutionElapsedTime": "",
          "ExecutionEndDateTime": "",
          "Status": "Delayed",
          "StatusDetails": "Delayed",
          "StandardOutputContent": "",
          "StandardOutputUrl": "",
          "StandardErrorContent": "",
          "StandardErrorUrl": ""
        }"#]],
    );
    let request = json!({"CommandId": id, "Details": true});
    let listed = api.ok("ListCommandInvocations", &request).await;
    let plugin = &listed["CommandInvocations"][0]["CommandPlugins"][0];
    assert_eq!(
        (
            &plugin["Status"],
            &plugin["StatusDetails"],
            &plugin["ResponseCode"]
        ),
        (&json!("Pending"), &json!("Delayed"), &json!(-1))
    );
}

#[tokio::test]
async fn a_result_is_shown_with_times_output_and_where_all_of_it_is() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let id = api.send_to(&[node]).await;
    api.finish(&id, node, 3, "up 3 days\n", "bad\n").await;
    let mut got = api.invocation(&id, node).await;
    assert_eq!(
        got["StandardOutputUrl"],
        format!("http://{HOST}/output/{id}/{node}/0/stdout")
    );
    let whole = got.clone();
    for member in ["CommandId", "StandardOutputUrl", "StandardErrorUrl"] {
        got[member] = "…".into();
    }
    check(
        &got,
        &expect![[r#"
        {
          "CommandId": "…",
          "InstanceId": "mi-01010101010101010",
          "Comment": "",
          "DocumentName": "AWS-RunShellScript",
          "DocumentVersion": "1",
          "PluginName": "aws:runShellScript",
          "ResponseCode": 3,
          "ExecutionStartDateTime": "2026-01-15T12:00:01.000Z",
          "ExecutionElapsedTime": "PT1.5S",
          "ExecutionEndDateTime": "2026-01-15T12:00:02.500Z",
          "Status": "Failed",
          "StatusDetails": "Failed",
          "StandardOutputContent": "up 3 days\n",
          "StandardOutputUrl": "…",
          "StandardErrorContent": "bad\n",
          "StandardErrorUrl": "…"
        }"#]],
    );

    let named = json!({"CommandId": id, "InstanceId": node.to_string(), "PluginName": "aws:runShellScript"});
    assert_eq!(api.ok("GetCommandInvocation", &named).await, whole);

    let request = json!({"CommandId": id, "Details": true});
    let listed = api.ok("ListCommandInvocations", &request).await;
    let invocation = &listed["CommandInvocations"][0];
    assert_eq!(invocation["StandardOutputUrl"], whole["StandardOutputUrl"]);
    let mut plugin = invocation["CommandPlugins"][0].clone();
    for member in ["StandardOutputUrl", "StandardErrorUrl"] {
        plugin[member] = "…".into();
    }
    check(
        &plugin,
        &expect![[r#"
        {
          "Name": "aws:runShellScript",
          "Status": "Failed",
          "StatusDetails": "Failed",
          "ResponseCode": 3,
          "ResponseStartDateTime": 1768478401,
          "ResponseFinishDateTime": 1768478402.5,
          "Output": "up 3 days\n\n----------ERROR-------\nbad\n",
          "StandardOutputUrl": "…",
          "StandardErrorUrl": "…"
        }"#]],
    );
    let request = json!({"CommandId": id});
    let listed = api.ok("ListCommandInvocations", &request).await;
    assert_eq!(listed["CommandInvocations"][0]["CommandPlugins"], json!([]));

    let listed = api.ok("ListCommands", &json!({"CommandId": id})).await;
    let command = &listed["Commands"][0];
    assert_eq!(
        (&command["Status"], &command["StatusDetails"]),
        (&json!("Failed"), &json!("Failed"))
    );
    assert_eq!(
        (&command["CompletedCount"], &command["ErrorCount"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn long_output_is_cut_in_replies_and_whole_at_its_url() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let id = api.send_to(&[node]).await;
    let (out, err) = ("ö".repeat(30_000), "x".repeat(9_000));
    api.finish(&id, node, 0, &out, &err).await;
    let got = api.invocation(&id, node).await;
    assert_eq!(got["StandardOutputContent"], "ö".repeat(24_000));
    assert_eq!(got["StandardErrorContent"], "x".repeat(8_000));
    let request = json!({"CommandId": id, "Details": true});
    let listed = api.ok("ListCommandInvocations", &request).await;
    let output = listed["CommandInvocations"][0]["CommandPlugins"][0]["Output"]
        .as_str()
        .unwrap();
    assert_eq!(output.chars().count(), 2500);
    assert!(output.contains("\n---Output truncated---"), "{output}");

    for (stream, whole) in [("stdout", &out), ("stderr", &err)] {
        let signer = Signer::get(&format!("/output/{id}/{node}/0/{stream}"));
        let answer = api.send(signer.signed()).await;
        assert_eq!(
            (answer.status, answer.bytes.as_slice()),
            (200, whole.as_bytes())
        );
        let mut unsigned = signer.signed();
        unsigned.headers_mut().remove("authorization");
        let answer = api.send(unsigned).await;
        assert_eq!(answer.code(), "MissingAuthenticationTokenException");
    }
    for elsewhere in [
        format!("/output/{id}/{node}/1/stdout"),
        format!("/output/{id}/{node}/0/stdin"),
        format!("/output/{id}/{}/0/stdout", node_id(9)),
        "/output/a/b/c/d".to_owned(),
        "/output/%ff/b/c/d".to_owned(),
    ] {
        let answer = api.send(Signer::get(&elsewhere).signed()).await;
        assert_eq!(answer.code(), "InvocationDoesNotExist", "{elsewhere}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_by_what_is_wrong() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let gone = api.register(2).await;
    api.ok(
        "DeregisterManagedInstance",
        &json!({"InstanceId": gone.to_string()}),
    )
    .await;
    let id = node.to_string();
    let sha256 = "0".repeat(64);
    for (changes, code) in [
        (json!({"DocumentName": "Nonsense"}), "InvalidDocument"),
        (json!({"DocumentVersion": "7"}), "InvalidDocumentVersion"),
        (json!({"DocumentHash": sha256}), "InvalidDocument"),
        (
            json!({"DocumentHash": sha256, "DocumentHashType": "Sha1"}),
            "InvalidDocument",
        ),
        (json!({"DocumentHashType": "Sha256"}), "ValidationException"),
        (json!({"Parameters": {}}), "InvalidParameters"),
        (
            json!({"Parameters": {"commands": ["a"], "shell": ["zsh"]}}),
            "InvalidParameters",
        ),
        (
            json!({"Parameters": {"commands": vec!["true"; 1001]}}),
            "MaxDocumentSizeExceeded",
        ),
        (json!({"InstanceIds": [id, id]}), "DuplicateInstanceId"),
        (
            json!({"InstanceIds": ["mi-0000000000000000f"]}),
            "InvalidInstanceId",
        ),
        (
            json!({"InstanceIds": ["i-0123456789abcdef0"]}),
            "InvalidInstanceId",
        ),
        (
            json!({"InstanceIds": [gone.to_string()]}),
            "InvalidInstanceId",
        ),
        (json!({"InstanceIds": []}), "ValidationException"),
        (
            json!({"Targets": [{"Key": "tag:site", "Values": ["north"]}]}),
            "ValidationException",
        ),
        (
            json!({"InstanceIds": null, "Targets": [{"Key": "resource-groups:Name", "Values": ["a"]}]}),
            "ValidationException",
        ),
        (json!({"TimeoutSeconds": 29}), "ValidationException"),
        (json!({"TimeoutSeconds": 2_592_001}), "ValidationException"),
        (json!({"MaxConcurrency": "0"}), "ValidationException"),
        (json!({"MaxErrors": "101%"}), "ValidationException"),
        (
            json!({"OutputS3BucketName": "bucket"}),
            "ValidationException",
        ),
        (
            json!({"ServiceRoleArn": "arn:aws:iam::000000000000:role/r"}),
            "ValidationException",
        ),
    ] {
        let mut request = run(&[node]);
        for (member, value) in changes.as_object().unwrap() {
            request[member] = value.clone();
        }
        assert_eq!(
            api.refused("SendCommand", &request).await,
            code,
            "{changes}"
        );
    }
    let listed = api.ok("ListCommands", &json!({})).await;
    assert_eq!(listed["Commands"], json!([]), "nothing was sent");
}

#[tokio::test]
async fn a_command_runs_only_a_document_that_has_the_hash_given() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let content = library::find("AWS-RunShellScript")
        .unwrap()
        .default_version()
        .content();
    let digest = |algorithm| hex::encode(ring::digest::digest(algorithm, content.as_bytes()));
    let sha256 = digest(&ring::digest::SHA256).to_uppercase();
    let sha1 = digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    for (hash, kind) in [
        (&sha256, Some("Sha256")),
        (&sha256, None),
        (&sha1, Some("Sha1")),
    ] {
        let mut request = run(&[node]);
        request["DocumentHash"] = hash.as_str().into();
        request["DocumentHashType"] = json!(kind);
        api.ok("SendCommand", &request).await;
    }
}

#[tokio::test]
async fn targets_name_nodes_by_tag_and_may_name_none() {
    let api = Fixture::new().await;
    for number in 1..=4 {
        api.register(number).await;
    }
    let send = async |key: &str, values: Json| {
        let request = json!({
            "DocumentName": "arn:aws:ssm:eu-central-1::document/AWS-RunShellScript",
            "Targets": [{"Key": key, "Values": values}], "Parameters": {"commands": ["uptime"]},
        });
        api.ok("SendCommand", &request).await["Command"].take()
    };
    let command = send("tag:site", json!(["north"])).await;
    assert_eq!(
        (&command["TargetCount"], &command["DocumentName"]),
        (&json!(2), &json!("AWS-RunShellScript"))
    );
    let request = json!({"CommandId": command["CommandId"]});
    let listed = api.ok("ListCommandInvocations", &request).await;
    let mut nodes: Vec<&str> = listed["CommandInvocations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["InstanceId"].as_str().unwrap())
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [node_id(2).to_string(), node_id(4).to_string()]);

    assert_eq!(send("tag-key", json!(["site"])).await["TargetCount"], 4);
    assert_eq!(
        send("InstanceIds", json!([node_id(1).to_string()])).await["TargetCount"],
        1
    );
    let none = send("tag:site", json!(["nowhere"])).await;
    assert_eq!(
        (&none["TargetCount"], &none["StatusDetails"]),
        (&json!(0), &json!("NoInstancesInTag"))
    );
}

#[tokio::test]
async fn a_command_is_cancelled_on_some_nodes_or_all() {
    let api = Fixture::new().await;
    let nodes = [
        api.register(1).await,
        api.register(2).await,
        api.register(3).await,
    ];
    let id = api.send_to(&nodes).await;
    let one = json!({"CommandId": id, "InstanceIds": [nodes[0].to_string()]});
    api.ok("CancelCommand", &one).await;
    assert_eq!(api.invocation(&id, nodes[0]).await["Status"], "Cancelled");
    assert_eq!(api.invocation(&id, nodes[1]).await["Status"], "Delayed");
    api.finish(&id, nodes[1], 0, "", "").await;
    api.ok("CancelCommand", &json!({"CommandId": id})).await;
    assert_eq!(
        api.invocation(&id, nodes[1]).await["Status"],
        "Success",
        "what has ended stays"
    );
    assert_eq!(api.invocation(&id, nodes[2]).await["Status"], "Cancelled");

    let other = api.register(4).await.to_string();
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (request, code) in [
        (json!({"CommandId": unknown}), "InvalidCommandId"),
        (json!({"CommandId": "x".repeat(36)}), "InvalidCommandId"),
        (
            json!({"CommandId": id, "InstanceIds": [other]}),
            "InvalidInstanceId",
        ),
        (
            json!({"CommandId": id, "InstanceIds": ["i-0123456789abcdef0"]}),
            "InvalidInstanceId",
        ),
        (
            json!({"CommandId": id, "InstanceIds": [other, other]}),
            "DuplicateInstanceId",
        ),
    ] {
        assert_eq!(
            api.refused("CancelCommand", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn an_invocation_that_is_not_there_is_refused_by_what_is_wrong() {
    let api = Fixture::new().await;
    let (node, other) = (api.register(1).await, api.register(2).await);
    let id = api.send_to(&[node]).await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (command, node, plugin, code) in [
        (
            id.as_str(),
            other.to_string(),
            None,
            "InvocationDoesNotExist",
        ),
        (unknown, node.to_string(), None, "InvocationDoesNotExist"),
        (&"x".repeat(36), node.to_string(), None, "InvalidCommandId"),
        (
            &id,
            "i-0123456789abcdef0".to_owned(),
            None,
            "InvalidInstanceId",
        ),
        (
            &id,
            node.to_string(),
            Some("aws:other"),
            "InvalidPluginName",
        ),
    ] {
        let request = json!({"CommandId": command, "InstanceId": node, "PluginName": plugin});
        assert_eq!(
            api.refused("GetCommandInvocation", &request).await,
            code,
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_deregistered_node_is_gone_and_its_history_stays() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let id = api.send_to(&[node]).await;
    let request = json!({"InstanceId": node.to_string()});
    api.ok("DeregisterManagedInstance", &request).await;
    let listed = api.ok("DescribeInstanceInformation", &json!({})).await;
    assert_eq!(listed["InstanceInformationList"], json!([]));
    let invocation = api.invocation(&id, node).await;
    assert_eq!(invocation["StatusDetails"], "Undeliverable");
    for unknown in [node.to_string(), node_id(9).to_string()] {
        let request = json!({"InstanceId": unknown});
        assert_eq!(
            api.refused("DeregisterManagedInstance", &request).await,
            "InvalidInstanceId"
        );
    }
}
