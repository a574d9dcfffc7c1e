"""Nodes from activation to deregistration: permits, tags, roles, names, and the end."""

import datetime
import pathlib
import platform
import socket

import pytest

from support.agent import Agent
from support.bridge import Activation
from support.callers import code_of, refused
from support.wait import until


def try_to_register(fleet, tmp_path, activation, ca_sha256=None):
    agent = Agent(tmp_path, "agent")
    return agent.register(fleet.bridge.mqtt, activation, ca_sha256 or fleet.bridge.ca_sha256, check=False)


def described(ssm, activation):
    filters = [{"FilterKey": "ActivationIds", "FilterValues": [activation.id]}]
    [shown] = ssm.describe_activations(Filters=filters)["ActivationList"]
    return shown


def test_an_activation_admits_as_many_as_it_says(fleet, ssm, tmp_path):
    activation = fleet.activate(RegistrationLimit=2)
    for number in range(2):
        agent = Agent(tmp_path, f"agent-{number}")
        assert agent.register(fleet.bridge.mqtt, activation, fleet.bridge.ca_sha256).startswith("mi-")
    refusal = try_to_register(fleet, tmp_path, activation)
    assert refusal.returncode != 0 and "registered the 2 nodes it may" in refusal.stderr
    assert described(ssm, activation)["RegistrationsCount"] == 2


def test_an_activation_ends_when_it_says(fleet, ssm, tmp_path):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    activation = fleet.activate(ExpirationDate=soon)
    until("the activation has expired", lambda: described(ssm, activation)["Expired"])
    refusal = try_to_register(fleet, tmp_path, activation)
    assert refusal.returncode != 0 and "expired" in refusal.stderr


def test_a_deleted_activation_admits_nobody(fleet, ssm, tmp_path):
    activation = fleet.activate()
    ssm.delete_activation(ActivationId=activation.id)
    refusal = try_to_register(fleet, tmp_path, activation)
    assert refusal.returncode != 0 and refusal.stderr.strip()


def test_a_wrong_code_admits_nobody_and_uses_nothing_up(fleet, ssm, tmp_path):
    activation = fleet.activate()
    refusal = try_to_register(fleet, tmp_path, Activation(activation.id, "A" * 20))
    assert refusal.returncode != 0 and "code" in refusal.stderr
    assert "A" * 20 not in refusal.stderr
    assert described(ssm, activation)["RegistrationsCount"] == 0


def test_a_bridge_with_another_root_is_not_trusted(fleet, ssm, tmp_path):
    activation = fleet.activate()
    refusal = try_to_register(fleet, tmp_path, activation, ca_sha256="0" * 64)
    assert refusal.returncode != 0 and "is not trusted" in refusal.stderr
    assert described(ssm, activation)["RegistrationsCount"] == 0


def test_what_an_activation_gives_its_nodes_shows_on_them(fleet, ssm):
    node = fleet.information(fleet.nodes[0])
    assert (node["Name"], node["IamRole"]) == ("edge-box", "edge-role")
    assert node["RegistrationDate"] <= datetime.datetime.now(datetime.timezone.utc)


def test_a_running_node_tells_what_machine_it_is(fleet):
    release = platform.freedesktop_os_release()
    node = fleet.information(fleet.nodes[0])
    assert node["ComputerName"].split(".")[0] == socket.gethostname().split(".")[0]
    assert (node["PlatformName"], node["PlatformVersion"]) == (release["NAME"], release["VERSION_ID"])
    assert node["IPAddress"]
    assert node["AgentVersion"][0].isdigit()


FOUND_BY = {
    "InstanceIds": lambda fleet: fleet.shelf[3],
    "ActivationIds": lambda fleet: fleet.activation.id,
    "IamRole": lambda fleet: "edge-role",
    "PlatformTypes": lambda fleet: "Linux",
    "ResourceType": lambda fleet: "ManagedInstance",
    "tag:Environment": lambda fleet: "test",
    "tag-key": lambda fleet: "Environment",
}


@pytest.mark.parametrize("by", FOUND_BY)
def test_nodes_are_found_by(by, fleet, ssm):
    paginator = ssm.get_paginator("describe_instance_information")

    def found(wanted):
        pages = paginator.paginate(Filters=[{"Key": by, "Values": [wanted]}])
        return [node["InstanceId"] for page in pages for node in page["InstanceInformationList"]]

    assert fleet.shelf[3] in found(FOUND_BY[by](fleet))
    # Where the values are a fixed set, another one is refused.
    if by not in ("PlatformTypes", "ResourceType"):
        assert found("nothing-has-this") == []


def test_the_older_form_of_filters_finds_the_same(fleet, ssm):
    older = ssm.describe_instance_information(
        InstanceInformationFilterList=[{"key": "InstanceIds", "valueSet": [fleet.nodes[0]]}]
    )
    assert [node["InstanceId"] for node in older["InstanceInformationList"]] == [fleet.nodes[0]]


def test_a_tag_that_is_given_again_has_the_new_value(fleet, ssm):
    node = {"ResourceType": "ManagedInstance", "ResourceId": fleet.shelf[4]}
    for value in ["old", "new"]:
        ssm.add_tags_to_resource(Tags=[{"Key": "Age", "Value": value}], **node)
    tags = ssm.list_tags_for_resource(**node)["TagList"]
    assert [tag["Value"] for tag in tags if tag["Key"] == "Age"] == ["new"]


def test_documents_carry_tags_and_are_found_by_them(ssm):
    document = {"ResourceType": "Document", "ResourceId": "AWS-RunShellScript"}
    ssm.add_tags_to_resource(Tags=[{"Key": "Team", "Value": "edge"}], **document)
    listed = ssm.list_documents(Filters=[{"Key": "tag:Team", "Values": ["edge"]}])["DocumentIdentifiers"]
    assert [found["Name"] for found in listed] == ["AWS-RunShellScript"]
    ssm.remove_tags_from_resource(TagKeys=["Team"], **document)
    assert ssm.list_tags_for_resource(**document)["TagList"] == []


def test_a_deregistered_node_ends_its_invocations_and_is_gone(fleet, ssm, tmp_path):
    agent = fleet.newcomer("deregistered")
    agent.start()
    fleet.until_online(agent.node)
    begun = tmp_path / "begun"
    running = fleet.send(f"touch {begun}; sleep 300", InstanceIds=[agent.node])
    until("the script runs", begun.exists)
    queued = fleet.send("true", InstanceIds=[agent.node, fleet.nodes[1]], MaxConcurrency="1")
    ssm.deregister_managed_instance(InstanceId=agent.node)
    assert fleet.all_finished(running)["Status"] == "Failed"
    [invocation] = ssm.list_command_invocations(CommandId=running["CommandId"])["CommandInvocations"]
    assert invocation["StatusDetails"] == "Undeliverable"
    # What was sent to the node may still run there, so its slot stays held; who would not wait for its bound cancels.
    ssm.cancel_command(CommandId=queued["CommandId"])
    fleet.all_finished(queued)
    filters = [{"Key": "InstanceIds", "Values": [agent.node]}]
    assert not ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
    assert code_of(ssm.deregister_managed_instance, InstanceId=agent.node) == "InvalidInstanceId"
    agent.stop()


def test_a_deregistered_node_cannot_come_back(fleet, ssm):
    agent = fleet.newcomer("returning")
    agent.start()
    fleet.until_online(agent.node)
    ssm.deregister_managed_instance(InstanceId=agent.node)
    until(
        "the agent was told",
        lambda: "refuses this node's certificate" in (agent.status()["link"]["last_error"] or ""),
    )
    filters = [{"Key": "InstanceIds", "Values": [agent.node]}]
    assert not ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
    agent.stop()


def test_a_state_directory_belongs_to_one_registration(fleet, tmp_path):
    agent = Agent(tmp_path, "agent")
    agent.register(fleet.bridge.mqtt, fleet.activate(), fleet.bridge.ca_sha256)
    again = agent.register(fleet.bridge.mqtt, fleet.activate(), fleet.bridge.ca_sha256, check=False)
    assert again.returncode != 0 and "--force" in again.stderr
    assert pathlib.Path(agent.state).stat().st_mode & 0o077 == 0


def test_an_error_says_what_is_wrong_and_what_to_do(ssm):
    error = refused(ssm.deregister_managed_instance, InstanceId="mi-00000000000000000")
    assert "mi-00000000000000000" in error["Error"]["Message"]
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error["ResponseMetadata"]["RequestId"]
