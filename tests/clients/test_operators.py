"""What operators see on the bridge's own machine: changes, nodes and gaps, beside what the API says of the same."""

import getpass
import json

import pytest

from support import programs
from support.wait import until


def rows(bridge, *arguments):
    return json.loads(bridge.verb(*arguments, "--json"))


def test_a_change_by_an_access_key_is_listed_with_its_name(fleet, bridge, key, ssm):
    node = fleet.shelf[1]
    ssm.add_tags_to_resource(ResourceType="ManagedInstance", ResourceId=node, Tags=[{"Key": "audited", "Value": "1"}])
    entry = rows(bridge, "audit", "list", "--key", "tests", "--node", node, "--since", "1h", "--limit", "1")[0]
    assert (entry["by"], entry["name"]) == (key.id, "tests")
    assert (entry["operation"], entry["target"], entry["detail"]) == ("AddTagsToResource", node, "audited")


def test_a_command_is_listed_with_the_changes_of_its_node(fleet, bridge):
    command = fleet.send("true", InstanceIds=[fleet.shelf[1]])
    listed = rows(bridge, "audit", "list", "--node", fleet.shelf[1])
    assert command["CommandId"] in {entry["target"] for entry in listed}


def test_a_verb_is_listed_with_the_user_who_ran_it(bridge):
    bridge.verb("access-key", "create", "--name", "for-audit")
    entry = rows(bridge, "audit", "list", "--limit", "1")[0]
    assert (entry["by"], entry["operation"], entry["detail"]) == ("local", "CreateAccessKey", "for-audit")
    assert entry["name"].split(" ")[0] == getpass.getuser()


def test_a_node_is_shown_as_the_api_describes_it(fleet, bridge):
    node = fleet.nodes[1]
    shown = rows(bridge, "node", "show", node)
    described = fleet.information(node)
    assert shown["state"] == described["PingStatus"] == "Online"
    assert shown["agent"] == described["AgentVersion"]
    assert shown["address"] == described["IPAddress"]
    assert shown["role"] == described["IamRole"]
    assert shown["tags"]["Environment"] == "test"
    assert len(shown["certificate"]["serial"]) == 32
    assert node in bridge.verb("node", "show", node)


def test_what_waits_for_a_node_is_counted(fleet, bridge):
    node = fleet.shelf[2]
    before = rows(bridge, "node", "show", node)["queue"].get("Delayed", 0)
    fleet.send("true", InstanceIds=[node])
    assert rows(bridge, "node", "show", node)["queue"]["Delayed"] == before + 1


def test_gaps_are_the_same_for_operators_and_clients(reported, bridge, ssm):
    """None in a run that loses nothing but states that a newer one took the place of."""
    for node in reported.nodes:
        request = {"InstanceId": node, "TypeName": "Custom:HoldfastGaps"}
        listed = ssm.list_inventory_entries(**request)["Entries"]
        gaps = rows(bridge, "node", "gaps", node)
        assert [(gap["class"], gap["reason"], gap["records"]) for gap in gaps] == [
            (entry["Class"], entry["Reason"], entry["Records"]) for entry in listed
        ]
        assert {gap["reason"] for gap in gaps} <= {"superseded"}


def test_a_node_that_an_operator_deregisters_is_disconnected_and_gone(fleet, bridge, ssm):
    agent = fleet.newcomer("for-deregistration")
    agent.start()
    fleet.until_online(agent.node)
    bridge.verb("node", "deregister", agent.node)
    filters = [{"Key": "InstanceIds", "Values": [agent.node]}]
    assert ssm.describe_instance_information(Filters=filters)["InstanceInformationList"] == []
    entry = rows(bridge, "audit", "list", "--limit", "1")[0]
    assert (entry["operation"], entry["target"]) == ("DeregisterManagedInstance", agent.node)
    assert rows(bridge, "node", "show", agent.node)["state"] == "Deregistered"
    until(
        "the agent was disconnected and told",
        lambda: "refuses this node's certificate" in (agent.status()["link"]["last_error"] or ""),
    )
    agent.stop()


@pytest.mark.parametrize("verb", [["show"], ["events"], ["gaps"], ["deregister"]])
def test_a_node_that_is_not_there_is_refused_with_the_next_step(bridge, fleet, verb):
    done = bridge.verb("node", *verb, "mi-0000000000000000f", check=False)
    assert done.returncode == 1
    assert "node list" in done.stderr


@pytest.mark.parametrize("verb", [["node", "list"], ["audit", "list"], ["access-key", "list"], ["activation", "list"]])
def test_a_mistyped_state_directory_is_refused_and_not_made(bridge, verb, tmp_path):
    missing = tmp_path / "nowhere"
    done = programs.verb("holdfast-bridge", *verb, "--state-dir", missing, check=False)
    assert done.returncode == 1 and "--state-dir" in done.stderr
    assert not missing.exists()
