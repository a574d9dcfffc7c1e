"""Patch states and compliance: one scan, seen from five operations that must agree."""

import collections
import subprocess

import pytest

COUNTS = {
    "MISSING": "MissingCount",
    "INSTALLED": "InstalledCount",
    "INSTALLED_OTHER": "InstalledOtherCount",
    "INSTALLED_REJECTED": "InstalledRejectedCount",
    "INSTALLED_PENDING_REBOOT": "InstalledPendingRebootCount",
    "FAILED": "FailedCount",
}


@pytest.fixture(scope="module")
def scanned(reported):
    """A node after a scan on command, and that command."""
    node = reported.nodes[2]
    command = reported.send(
        DocumentName="AWS-RunPatchBaseline", Parameters={"Operation": ["Scan"]}, InstanceIds=[node]
    )
    invocation = reported.finished(command, node, bound_s=180)
    assert invocation["Status"] == "Success", invocation
    return node, command


@pytest.fixture(scope="module")
def state(scanned, ssm):
    [state] = ssm.describe_instance_patch_states(InstanceIds=[scanned[0]])["InstancePatchStates"]
    return state


@pytest.fixture(scope="module")
def patches(scanned, ssm):
    pages = ssm.get_paginator("describe_instance_patches").paginate(InstanceId=scanned[0])
    return [patch for page in pages for patch in page["Patches"]]


@pytest.fixture(scope="module")
def items(scanned, ssm):
    pages = ssm.get_paginator("list_compliance_items").paginate(ResourceIds=[scanned[0]])
    return [item for page in pages for item in page["ComplianceItems"]]


def test_the_scan_on_command_is_the_one_that_shows(scanned, state, fleet):
    command = scanned[1]
    assert (state["Operation"], state["InstanceId"]) == ("Scan", scanned[0])
    # A built-in baseline's id is taken from its name, AWS-DebianDefaultBaseline.
    assert state["BaselineId"] == "pb-e60c4c3e50df36b2f"
    assert command["RequestedDateTime"].replace(microsecond=0) <= state["OperationStartTime"]
    assert state["OperationStartTime"] <= state["OperationEndTime"]


def test_the_counts_are_those_of_the_patches(state, patches):
    counted = collections.Counter(patch["State"] for patch in patches)
    assert set(counted) <= set(COUNTS)
    assert {name: counted.get(name, 0) for name in COUNTS} == {name: state.get(count, 0) for name, count in COUNTS.items()}
    assert sum(counted.values()) == len({(patch["Title"], patch["KBId"]) for patch in patches})


def test_every_installed_package_has_a_state(patches):
    form = "${db:Status-Status}\t${Package}\n"
    listed = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    installed = [line.split("\t")[1] for line in listed.splitlines() if line.startswith("installed\t")]
    names = {patch["KBId"].split(":")[0].split(".")[0] for patch in patches}
    titles = {patch["Title"].split(":")[0].rsplit(".", 1)[0] for patch in patches}
    assert len(patches) >= len(installed)
    assert set(installed) <= names | titles


@pytest.mark.parametrize("spelt", ["Missing", "MISSING", "InstalledOther", "INSTALLED_OTHER"])
def test_patches_are_listed_by_state(spelt, scanned, patches, ssm):
    filters = [{"Key": "State", "Values": [spelt]}]
    pages = ssm.get_paginator("describe_instance_patches").paginate(InstanceId=scanned[0], Filters=filters)
    listed = [patch for page in pages for patch in page["Patches"]]
    state = "MISSING" if spelt.lower() == "missing" else "INSTALLED_OTHER"
    assert listed == [patch for patch in patches if patch["State"] == state]


def test_a_missing_patch_is_an_item_that_does_not_comply(state, items):
    bad = [item for item in items if item["Status"] == "NON_COMPLIANT"]
    assert len(bad) == state["MissingCount"] + state.get("FailedCount", 0) + state.get("InstalledRejectedCount", 0)
    assert {item["Details"]["PatchState"] for item in bad} <= {"Missing", "Failed", "InstalledRejected"}
    good = [item for item in items if item["Status"] == "COMPLIANT"]
    assert len(good) == state["InstalledCount"] + state["InstalledOtherCount"]
    assert {item["ComplianceType"] for item in items} == {"Patch"}
    assert len({item["Id"] for item in items}) == len(items)


def test_a_node_s_summary_is_the_sum_of_its_items(scanned, items, ssm):
    listed = ssm.list_resource_compliance_summaries(MaxResults=50)["ResourceComplianceSummaryItems"]
    [summary] = [item for item in listed if item["ResourceId"] == scanned[0]]
    counted = collections.Counter(item["Status"] for item in items)
    assert summary["CompliantSummary"]["CompliantCount"] == counted["COMPLIANT"]
    assert summary["NonCompliantSummary"]["NonCompliantCount"] == counted["NON_COMPLIANT"]
    by_severity = summary["NonCompliantSummary"]["SeveritySummary"]
    assert sum(by_severity.values()) == counted["NON_COMPLIANT"]
    assert summary["Status"] == ("NON_COMPLIANT" if counted["NON_COMPLIANT"] else "COMPLIANT")


def test_the_fleet_s_summary_counts_nodes(reported, ssm):
    [whole] = ssm.list_compliance_summaries()["ComplianceSummaryItems"]
    nodes = ssm.list_resource_compliance_summaries(MaxResults=50)["ResourceComplianceSummaryItems"]
    counted = collections.Counter(item["Status"] for item in nodes)
    assert whole["ComplianceType"] == "Patch"
    assert whole["CompliantSummary"]["CompliantCount"] == counted["COMPLIANT"]
    assert whole["NonCompliantSummary"]["NonCompliantCount"] == counted["NON_COMPLIANT"]


@pytest.mark.parametrize(
    "filters",
    [
        [{"Key": "Status", "Values": ["NON_COMPLIANT"]}],
        [{"Key": "Status", "Values": ["NON_COMPLIANT"], "Type": "NOT_EQUAL"}],
        [{"Key": "PatchState", "Values": ["InstalledOther"]}],
        [{"Key": "Title", "Values": ["lib"], "Type": "BEGIN_WITH"}],
    ],
)
def test_items_are_narrowed_by(filters, scanned, items, ssm):
    pages = ssm.get_paginator("list_compliance_items").paginate(ResourceIds=[scanned[0]], Filters=filters)
    listed = [item["Id"] for page in pages for item in page["ComplianceItems"]]
    [asked] = filters

    def meets(item):
        value = item.get(asked["Key"], item["Details"].get(asked["Key"]))
        wanted = asked["Values"][0]
        kind = asked.get("Type", "EQUAL")
        if kind == "EQUAL":
            return value == wanted
        return value != wanted if kind == "NOT_EQUAL" else value.startswith(wanted)

    assert listed == [item["Id"] for item in items if meets(item)]


def test_installing_is_refused_by_name_and_changes_nothing(reported, ssm, scanned):
    command = reported.send(
        DocumentName="AWS-RunPatchBaseline", Parameters={"Operation": ["Install"]}, InstanceIds=[scanned[0]]
    )
    invocation = reported.finished(command, scanned[0], bound_s=120)
    assert invocation["Status"] == "Failed"
    assert "Install" in invocation["StandardErrorContent"]
