"""A node whose link is cut: what is sent meanwhile waits, and runs once when the link is back."""

import datetime

import pytest

from support.wait import until


@pytest.fixture
def cut(fleet):
    """The first node's link, cut; whole again after the test."""
    node = fleet.nodes[0]
    fleet.link.cut()
    try:
        until("the bridge sees the node offline", lambda: fleet.information(node)["PingStatus"] != "Online")
        yield fleet.link
    finally:
        fleet.link.restore()
        fleet.until_online(node)


def test_a_command_waits_for_the_link_and_runs_once(cut, fleet, ssm, tmp_path):
    mark = tmp_path / "mark"
    sent = [fleet.send(f"echo {number} >> {mark}", TimeoutSeconds=600) for number in range(5)]
    for command in sent:
        invocation = fleet.invocation(command)
        assert (invocation["Status"], invocation["StatusDetails"]) == ("Delayed", "Delayed")
        [listed] = ssm.list_commands(CommandId=command["CommandId"])["Commands"]
        # Until when it waits is there to be seen.
        assert listed["ExpiresAfter"] >= listed["RequestedDateTime"] + datetime.timedelta(seconds=600)
    cut.restore()
    for command in sent:
        assert fleet.finished(command)["Status"] == "Success"
    assert sorted(mark.read_text().split()) == ["0", "1", "2", "3", "4"]


def test_a_command_that_runs_when_the_link_breaks_reports_when_it_is_back(fleet, tmp_path):
    go, begun = tmp_path / "go", tmp_path / "begun"
    command = fleet.send(f"touch {begun}; until [ -e {go} ]; do sleep 0.1; done; echo through")
    until("the script runs", begun.exists)
    fleet.link.cut()
    try:
        until("the bridge sees the node offline", lambda: fleet.information(fleet.nodes[0])["PingStatus"] != "Online")
        go.touch()
        # Delayed where the cut overtook the word that it had arrived: the bridge tells no more than it knows.
        assert fleet.invocation(command)["Status"] in ("InProgress", "Delayed")
    finally:
        fleet.link.restore()
    invocation = fleet.finished(command)
    assert (invocation["Status"], invocation["StandardOutputContent"]) == ("Success", "through\n")
    fleet.until_online(fleet.nodes[0])


def test_a_command_cancelled_while_the_link_is_cut_never_runs(cut, fleet, ssm, tmp_path):
    mark = tmp_path / "mark"
    cancelled = fleet.send(f"touch {mark}")
    ssm.cancel_command(CommandId=cancelled["CommandId"])
    kept = fleet.send("true")
    cut.restore()
    assert fleet.finished(kept)["Status"] == "Success"
    assert fleet.invocation(cancelled)["Status"] == "Cancelled"
    assert not mark.exists()


def test_a_node_without_its_link_is_listed_as_lost_with_its_last_sign(cut, fleet, ssm):
    lost = fleet.information(fleet.nodes[0])
    assert lost["PingStatus"] == "ConnectionLost"
    assert lost["LastPingDateTime"] <= datetime.datetime.now(datetime.timezone.utc)
    filters = [{"Key": "PingStatus", "Values": ["Online"]}]
    online = ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
    assert fleet.nodes[0] not in [node["InstanceId"] for node in online]


def test_a_node_with_its_link_is_not_held_up_by_one_without(cut, fleet):
    command = fleet.send("true", InstanceIds=fleet.nodes, MaxConcurrency="1")
    for node in fleet.nodes[1:]:
        assert fleet.finished(command, node)["Status"] == "Success"
    assert fleet.invocation(command)["Status"] == "Delayed"
    cut.restore()
    assert fleet.all_finished(command)["Status"] == "Success"
