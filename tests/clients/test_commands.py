"""What a command tells of itself and of its run: output, codes, times, targets, cancel."""

import datetime
import pathlib

import pytest

from support.callers import code_of
from support.wait import until


def test_an_invocation_shows_code_output_and_times(fleet):
    before = datetime.datetime.now(datetime.timezone.utc)
    invocation = fleet.run("echo seen; echo heard >&2; exit 7", Comment="of seven")
    assert (invocation["Status"], invocation["StatusDetails"]) == ("Failed", "Failed")
    assert (invocation["ResponseCode"], invocation["Comment"]) == (7, "of seven")
    assert (invocation["StandardOutputContent"], invocation["StandardErrorContent"]) == ("seen\n", "heard\n")
    assert (invocation["DocumentName"], invocation["DocumentVersion"]) == ("AWS-RunShellScript", "1")
    assert invocation["PluginName"] == "aws:runShellScript"
    started = datetime.datetime.fromisoformat(invocation["ExecutionStartDateTime"])
    # The node stamps in whole seconds at the coarsest.
    assert started > before - datetime.timedelta(seconds=2)


def test_the_working_directory_and_the_time_limit_are_the_script_s(fleet, tmp_path):
    parameters = {"commands": ["pwd", "sleep 60"], "workingDirectory": [str(tmp_path)], "executionTimeout": ["1"]}
    invocation = fleet.run(Parameters=parameters)
    assert invocation["StandardOutputContent"] == f"{tmp_path}\n"
    assert (invocation["Status"], invocation["StatusDetails"]) == ("TimedOut", "ExecutionTimedOut")
    assert "timeout of 1 s" in invocation["StandardErrorContent"]


def test_parameters_reach_the_script_letter_by_letter(fleet):
    line = "printf '%s|' 'a  b' \"c\" \\$HOME '{{ commands }}' 'ä€😀'"
    invocation = fleet.run(line)
    assert invocation["StandardOutputContent"] == "a  b|c|$HOME|{{ commands }}|ä€😀|"


def test_targets_name_nodes_by_tag_by_key_and_by_id(fleet, ssm):
    first, second, third = fleet.nodes
    for node, shift in [(first, "early"), (second, "late")]:
        ssm.add_tags_to_resource(
            ResourceType="ManagedInstance", ResourceId=node, Tags=[{"Key": "Shift", "Value": shift}]
        )
    for targets, nodes in [
        ([("tag:Shift", ["early"])], [first]),
        ([("tag:Shift", ["early", "late"])], [first, second]),
        ([("tag-key", ["Shift", "NoSuchKey"])], [first, second]),
        ([("InstanceIds", [second, third])], [second, third]),
        # All targets must hold.
        ([("tag-key", ["Shift"]), ("InstanceIds", [second, third])], [second]),
    ]:
        asked = [{"Key": key, "Values": values} for key, values in targets]
        command = fleet.send("true", Targets=asked)
        assert command["Targets"] == asked
        assert (command["TargetCount"], fleet.all_finished(command)["Status"]) == (len(nodes), "Success")
        ran = ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
        assert sorted(invocation["InstanceId"] for invocation in ran) == sorted(nodes)


def test_targets_that_name_no_node_make_a_command_that_says_so(fleet, ssm):
    command = fleet.send("true", Targets=[{"Key": "tag:Shift", "Values": ["never"]}])
    [listed] = ssm.list_commands(CommandId=command["CommandId"])["Commands"]
    assert (listed["TargetCount"], listed["StatusDetails"]) == (0, "NoInstancesInTag")


def test_a_late_tag_does_not_make_a_node_a_target(fleet, ssm):
    command = fleet.send("true", Targets=[{"Key": "tag:Late", "Values": ["yes"]}])
    ssm.add_tags_to_resource(
        ResourceType="ManagedInstance", ResourceId=fleet.nodes[0], Tags=[{"Key": "Late", "Value": "yes"}]
    )
    assert not ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]


def spans(fleet, command, marks):
    """Start and end of each run, in the order of the starts; and how many ran at once at most."""
    fleet.all_finished(command)
    lines = [line.split() for line in marks.read_text().splitlines()]
    at_once = most = 0
    for kind, _ in lines:
        at_once += 1 if kind == "begin" else -1
        most = max(most, at_once)
    return lines, most


@pytest.mark.parametrize("concurrency, most", [("1", 1), ("33%", 1), ("50%", 2)])
def test_no_more_run_at_once_than_allowed(concurrency, most, fleet, tmp_path):
    marks = tmp_path / "marks"
    # Each line is one write, so the lines of several nodes do not mix.
    script = [f"echo begin $$ >> {marks}", "sleep 0.3", f"echo end $$ >> {marks}"]
    command = fleet.send(*script, Targets=[{"Key": "InstanceIds", "Values": fleet.nodes}], MaxConcurrency=concurrency)
    assert command["MaxConcurrency"] == concurrency
    lines, seen = spans(fleet, command, marks)
    assert len(lines) == 2 * len(fleet.nodes)
    assert seen <= most


@pytest.mark.parametrize(
    "errors, failed, terminated",
    [("0", 1, 2), ("1", 2, 1), ("32%", 1, 2), ("34%", 2, 1), ("100%", 3, 0)],
)
def test_after_the_allowed_errors_the_rest_is_terminated(errors, failed, terminated, fleet, ssm):
    command = fleet.send(
        "exit 1",
        Targets=[{"Key": "InstanceIds", "Values": fleet.nodes}],
        MaxConcurrency="1",
        MaxErrors=errors,
    )
    listed = fleet.all_finished(command)
    assert (listed["MaxErrors"], listed["ErrorCount"], listed["Status"]) == (errors, failed, "Failed")
    ran = ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
    details = sorted(invocation["StatusDetails"] for invocation in ran)
    assert details == ["Failed"] * failed + ["Terminated"] * terminated


def test_a_running_command_is_cancelled_with_all_it_started(fleet, ssm, tmp_path):
    mark = tmp_path / "alive"
    command = fleet.send(f"echo $$ > {mark}; sleep 300 & wait")
    until("the script runs", lambda: mark.exists() and mark.read_text().strip())
    ssm.cancel_command(CommandId=command["CommandId"], InstanceIds=[fleet.nodes[0]])
    invocation = fleet.finished(command)
    assert (invocation["Status"], invocation["StatusDetails"]) == ("Cancelled", "Cancelled")
    assert fleet.all_finished(command)["Status"] == "Cancelled"
    script = int(mark.read_text())
    until("the script's processes are gone", lambda: not processes_of_group(script))


def processes_of_group(group):
    """Processes of a group that live."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(stat)
    return found


def test_a_command_that_was_not_fetched_is_cancelled_at_once(fleet, ssm):
    nodes = fleet.shelf[2:4]
    command = fleet.send("true", InstanceIds=nodes)
    assert fleet.invocation(command, nodes[0])["Status"] == "Delayed"
    ssm.cancel_command(CommandId=command["CommandId"], InstanceIds=[nodes[0]])
    assert fleet.finished(command, nodes[0])["Status"] == "Cancelled"
    assert fleet.invocation(command, nodes[1])["Status"] == "Delayed"
    ssm.cancel_command(CommandId=command["CommandId"])
    assert fleet.all_finished(command)["Status"] == "Cancelled"


def test_a_cancelled_invocation_keeps_its_end(done, fleet, ssm):
    ssm.cancel_command(CommandId=done.id)
    assert fleet.invocation({"CommandId": done.id})["Status"] == "Success"


def test_commands_are_listed_by_what_they_are(done, fleet, ssm):
    def ids(**request):
        pages = ssm.get_paginator("list_commands").paginate(**request)
        return {command["CommandId"] for page in pages for command in page["Commands"]}

    [command] = ssm.list_commands(CommandId=done.id)["Commands"]
    at = command["RequestedDateTime"]
    stamp = lambda minutes: (at + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for filters, listed in [
        ([("Status", "Success")], True),
        ([("Status", "Failed")], False),
        ([("DocumentName", "AWS-RunShellScript"), ("ExecutionStage", "Complete")], True),
        ([("DocumentName", "AWS-RunPatchBaseline")], False),
        ([("InvokedAfter", stamp(-1)), ("InvokedBefore", stamp(1))], True),
        ([("InvokedBefore", stamp(-1))], False),
    ]:
        asked = [{"key": key, "value": value} for key, value in filters]
        assert (done.id in ids(Filters=asked)) is listed, filters
    assert done.id in ids(InstanceId=done.node)
    assert done.id not in ids(InstanceId=fleet.shelf[1])


def test_invocations_are_listed_by_node_and_status(done, fleet, ssm):
    def ids(**request):
        pages = ssm.get_paginator("list_command_invocations").paginate(**request)
        return {invocation["CommandId"] for page in pages for invocation in page["CommandInvocations"]}

    assert done.id in ids(InstanceId=done.node, Filters=[{"key": "Status", "value": "Success"}])
    assert done.id not in ids(InstanceId=done.node, Filters=[{"key": "Status", "value": "Failed"}])
    [invocation] = ssm.list_command_invocations(CommandId=done.id)["CommandInvocations"]
    # Only Details asks for the plugins.
    assert not invocation.get("CommandPlugins")


def test_the_newest_command_is_listed_first(fleet, ssm):
    older = fleet.send("true")
    newer = fleet.send("true")
    listed = [command["CommandId"] for command in ssm.list_commands(MaxResults=50)["Commands"]]
    assert listed.index(newer["CommandId"]) < listed.index(older["CommandId"])
    fleet.finished(older)
    fleet.finished(newer)


def test_a_command_says_which_nodes_it_was_for(fleet):
    command = fleet.send("true", InstanceIds=fleet.nodes[:2])
    assert sorted(command["InstanceIds"]) == sorted(fleet.nodes[:2])
    assert fleet.all_finished(command)["Status"] == "Success"


def test_a_node_that_is_unknown_stops_the_whole_command(fleet, ssm):
    before = len(ssm.list_commands(MaxResults=50, InstanceId=fleet.nodes[0])["Commands"])
    code = code_of(
        ssm.send_command,
        DocumentName="AWS-RunShellScript",
        InstanceIds=[fleet.nodes[0], "mi-0123456789abcdef0"],
        Parameters={"commands": ["true"]},
    )
    assert code == "InvalidInstanceId"
    assert len(ssm.list_commands(MaxResults=50, InstanceId=fleet.nodes[0])["Commands"]) == before
