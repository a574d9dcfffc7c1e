"""One bridge and one fleet for the whole run: each test uses nodes, commands and activations of its own."""

import types

import pytest

pytest.register_assert_rewrite("support")

from support.bridge import Bridge
from support.callers import Cli, Raw, boto
from support.fleet import Fleet
from support.wait import until

# The scans of three unoptimised agents on a slow machine.
FIRST_REPORTS_S = 180


@pytest.fixture(scope="session")
def bridge(tmp_path_factory):
    bridge = Bridge(tmp_path_factory.mktemp("bridge"))
    yield bridge
    bridge.stop()


@pytest.fixture(scope="session")
def key(bridge):
    return bridge.access_key("tests")


@pytest.fixture(scope="session")
def ssm(bridge, key):
    return boto(bridge.endpoint, key)


@pytest.fixture(scope="session")
def raw(bridge, key):
    return Raw(bridge.endpoint, key)


@pytest.fixture(scope="session")
def aws(bridge, key, tmp_path_factory):
    return Cli(bridge.endpoint, key, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def fleet(bridge, ssm, tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), bridge, ssm)
    try:
        fleet.open()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="session")
def expiring(fleet):
    """A command that nobody will fetch, with the shortest delivery time that is allowed."""
    return fleet.send("true", InstanceIds=[fleet.shelf[0]], TimeoutSeconds=30)


@pytest.fixture(scope="session", autouse=True)
def sent_first(request):
    """Starts the one long wait of the run before everything else, so that it costs nothing."""
    if any("expiring" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("expiring")


@pytest.fixture(scope="session")
def reported(fleet, ssm):
    """The fleet, once each running node has sent its first inventory and patch scan."""
    for node in fleet.nodes:
        until(
            f"{node} has sent its packages",
            lambda node=node: ssm.list_inventory_entries(InstanceId=node, TypeName="AWS:Application")["Entries"],
            FIRST_REPORTS_S,
        )
        until(
            f"{node} has sent its patches",
            lambda node=node: ssm.describe_instance_patch_states(InstanceIds=[node])["InstancePatchStates"],
            FIRST_REPORTS_S,
        )
    return fleet


@pytest.fixture(scope="session")
def done(fleet):
    """A command with output on both streams that ended well, and its node."""
    command = fleet.send("echo out", "echo err >&2", Comment="for all who ask")
    fleet.until_status(command, "Success")
    return types.SimpleNamespace(id=command["CommandId"], node=fleet.nodes[0])
