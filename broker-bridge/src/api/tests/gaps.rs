//! What nodes lost, as inventory of Holdfast's own type: in the schema, by node, and over the fleet.

use holdfast_protocol::{Class, NodeId};
use serde_json::json;

use super::client::{Fixture, NOW_MS};
use crate::store::{Page, StoreError, streams, writing};

const TYPE: &str = "Custom:HoldfastGaps";

impl Fixture {
    async fn lose(&self, node: NodeId, class: Class, reason: &'static str, records: u64) {
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(async move {
                streams::add_gap(connection, node, class, reason, records, NOW_MS).await
            })
        });
        self.store.writer.write(work).await.unwrap();
    }
}

#[tokio::test]
async fn the_gaps_of_a_node_are_entries_by_class_and_reason() {
    let api = Fixture::new().await;
    let node = api.register(1).await;
    let request = json!({"InstanceId": node.to_string(), "TypeName": TYPE});
    let listed = api.ok("ListInventoryEntries", &request).await;
    assert_eq!(listed["Entries"], json!([]), "nothing was lost");

    api.lose(node, Class::Log, "evicted", 40).await;
    api.lose(node, Class::Log, "evicted", 2).await;
    api.lose(node, Class::State, "superseded", 1).await;
    let listed = api.ok("ListInventoryEntries", &request).await;
    let at = "2026-01-15T12:00:00Z";
    assert_eq!(listed["CaptureTime"], at);
    assert_eq!(
        listed["Entries"],
        json!([
            {"Class": "state", "Reason": "superseded", "Gaps": "1", "Records": "1", "LatestTime": at},
            {"Class": "log", "Reason": "evicted", "Gaps": "2", "Records": "42", "LatestTime": at},
        ])
    );
    let mut filtered = request.clone();
    filtered["Filters"] = json!([{"Key": "Records", "Values": ["10"], "Type": "GreaterThan"}]);
    let listed = api.ok("ListInventoryEntries", &filtered).await;
    assert_eq!(listed["Entries"].as_array().unwrap().len(), 1);
    let schema = api
        .ok("GetInventorySchema", &json!({"TypeName": TYPE}))
        .await;
    let attributes = schema["Schemas"][0]["Attributes"].as_array().unwrap();
    assert_eq!(attributes.len(), 5);
}

#[tokio::test]
async fn the_nodes_that_lost_something_are_found_over_the_fleet() {
    let api = Fixture::new().await;
    let (whole, lost) = (api.register(1).await, api.register(2).await);
    api.lose(lost, Class::Result, "damaged", 1).await;
    let request = json!({"ResultAttributes": [{"TypeName": TYPE}]});
    let found = api.ok("GetInventory", &request).await;
    let entities = found["Entities"].as_array().unwrap();
    assert_eq!(entities.len(), 1, "{whole} lost nothing");
    assert_eq!(entities[0]["Id"], lost.to_string());
    assert_eq!(entities[0]["Data"][TYPE]["Content"][0]["Reason"], "damaged");

    let page = api.store.fleet_gaps(&Page::first(1)).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!((page.items[0].node, page.next), (lost, None));
}
