//! A run that the agent or the machine did not survive, as the API shows it: it has no status for that.

use holdfast_protocol::up::InvocationState;
use serde_json::json;

use super::client::Fixture;

#[tokio::test]
async fn an_interrupted_run_is_a_failure_whose_reason_says_so() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let id = api.send_to(&[node]).await;
    let ended = (InvocationState::Interrupted, -1, "the machine stopped");
    api.end(&id, node, ended, "half of it\n", "").await;
    let got = api.invocation(&id, node).await;
    let why = "Interrupted: the machine stopped";
    assert_eq!(
        (&got["Status"], &got["StatusDetails"], &got["ResponseCode"]),
        (&json!("Failed"), &json!("Failed"), &json!(-1))
    );
    assert_eq!(got["StandardErrorContent"], why);
    assert_eq!(got["StandardOutputContent"], "half of it\n");
    let request = json!({"CommandId": id, "Details": true});
    let listed = api.ok("ListCommandInvocations", &request).await;
    let invocation = &listed["CommandInvocations"][0];
    assert_eq!(
        (&invocation["StatusDetails"], &invocation["TraceOutput"]),
        (&json!("Failed"), &json!(why))
    );
    let plugin = &invocation["CommandPlugins"][0];
    assert_eq!(plugin["StatusDetails"], "Failed");
    assert!(plugin["Output"].as_str().unwrap().ends_with(why));
    // The details that a filter takes have no word for it either.
    let request = json!({"Filters": [{"key": "Status", "value": "Failed"}]});
    let listed = api.ok("ListCommandInvocations", &request).await;
    assert_eq!(listed["CommandInvocations"].as_array().unwrap().len(), 1);
}
