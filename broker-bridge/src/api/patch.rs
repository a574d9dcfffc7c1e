//! `DescribeInstancePatchStates` and `DescribeInstancePatches`.
//! Never decides which patches are missing: the node's scan did.

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter::{self, Condition, Key};
use holdfast_aws_api::shape::Timestamp;
use holdfast_aws_api::shape::patch::*;
use holdfast_bridge_core::patch::{self, Patch};

use super::context::{Context, count, non_empty, timestamp};
use super::nodes;
use crate::store::{PatchState, UnixMs};

pub(super) async fn describe_states(
    context: &Context<'_>,
    asked: DescribeInstancePatchStatesRequest,
) -> Result<DescribeInstancePatchStatesResult, ApiError> {
    let pager = context.pager(
        "DescribeInstancePatchStates",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    if asked.instance_ids.is_empty() {
        return Ok(DescribeInstancePatchStatesResult::default());
    }
    let states = context.store();
    let states = states
        .patch_states(&asked.instance_ids, &[], &pager.page)
        .await;
    let states = states.map_err(|error| context.store_error(&error))?;
    Ok(DescribeInstancePatchStatesResult {
        instance_patch_states: states.items.into_iter().map(state).collect(),
        next_token: pager.token(states.next)?,
    })
}

fn state(state: PatchState) -> InstancePatchState {
    let scan = state.summary;
    InstancePatchState {
        instance_id: state.node.to_string(),
        patch_group: scan.patch_group,
        baseline_id: scan.baseline_id,
        snapshot_id: non_empty(&scan.snapshot_id),
        install_override_list: non_empty(&scan.install_override_list),
        owner_information: non_empty(&scan.owner_information),
        installed_count: Some(count(scan.installed)),
        installed_other_count: Some(count(scan.installed_other)),
        installed_pending_reboot_count: Some(count(scan.installed_pending_reboot)),
        installed_rejected_count: Some(count(scan.installed_rejected)),
        missing_count: Some(count(scan.missing)),
        failed_count: Some(count(scan.failed)),
        not_applicable_count: Some(count(scan.not_applicable)),
        operation_start_time: time(&scan.operation_start_time, state.captured),
        operation_end_time: time(&scan.operation_end_time, state.captured),
        operation: scan.operation,
        reboot_option: non_empty(&scan.reboot_option),
        critical_non_compliant_count: Some(count(scan.critical_non_compliant)),
        security_non_compliant_count: Some(count(scan.security_non_compliant)),
        other_non_compliant_count: Some(count(scan.other_non_compliant)),
        // What the node's scan does not count.
        unreported_not_applicable_count: None,
        available_security_update_count: None,
        last_no_reboot_install_operation_time: None,
    }
}

/// A time as a node wrote it (RFC 3339, or seconds since 1970), else when the bridge captured the report.
pub(super) fn time(written: &str, captured: UnixMs) -> Timestamp {
    let read = moment(written).unwrap_or(captured);
    timestamp(read)
}

/// A detail of a compliance item: times as a node wrote them become ISO 8601, what is no time stays as it is.
pub(super) fn detail((name, value): (&'static str, String)) -> (&'static str, String) {
    if name != "InstalledTime" {
        return (name, value);
    }
    let time = moment(&value).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let iso = time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    (name, iso.unwrap_or(value))
}

/// Milliseconds since 1970.
fn moment(written: &str) -> Option<UnixMs> {
    let seconds = written.parse::<i64>().ok();
    let seconds = seconds.and_then(|seconds| seconds.checked_mul(1000));
    let rfc3339 = || written.parse::<jiff::Timestamp>().ok();
    seconds
        .or_else(|| rfc3339().map(|time| time.as_millisecond()))
        .filter(|ms| *ms >= 0)
}

pub(super) async fn describe_patches(
    context: &Context<'_>,
    asked: DescribeInstancePatchesRequest,
) -> Result<DescribeInstancePatchesResult, ApiError> {
    let conditions = filter::patches(&asked)?;
    let id = nodes::registered(context, &asked.instance_id).await?;
    let pager = context.pager(
        "DescribeInstancePatches",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let report = context.store().report(id, patch::STATE_TYPE).await;
    let Some(report) = report.map_err(|error| context.store_error(&error))? else {
        return Ok(DescribeInstancePatchesResult::default());
    };
    let hash = hex::encode(report.hash);
    let from = pager.offset(&hash)?;
    let limit = usize::try_from(pager.page.limit).unwrap_or(usize::MAX);
    let meets = |patch: &Patch| conditions.iter().all(|condition| meets(condition, patch));
    let mut found = patch::patches(&report.table).filter(meets).skip(from);
    let patches = found.by_ref().take(limit).map(shown).collect();
    let next_token = match found.next() {
        Some(_) => pager.token_at(&hash, from.saturating_add(limit))?,
        None => None,
    };
    Ok(DescribeInstancePatchesResult {
        patches,
        next_token,
    })
}

fn meets(condition: &Condition, patch: &Patch) -> bool {
    let value = match condition.key {
        Key::Named("Classification") => patch.classification.as_str(),
        Key::Named("KBId") => &patch.kb_id,
        Key::Named("Severity") => &patch.severity,
        Key::Named("State") => return condition.is_met_by(Some(&state_of(patch))),
        Key::Named(_) | Key::Tag(_) | Key::TagKey | Key::Attribute { .. } => return false,
    };
    condition.is_met_by(Some(value))
}

/// The state as the model's enumeration (`PatchComplianceDataState`) spells it: `InstalledOther` is
/// `INSTALLED_OTHER`.
/// Compliance items, whose details are free text, keep the other spelling, as the service does.
fn state_of(patch: &Patch) -> String {
    let mut spelt = String::with_capacity(patch.state.len() + 4);
    for (at, letter) in patch.state.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            spelt.push('_');
        }
        spelt.push(letter.to_ascii_uppercase());
    }
    spelt
}

fn shown(patch: Patch) -> PatchComplianceData {
    PatchComplianceData {
        state: state_of(&patch),
        title: patch.title,
        kb_id: patch.kb_id,
        classification: patch.classification,
        severity: patch.severity,
        // As with the service, what is not installed shows the year 1970.
        installed_time: time(&patch.installed_time, 0),
        cve_ids: non_empty(&patch.cve_ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms_else_they_are_the_captures() {
        for (written, ms) in [
            ("1768478400", 1_768_478_400_000),
            ("2026-01-15T12:00:00Z", 1_768_478_400_000),
            ("", 7),
            ("-1", 7),
            ("9223372036854775807", 7),
            ("yesterday", 7),
        ] {
            assert_eq!(time(written, 7).unix_ms, ms, "{written}");
        }
        let told = |value: &str| detail(("InstalledTime", value.to_owned())).1;
        assert_eq!(told("1768478400"), "2026-01-15T12:00:00Z");
        assert_eq!(told("yesterday"), "yesterday");
    }
}
