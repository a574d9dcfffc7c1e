"""Inventory, compared with what the machine itself says."""

import json
import platform
import socket
import subprocess

import pytest

from support import programs
from support.callers import code_of


def entries(ssm, node, kind, **request):
    token = {}
    while True:
        page = ssm.list_inventory_entries(InstanceId=node, TypeName=kind, MaxResults=50, **request, **token)
        yield from page["Entries"]
        if "NextToken" not in page:
            return
        token = {"NextToken": page["NextToken"]}


def entities(ssm, **request):
    pages = ssm.get_paginator("get_inventory").paginate(**request)
    return {entity["Id"]: entity["Data"] for page in pages for entity in page["Entities"]}


def dpkg():
    """Installed packages as dpkg-query lists them."""
    form = "${db:Status-Status}\t${Package}\t${Architecture}\t${Version}\n"
    listed = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in listed.splitlines()]
    return sorted((name, architecture, version) for state, name, architecture, version in rows if state == "installed")


def test_the_packages_are_dpkg_s(reported, ssm):
    for node in reported.nodes:
        found = [
            (entry["Name"], entry["Architecture"], entry["Version"])
            for entry in entries(ssm, node, "AWS:Application")
        ]
        assert sorted(found) == dpkg()


def test_the_machine_is_this_one(reported, ssm):
    [row] = entries(ssm, reported.nodes[0], "AWS:InstanceInformation")
    release = platform.freedesktop_os_release()
    assert row["InstanceId"] == reported.nodes[0]
    assert row["ComputerName"].split(".")[0] == socket.gethostname().split(".")[0]
    assert (row["PlatformName"], row["PlatformVersion"]) == (release["NAME"], release["VERSION_ID"])
    assert (row["PlatformType"], row["ResourceType"]) == ("Linux", "ManagedInstance")


def test_the_interfaces_are_this_machine_s(reported, ssm):
    rows = list(entries(ssm, reported.nodes[0], "AWS:Network"))
    here = {name for _, name in socket.if_nameindex()}
    assert rows and {row["Name"] for row in rows} <= here


def test_the_agent_is_listed_as_a_component(reported, ssm):
    rows = list(entries(ssm, reported.nodes[0], "AWS:AWSComponent"))
    version = reported.information(reported.nodes[0])["AgentVersion"]
    assert version in [row["Version"] for row in rows]


@pytest.mark.parametrize(
    "kind, values, expected",
    [
        ("Equal", ["dpkg", "bash"], lambda name: name in ("bash", "dpkg")),
        ("BeginWith", ["lib"], lambda name: name.startswith("lib")),
        ("NotEqual", ["bash"], lambda name: name != "bash"),
        ("LessThan", ["b"], lambda name: name < "b"),
        ("GreaterThan", ["x"], lambda name: name > "x"),
    ],
)
def test_entries_are_narrowed_by(kind, values, expected, reported, ssm):
    filters = [{"Key": "AWS:Application.Name", "Values": values, "Type": kind}]
    names = [entry["Name"] for entry in entries(ssm, reported.nodes[0], "AWS:Application", Filters=filters)]
    assert sorted(names) == sorted(name for name, _, _ in dpkg() if expected(name))
    assert names


def test_nodes_are_found_by_what_is_installed(reported, ssm):
    found = entities(ssm, Filters=[{"Key": "AWS:Application.Name", "Values": ["dpkg"]}])
    assert sorted(found) == sorted(reported.nodes)
    assert not entities(ssm, Filters=[{"Key": "AWS:Application.Name", "Values": ["no-such-package"]}])
    one = {"Key": "AWS:InstanceInformation.InstanceId", "Values": reported.nodes[:1]}
    other = {"Key": "AWS:InstanceInformation.PlatformType", "Values": ["Linux"]}
    assert list(entities(ssm, Filters=[one, other])) == reported.nodes[:1]


def test_a_node_s_inventory_comes_as_the_type_that_was_asked_for(reported, ssm):
    filters = [{"Key": "AWS:InstanceInformation.InstanceId", "Values": reported.nodes[:1]}]
    data = entities(ssm, Filters=filters, ResultAttributes=[{"TypeName": "AWS:Network"}])[reported.nodes[0]]
    assert list(data) == ["AWS:Network"]
    network = data["AWS:Network"]
    assert network["TypeName"] == "AWS:Network" and network["CaptureTime"]
    assert network["Content"] == list(entries(ssm, reported.nodes[0], "AWS:Network"))


def test_every_attribute_is_one_of_the_schema(reported, ssm):
    schemas = ssm.get_inventory_schema()["Schemas"]
    known = {schema["TypeName"]: {attribute["Name"] for attribute in schema["Attributes"]} for schema in schemas}
    for kind in ["AWS:Application", "AWS:AWSComponent", "AWS:InstanceInformation", "AWS:Network", "AWS:Service"]:
        for entry in entries(ssm, reported.nodes[0], kind):
            assert set(entry) <= known[kind]


def test_what_the_agent_gathers_is_named_as_in_the_schemas(fleet, ssm):
    """Agent and bridge have no table of attributes in common; this holds the one's names against the other's."""
    schemas = {schema["TypeName"]: schema for schema in ssm.get_inventory_schema()["Schemas"]}
    for item in json.loads(programs.verb("holdfast-agent", "inventory", "--json"))["items"]:
        schema = schemas[item["TypeName"]]
        assert item["SchemaVersion"] == schema["Version"]
        known = {attribute["Name"] for attribute in schema["Attributes"]}
        assert set().union(*item["Content"]) <= known


def test_a_node_that_never_reported_has_no_entries(fleet, ssm):
    assert list(entries(ssm, fleet.shelf[0], "AWS:Application")) == []


def test_a_type_that_is_unknown_is_refused(fleet, ssm):
    request = {"InstanceId": fleet.nodes[0], "TypeName": "AWS:Nothing"}
    assert code_of(ssm.list_inventory_entries, **request) == "InvalidTypeNameException"
