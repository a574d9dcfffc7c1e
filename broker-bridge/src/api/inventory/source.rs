//! A node's inventory of one type, in the attributes of the type's schema.
//! Never shows an attribute that the schema does not have. What the bridge knows better than a report (who the node
//! is, whether it is connected, when it scanned) it fills in itself.

use std::collections::BTreeMap;

use holdfast_aws_api::ApiError;
use holdfast_aws_api::inventory_schema;
use holdfast_bridge_core::compliance::{self, Item};
use holdfast_bridge_core::inventory::entries;
use holdfast_bridge_core::patch::{self, PatchSummary};
use sha2::{Digest as _, Sha256};

use crate::api::context::Context;
use crate::api::patch::detail;
use crate::store::{Connectivity, GapCount, Node, StoredReport, UnixMs};

/// Attribute and value.
pub(super) type Entry = BTreeMap<String, String>;

/// What a node has of one type.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) captured: UnixMs,
    /// Of the content, in hexadecimal digits.
    pub(super) hash: String,
    pub(super) entries: Vec<Entry>,
}

/// A node's inventory of a type; none when it has not reported any.
pub(super) async fn gathered(
    context: &Context<'_>,
    node: &Node,
    type_name: &str,
) -> Result<Option<Gathered>, ApiError> {
    match type_name {
        "AWS:ComplianceItem" => compliance_items(context, node).await,
        inventory_schema::GAPS_TYPE => gaps(context, node).await,
        patch::SUMMARY_TYPE => {
            let report = report(context, node, type_name).await?;
            let group = context.store().patch_group(node.id).await;
            let group = group.map_err(|error| context.store_error(&error))?;
            Ok(report.and_then(|report| patch_summary(&report, group.unwrap_or_default())))
        }
        "AWS:InstanceInformation" => {
            let report = report(context, node, type_name).await?;
            Ok(report.map(|report| instance_information(node, &report)))
        }
        _ => {
            let report = report(context, node, type_name).await?;
            Ok(report.map(|report| of_report(&report, Entry::clone)))
        }
    }
}

async fn report(
    context: &Context<'_>,
    node: &Node,
    type_name: &str,
) -> Result<Option<StoredReport>, ApiError> {
    let report = context.store().report(node.id, type_name).await;
    report.map_err(|error| context.store_error(&error))
}

/// The entries of a report, each made over, with the attributes that the schema has.
fn of_report(report: &StoredReport, make: impl Fn(&Entry) -> Entry) -> Gathered {
    let known = inventory_schema::inventory_type(&report.type_name);
    let attributes: Vec<&str> = known.iter().flat_map(|known| known.attributes()).collect();
    let made = entries(&report.table).map(|entry| {
        let mut entry = make(&entry);
        entry.retain(|name, _| attributes.contains(&name.as_str()));
        entry
    });
    Gathered {
        captured: report.captured,
        hash: hex::encode(report.hash),
        entries: made.collect(),
    }
}

fn instance_information(node: &Node, report: &StoredReport) -> Gathered {
    let status = match node.connectivity {
        Connectivity::Online => "Active",
        Connectivity::ConnectionLost => "ConnectionLost",
    };
    let known = [
        ("InstanceId", node.id.as_str()),
        ("InstanceStatus", status),
        ("IamRole", node.iam_role.as_str()),
    ];
    of_report(report, |entry| {
        let mut entry = entry.clone();
        let filled = known.iter().filter(|(_, value)| !value.is_empty());
        entry.extend(filled.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        entry
    })
}

fn patch_summary(report: &StoredReport, group: String) -> Option<Gathered> {
    let scan = PatchSummary::from_table(&report.table)?;
    let at = |time: &str| match time {
        "" => capture_time(report.captured),
        time => time.to_owned(),
    };
    let filled = [
        ("BaselineId", scan.baseline_id.clone()),
        ("PatchGroup", group),
        ("OperationType", scan.operation.clone()),
        ("OperationStartTime", at(&scan.operation_start_time)),
        ("OperationEndTime", at(&scan.operation_end_time)),
    ];
    Some(of_report(report, |entry| {
        let mut entry = entry.clone();
        let filled = filled.iter().filter(|(_, value)| !value.is_empty());
        entry.extend(filled.map(|(name, value)| ((*name).to_owned(), value.clone())));
        entry
    }))
}

async fn compliance_items(
    context: &Context<'_>,
    node: &Node,
) -> Result<Option<Gathered>, ApiError> {
    let found = context.store().compliance_items(node.id).await;
    let found = found.map_err(|error| context.store_error(&error))?;
    Ok(found.map(|(scan, items, captured)| {
        let entries: Vec<Entry> = items
            .into_iter()
            .map(|item| compliance_item(&scan, item, captured))
            .collect();
        Gathered {
            captured,
            hash: hash_of(&entries),
            entries,
        }
    }))
}

fn hash_of(entries: &[Entry]) -> String {
    let mut hash = Sha256::new();
    for (name, value) in entries.iter().flatten() {
        hash.update(name);
        hash.update([0]);
        hash.update(value);
        hash.update([0]);
    }
    hex::encode(hash.finalize().get(..8).unwrap_or_default())
}

/// What of the node's records will never arrive; none of a node that lost none. Captured when the last was learnt of.
async fn gaps(context: &Context<'_>, node: &Node) -> Result<Option<Gathered>, ApiError> {
    let gaps = context.store().gaps(node.id).await;
    let gaps = gaps.map_err(|error| context.store_error(&error))?;
    let Some(captured) = gaps.iter().map(|gap| gap.latest).max() else {
        return Ok(None);
    };
    let entry = |gap: &GapCount| {
        let values = [
            ("Class", gap.class.name().to_owned()),
            ("Reason", gap.reason.clone()),
            ("LatestTime", capture_time(gap.latest)),
            ("Gaps", gap.gaps.to_string()),
            ("Records", gap.records.to_string()),
        ];
        let named = values.map(|(name, value)| (name.to_owned(), value));
        Entry::from(named)
    };
    let entries: Vec<Entry> = gaps.iter().map(entry).collect();
    Ok(Some(Gathered {
        captured,
        hash: hash_of(&entries),
        entries,
    }))
}

fn compliance_item(scan: &PatchSummary, item: Item, captured: UnixMs) -> Entry {
    let status = if item.compliant {
        "COMPLIANT"
    } else {
        "NON_COMPLIANT"
    };
    let own = [
        ("ComplianceType", compliance::PATCH_TYPE.to_owned()),
        ("ExecutionId", scan.execution_id.clone()),
        ("ExecutionType", scan.execution_type.clone()),
        ("ExecutionTime", capture_time(captured)),
        ("Id", item.id),
        ("Title", item.title),
        ("Status", status.to_owned()),
        ("Severity", item.severity.as_str().to_owned()),
    ];
    let known = inventory_schema::inventory_type("AWS:ComplianceItem");
    let attributes: Vec<&str> = known.iter().flat_map(|known| known.attributes()).collect();
    own.into_iter()
        .chain(item.details.into_iter().map(detail))
        .filter(|(name, value)| !value.is_empty() && attributes.contains(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// ISO 8601 in UTC with seconds, as the service writes capture times.
pub(super) fn capture_time(captured: UnixMs) -> String {
    let time = jiff::Timestamp::from_millisecond(captured);
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}
