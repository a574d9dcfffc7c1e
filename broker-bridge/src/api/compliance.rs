//! `ListComplianceItems`, `ListComplianceSummaries`, `ListResourceComplianceSummaries`.
//! Never reads more than a stretch of the fleet for one page: a page may be short, and its token goes on.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter::{self, Condition, Key};
use holdfast_aws_api::shape::compliance::*;
use holdfast_bridge_core::compliance::{BySeverity, Item, PATCH_TYPE};
use holdfast_bridge_core::patch::PatchSummary;
use holdfast_protocol::NodeId;

use super::context::{Context, changed, count, non_empty};
use super::patch::{detail, time};
use crate::store::{ComplianceFacts, ComplianceRow, UnixMs};

const RESOURCE_TYPE: &str = "ManagedInstance";
/// Rows of the fleet that one page looks at.
const ROWS_READ_MAX: u32 = 500;
/// Nodes whose items one page looks at.
const NODES_READ_MAX: u32 = 20;
/// In a page's place: every item of its node was passed.
const PASSED: &str = "-";

pub(super) async fn list_items(
    context: &Context<'_>,
    asked: ListComplianceItemsRequest,
) -> Result<ListComplianceItemsResult, ApiError> {
    let conditions = filter::compliance_items(asked.filters.as_deref())?;
    check_types(asked.resource_types.as_deref())?;
    let pager = context.pager(
        "ListComplianceItems",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    // A place is the node that a page ended in, when it was scanned, and how many of its items were
    // passed.
    let place = pager.page.after.as_deref();
    let (within, at) = place
        .and_then(|place| place.split_once(' '))
        .unwrap_or_default();
    let ids = resources(context, asked.resource_ids.as_deref(), within).await?;
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let mut items = Vec::new();
    for id in &ids {
        if id.as_str() == within && at == PASSED {
            continue;
        }
        let found = context.store().compliance_items(*id).await;
        let found = found.map_err(|error| context.store_error(&error))?;
        let Some((scan, found, captured)) = found else {
            continue;
        };
        let skip = match at.split_once(' ').filter(|_| id.as_str() == within) {
            None => 0,
            Some((of, passed)) => passed
                .parse()
                .ok()
                .filter(|_: &usize| of == captured.to_string())
                .ok_or_else(changed)?,
        };
        let room = limit - items.len();
        // A node has thousands, so only those of the page are made ready to be shown.
        let mut found = found
            .into_iter()
            .filter(|item| meets(item, &scan, &conditions));
        let wanted = found.by_ref().skip(skip).take(room);
        items.extend(wanted.map(|item| shown(*id, &scan, item, captured)));
        if found.next().is_some() {
            let next = pager.token(Some(format!("{id} {captured} {}", skip + room)))?;
            return Ok(ListComplianceItemsResult {
                compliance_items: items,
                next_token: next,
            });
        }
    }
    let full = asked.resource_ids.is_none() && ids.len() >= NODES_READ_MAX as usize;
    let last = ids.last().filter(|_| full);
    Ok(ListComplianceItemsResult {
        compliance_items: items,
        next_token: pager.token(last.map(|id| format!("{id} {PASSED}")))?,
    })
}

fn check_types(types: Option<&[String]>) -> Result<(), ApiError> {
    match types
        .unwrap_or_default()
        .iter()
        .find(|name| *name != RESOURCE_TYPE)
    {
        None => Ok(()),
        Some(other) => Err(ApiError::invalid_resource_type(format!(
            "'{other}' has no compliance here; the type is {RESOURCE_TYPE}."
        ))),
    }
}

/// The nodes asked for, each once, else a stretch of the fleet; from the node `from` on, in which the page before
/// ended.
async fn resources(
    context: &Context<'_>,
    asked: Option<&[String]>,
    from: &str,
) -> Result<Vec<NodeId>, ApiError> {
    let Some(asked) = asked else {
        let fault = |error| context.store_error(&error);
        let rest = context.store().reporting_nodes(from, NODES_READ_MAX);
        let mut ids: Vec<NodeId> = from.parse().into_iter().collect();
        ids.extend(rest.await.map_err(fault)?);
        return Ok(ids);
    };
    let mut ids = Vec::with_capacity(asked.len());
    for text in asked.iter().collect::<BTreeSet<_>>() {
        let wrong = || {
            ApiError::invalid_resource_id(format!(
                "{text} is not a node that is registered here; DescribeInstanceInformation lists those there are."
            ))
        };
        let id: NodeId = text.parse().map_err(|_| wrong())?;
        let node = context.store().node(id).await;
        let node = node.map_err(|error| context.store_error(&error))?;
        node.filter(|node| node.deregistered.is_none())
            .ok_or_else(wrong)?;
        ids.push(id);
    }
    // They are in order, so what is before it was listed.
    ids.retain(|id| id.as_str() >= from);
    Ok(ids)
}

fn meets(item: &Item, scan: &PatchSummary, conditions: &[Condition]) -> bool {
    let value = |condition: &Condition| value_of(item, scan, condition).map(str::to_owned);
    conditions
        .iter()
        .all(|condition| condition.is_met_by(value(condition).as_deref()))
}

/// The property of an item that a condition is about.
fn value_of<'a>(item: &'a Item, scan: &'a PatchSummary, condition: &Condition) -> Option<&'a str> {
    let Key::Named(name) = condition.key else {
        return None;
    };
    match name {
        "ComplianceType" => Some(PATCH_TYPE),
        "ExecutionId" => Some(&scan.execution_id),
        "ExecutionType" => Some(&scan.execution_type),
        "Id" => Some(&item.id),
        "Severity" => Some(item.severity.as_str()),
        "Status" => Some(status(item.compliant)),
        "Title" => Some(&item.title),
        detail => {
            let found = item.details.iter().find(|(name, _)| *name == detail);
            found.map(|(_, value)| value.as_str())
        }
    }
}

fn status(compliant: bool) -> &'static str {
    if compliant {
        "COMPLIANT"
    } else {
        "NON_COMPLIANT"
    }
}

fn shown(id: NodeId, scan: &PatchSummary, item: Item, captured: UnixMs) -> ComplianceItem {
    let details = item.details.into_iter().map(detail);
    ComplianceItem {
        compliance_type: Some(PATCH_TYPE.to_owned()),
        resource_type: Some(RESOURCE_TYPE.to_owned()),
        resource_id: Some(id.to_string()),
        id: Some(item.id),
        title: Some(item.title),
        status: Some(status(item.compliant).to_owned()),
        severity: Some(item.severity.as_str().to_owned()),
        execution_summary: Some(ComplianceExecutionSummary {
            execution_time: time(&scan.operation_end_time, captured),
            execution_id: non_empty(&scan.execution_id),
            execution_type: non_empty(&scan.execution_type),
        }),
        details: Some(
            details
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        ),
    }
}

pub(super) async fn list_summaries(
    context: &Context<'_>,
    asked: ListComplianceSummariesRequest,
) -> Result<ListComplianceSummariesResult, ApiError> {
    let conditions = filter::compliance_summaries(asked.filters.as_deref())?;
    let pager = context.pager(
        "ListComplianceSummaries",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let counts = context.store().compliance_counts().await;
    let counts = counts.map_err(|error| context.store_error(&error))?;
    let mut by_type: BTreeMap<String, [SeveritySummary; 2]> = BTreeMap::new();
    for (facts, nodes) in counts {
        if has_all(&conditions, &facts) {
            let [compliant, non_compliant] =
                by_type.entry(facts.compliance_type).or_insert_with(|| {
                    [
                        by_severity(&BySeverity::default()),
                        by_severity(&BySeverity::default()),
                    ]
                });
            let summary = if facts.compliant {
                compliant
            } else {
                non_compliant
            };
            add(summary, &facts.severity, count(nodes));
        }
    }
    let after = pager.page.after.clone().unwrap_or_default();
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let mut rest = by_type.into_iter().filter(|(name, _)| *name > after);
    let shown: Vec<_> = rest.by_ref().take(limit).collect();
    let last = shown.last().map(|(name, _)| name.clone());
    let more = rest.next().is_some();
    Ok(ListComplianceSummariesResult {
        compliance_summary_items: shown.into_iter().map(summary_item).collect(),
        next_token: pager.token(last.filter(|_| more))?,
    })
}

fn summary_item(
    (compliance_type, [yes, no]): (String, [SeveritySummary; 2]),
) -> ComplianceSummaryItem {
    ComplianceSummaryItem {
        compliance_type: Some(compliance_type),
        compliant_summary: Some(CompliantSummary {
            compliant_count: Some(total(&yes)),
            severity_summary: Some(yes),
        }),
        non_compliant_summary: Some(NonCompliantSummary {
            non_compliant_count: Some(total(&no)),
            severity_summary: Some(no),
        }),
    }
}

/// Counts nodes of a severity.
fn add(summary: &mut SeveritySummary, severity: &str, nodes: i32) {
    let counter = match severity {
        "CRITICAL" => &mut summary.critical_count,
        "HIGH" => &mut summary.high_count,
        "MEDIUM" => &mut summary.medium_count,
        "LOW" => &mut summary.low_count,
        "INFORMATIONAL" => &mut summary.informational_count,
        _ => &mut summary.unspecified_count,
    };
    *counter = Some(counter.unwrap_or(0).saturating_add(nodes));
}

fn total(summary: &SeveritySummary) -> i32 {
    let counts = [
        summary.critical_count,
        summary.high_count,
        summary.medium_count,
        summary.low_count,
        summary.informational_count,
        summary.unspecified_count,
    ];
    counts.into_iter().flatten().fold(0, i32::saturating_add)
}

fn has_all(conditions: &[Condition], facts: &ComplianceFacts) -> bool {
    let value = |condition: &Condition| {
        Some(match condition.key {
            Key::Named("ComplianceType") => facts.compliance_type.as_str(),
            Key::Named("OverallSeverity") => &facts.severity,
            Key::Named("PatchBaselineId") => &facts.baseline_id,
            Key::Named("PatchGroup") => &facts.patch_group,
            Key::Named("Status") => status(facts.compliant),
            Key::Named(_) | Key::Tag(_) | Key::TagKey | Key::Attribute { .. } => return None,
        })
    };
    conditions
        .iter()
        .all(|condition| condition.is_met_by(value(condition)))
}

pub(super) async fn list_resource_summaries(
    context: &Context<'_>,
    asked: ListResourceComplianceSummariesRequest,
) -> Result<ListResourceComplianceSummariesResult, ApiError> {
    let conditions = filter::resource_compliance_summaries(asked.filters.as_deref())?;
    let pager = context.pager(
        "ListResourceComplianceSummaries",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let after = pager
        .page
        .after
        .as_deref()
        .and_then(|place| place.split_once(' '));
    let rows = context.store().compliance_rows(after, ROWS_READ_MAX).await;
    let rows = rows.map_err(|error| context.store_error(&error))?;
    let read_all = rows.len() < ROWS_READ_MAX as usize;
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let (mut items, mut place, total) = (Vec::new(), None, rows.len());
    for (at, row) in (1..).zip(&rows) {
        place = Some((at, format!("{} {}", row.node, row.facts.compliance_type)));
        if has_all(&conditions, &row.facts) {
            items.push(resource_summary(row));
        }
        if items.len() >= limit {
            break;
        }
    }
    let next = place.filter(|(at, _)| !(read_all && *at == total));
    Ok(ListResourceComplianceSummariesResult {
        resource_compliance_summary_items: items,
        next_token: pager.token(next.map(|(_, place)| place))?,
    })
}

fn resource_summary(row: &ComplianceRow) -> ResourceComplianceSummaryItem {
    let summary = &row.summary;
    ResourceComplianceSummaryItem {
        compliance_type: Some(row.facts.compliance_type.clone()),
        resource_type: Some(RESOURCE_TYPE.to_owned()),
        resource_id: Some(row.node.to_string()),
        status: Some(status(row.facts.compliant).to_owned()),
        overall_severity: Some(row.facts.severity.clone()),
        execution_summary: Some(ComplianceExecutionSummary {
            execution_time: time(&summary.execution_time, row.captured),
            execution_id: non_empty(&summary.execution_id),
            execution_type: non_empty(&summary.execution_type),
        }),
        compliant_summary: Some(CompliantSummary {
            compliant_count: Some(count(summary.compliant.total())),
            severity_summary: Some(by_severity(&summary.compliant)),
        }),
        non_compliant_summary: Some(NonCompliantSummary {
            non_compliant_count: Some(count(summary.non_compliant.total())),
            severity_summary: Some(by_severity(&summary.non_compliant)),
        }),
    }
}

fn by_severity(counts: &BySeverity) -> SeveritySummary {
    SeveritySummary {
        critical_count: Some(count(counts.critical)),
        high_count: Some(count(counts.high)),
        medium_count: Some(count(counts.medium)),
        low_count: Some(count(counts.low)),
        informational_count: Some(count(counts.informational)),
        unspecified_count: Some(count(counts.unspecified)),
    }
}
