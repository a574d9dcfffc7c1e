//! `GetInventory`, `ListInventoryEntries`, `GetInventorySchema`.
//! Never reads more than a stretch of the fleet for one page: a page may be short, and its token goes on.

mod source;

use std::collections::BTreeMap;

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter::{self, Condition, Key, Operator, Test};
use holdfast_aws_api::inventory_schema::{self, InventoryType};
use holdfast_aws_api::shape::inventory::*;
use holdfast_protocol::NodeId;

use super::context::Context;
use super::nodes;
use crate::store::Node;
use source::{Entry, Gathered};

/// What `GetInventory` shows when no type is asked for.
const TYPE_DEFAULT: &str = "AWS:InstanceInformation";
/// Nodes that one page looks at.
const NODES_READ_MAX: u32 = 200;
/// A page ends with the node that brings it above this many bytes of content.
const PAGE_BYTES_MAX: usize = 4 << 20;

pub(super) async fn get(
    context: &Context<'_>,
    asked: GetInventoryRequest,
) -> Result<GetInventoryResult, ApiError> {
    let conditions = filter::inventory(&asked)?;
    let types = wanted_types(&asked)?;
    let pager = context.pager(
        "GetInventory",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let after = pager.page.after.as_deref().unwrap_or_default();
    let candidates = candidates(context, &conditions, after).await?;
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let read_all = candidates.len() < usize::try_from(NODES_READ_MAX).unwrap_or(usize::MAX);
    let last = candidates.last().copied();
    let (mut entities, mut bytes, mut place) = (Vec::new(), 0, None);
    for id in candidates {
        if entities.len() >= limit || bytes > PAGE_BYTES_MAX {
            break;
        }
        place = Some(id);
        let Some(node) = registered(context, id).await? else {
            continue;
        };
        if let Some(data) = data(context, &node, &conditions, &types).await? {
            bytes += data.values().map(item_bytes).sum::<usize>();
            entities.push(InventoryResultEntity {
                id: Some(id.to_string()),
                data: Some(data),
            });
        }
    }
    let ended = read_all && place == last;
    let next = place.filter(|_| !ended).map(|id| id.to_string());
    Ok(GetInventoryResult {
        entities,
        next_token: pager.token(next)?,
    })
}

fn wanted_types(asked: &GetInventoryRequest) -> Result<Vec<&'static InventoryType>, ApiError> {
    let names = asked.result_attributes.iter().flatten();
    let types = names.map(|attribute| {
        let name = attribute.type_name.as_str();
        inventory_schema::inventory_type(name).ok_or_else(|| inventory_schema::unknown_type(name))
    });
    let mut types: Vec<_> = types.collect::<Result<_, _>>()?;
    if types.is_empty() {
        types.extend(inventory_schema::inventory_type(TYPE_DEFAULT));
    }
    Ok(types)
}

/// The nodes to look at, by id: those that a filter names, else a stretch of all that have reported.
async fn candidates(
    context: &Context<'_>,
    conditions: &[Condition],
    after: &str,
) -> Result<Vec<NodeId>, ApiError> {
    if let Some(named) = conditions.iter().find_map(named_nodes) {
        let mut named: Vec<NodeId> = named
            .iter()
            .filter(|id| id.as_str() > after)
            .filter_map(|id| id.parse().ok())
            .collect();
        named.sort_unstable();
        named.dedup();
        return Ok(named);
    }
    let reporting = context.store().reporting_nodes(after, NODES_READ_MAX).await;
    reporting.map_err(|error| context.store_error(&error))
}

fn named_nodes(condition: &Condition) -> Option<&[String]> {
    let by_id = Key::Attribute {
        type_name: TYPE_DEFAULT,
        attribute: "InstanceId",
    };
    match &condition.test {
        Test::Text {
            operator: Operator::Equal,
            values,
        } if condition.key == by_id => Some(values),
        Test::Text { .. } | Test::NotBefore { .. } | Test::Before { .. } => None,
    }
}

async fn registered(context: &Context<'_>, id: NodeId) -> Result<Option<Node>, ApiError> {
    let node = context.store().node(id).await;
    let node = node.map_err(|error| context.store_error(&error))?;
    Ok(node.filter(|node| node.deregistered.is_none()))
}

/// What a node that meets every condition has of the types wanted; none when it does not, or has nothing.
async fn data(
    context: &Context<'_>,
    node: &Node,
    conditions: &[Condition],
    types: &[&'static InventoryType],
) -> Result<Option<BTreeMap<String, InventoryResultItem>>, ApiError> {
    let mut by_type: BTreeMap<&str, Vec<&Condition>> = BTreeMap::new();
    for condition in conditions {
        if let Key::Attribute { type_name, .. } = &condition.key {
            by_type.entry(type_name).or_default().push(condition);
        }
    }
    for (type_name, conditions) in by_type {
        let gathered = source::gathered(context, node, type_name).await?;
        // Conditions on one type are about one and the same entry.
        let meets = |entry: &Entry| conditions.iter().all(|condition| meets(condition, entry));
        if !gathered.is_some_and(|gathered| gathered.entries.iter().any(meets)) {
            return Ok(None);
        }
    }
    let mut data = BTreeMap::new();
    for known in types {
        if let Some(gathered) = source::gathered(context, node, known.name).await? {
            data.insert(known.name.to_owned(), item(known, gathered));
        }
    }
    Ok((!data.is_empty()).then_some(data))
}

fn meets(condition: &Condition, entry: &Entry) -> bool {
    let Key::Attribute { attribute, .. } = &condition.key else {
        return false;
    };
    condition.is_met_by(entry.get(*attribute).map(String::as_str))
}

fn item(known: &InventoryType, gathered: Gathered) -> InventoryResultItem {
    InventoryResultItem {
        type_name: known.name.to_owned(),
        schema_version: known.version.to_owned(),
        capture_time: Some(source::capture_time(gathered.captured)),
        content_hash: Some(gathered.hash),
        content: gathered.entries,
    }
}

fn item_bytes(item: &InventoryResultItem) -> usize {
    let cells = item.content.iter().flatten();
    cells.map(|(name, value)| name.len() + value.len()).sum()
}

pub(super) async fn list_entries(
    context: &Context<'_>,
    asked: ListInventoryEntriesRequest,
) -> Result<ListInventoryEntriesResult, ApiError> {
    let conditions = filter::inventory_entries(&asked)?;
    let known = inventory_schema::inventory_type(&asked.type_name)
        .ok_or_else(|| inventory_schema::unknown_type(&asked.type_name))?;
    let id = nodes::node_id(&asked.instance_id)?;
    let node = registered(context, id).await?;
    let node = node.ok_or_else(|| nodes::unknown(&asked.instance_id))?;
    let pager = context.pager(
        "ListInventoryEntries",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let mut reply = ListInventoryEntriesResult {
        type_name: Some(known.name.to_owned()),
        instance_id: Some(asked.instance_id.clone()),
        schema_version: Some(known.version.to_owned()),
        ..ListInventoryEntriesResult::default()
    };
    let Some(gathered) = source::gathered(context, &node, known.name).await? else {
        return Ok(reply);
    };
    let from = pager.offset(&gathered.hash)?;
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let meets = |entry: &Entry| conditions.iter().all(|condition| meets(condition, entry));
    let mut found = gathered.entries.into_iter().filter(meets).skip(from);
    reply.entries = found.by_ref().take(limit).collect();
    reply.capture_time = Some(source::capture_time(gathered.captured));
    if found.next().is_some() {
        reply.next_token = pager.token_at(&gathered.hash, from.saturating_add(limit))?;
    }
    Ok(reply)
}

pub(super) fn schema(
    context: &Context<'_>,
    asked: &GetInventorySchemaRequest,
) -> Result<GetInventorySchemaResult, ApiError> {
    let types = inventory_schema::asked_for(asked.type_name.as_deref())?;
    let pager = context.pager(
        "GetInventorySchema",
        asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let after = pager.page.after.as_deref().unwrap_or_default();
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let mut rest = types.iter().filter(|known| known.name > after);
    let shown: Vec<&InventoryType> = rest.by_ref().take(limit).collect();
    let last = shown.last().map(|known| known.name.to_owned());
    let more = rest.next().is_some();
    Ok(GetInventorySchemaResult {
        schemas: shown.into_iter().map(InventoryType::schema).collect(),
        next_token: pager.token(last.filter(|_| more))?,
    })
}
