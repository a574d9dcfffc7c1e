//! Inventory: by node, by type, and the types' schemas.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use std::collections::BTreeMap;

use super::shapes;

shapes! {
    /// What `GetInventory` is asked.
    pub struct GetInventoryRequest {
        filters: Option<Vec<InventoryFilter>>,
        aggregators: Option<Vec<InventoryAggregator>>,
        result_attributes: Option<Vec<ResultAttribute>>,
        next_token: Option<String>,
        max_results: Option<i32>,
    }

    /// Narrows inventory by an attribute.
    pub struct InventoryFilter {
        key: String,
        values: Vec<String>,
        r#type: Option<String>,
    }

    /// Counts inventory instead of listing it.
    pub struct InventoryAggregator {
        expression: Option<String>,
        aggregators: Option<Vec<InventoryAggregator>>,
        groups: Option<Vec<InventoryGroup>>,
    }

    /// What an aggregator counts together.
    pub struct InventoryGroup {
        name: String,
        filters: Vec<InventoryFilter>,
    }

    /// The type of inventory wanted.
    pub struct ResultAttribute {
        type_name: String,
    }

    /// What `GetInventory` answers.
    pub struct GetInventoryResult {
        #[serde(default)]
        entities: Vec<InventoryResultEntity>,
        next_token: Option<String>,
    }

    /// A node's inventory, by type.
    pub struct InventoryResultEntity {
        id: Option<String>,
        data: Option<BTreeMap<String, InventoryResultItem>>,
    }

    /// A node's inventory of one type.
    pub struct InventoryResultItem {
        type_name: String,
        schema_version: String,
        capture_time: Option<String>,
        content_hash: Option<String>,
        content: Vec<BTreeMap<String, String>>,
    }

    /// What `ListInventoryEntries` is asked.
    pub struct ListInventoryEntriesRequest {
        instance_id: String,
        type_name: String,
        filters: Option<Vec<InventoryFilter>>,
        next_token: Option<String>,
        max_results: Option<i32>,
    }

    /// What `ListInventoryEntries` answers.
    pub struct ListInventoryEntriesResult {
        type_name: Option<String>,
        instance_id: Option<String>,
        schema_version: Option<String>,
        capture_time: Option<String>,
        #[serde(default)]
        entries: Vec<BTreeMap<String, String>>,
        next_token: Option<String>,
    }

    /// What `GetInventorySchema` is asked.
    pub struct GetInventorySchemaRequest {
        type_name: Option<String>,
        next_token: Option<String>,
        max_results: Option<i32>,
        aggregator: Option<bool>,
        sub_type: Option<bool>,
    }

    /// What `GetInventorySchema` answers.
    pub struct GetInventorySchemaResult {
        #[serde(default)]
        schemas: Vec<InventoryItemSchema>,
        next_token: Option<String>,
    }

    /// The attributes of a type of inventory.
    pub struct InventoryItemSchema {
        type_name: String,
        version: Option<String>,
        attributes: Vec<InventoryItemAttribute>,
        display_name: Option<String>,
    }

    /// An attribute: its name and whether it is a string or a number.
    pub struct InventoryItemAttribute {
        name: String,
        data_type: String,
    }
}
