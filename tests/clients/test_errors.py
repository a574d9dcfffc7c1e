"""Each declared error that can occur, provoked through the real programs.

`errors.md` lists every pair of operation and error; `test_error_table.py` compares it with the model and with this.
"""

import json
import sqlite3
import uuid

import pytest

from support import model
from support.bridge import Bridge
from support.calls import CALLS
from support.callers import Raw

NODE = "mi-0123456789abcdef0"
COMMAND = "0123abcd-0000-0000-0000-000000000000"
# As long as an id, and none.
NO_ID = "x" * 36


def shell(fleet, **more):
    """A request of SendCommand that would run."""
    node = {} if "Targets" in more else {"InstanceIds": fleet.nodes[:1]}
    return {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, **node, **more}


def tagged(**more):
    """A request about the tags of a node that is not there."""
    return {"ResourceType": "ManagedInstance", "ResourceId": NODE, **more}


TAG = [{"Key": "a", "Value": "b"}]
COLOUR = [{"Key": "Colour", "Values": ["red"]}]

# Pair to the request that provokes it, given the fleet and a command that is done.
REFUSALS = {
    ("CreateActivation", "InvalidParameters"): lambda fleet, done: {"IamRole": "edge-role", "ExpirationDate": 1},
    ("DescribeActivations", "InvalidFilter"): lambda fleet, done: {
        "Filters": [{"FilterKey": "IamRole", "FilterValues": []}]
    },
    ("DeleteActivation", "InvalidActivationId"): lambda fleet, done: {"ActivationId": str(uuid.uuid4())},
    ("DescribeInstanceInformation", "InvalidFilterKey"): lambda fleet, done: {
        "Filters": COLOUR
    },
    ("DescribeInstanceInformation", "InvalidInstanceInformationFilterValue"): lambda fleet, done: {
        "Filters": [{"Key": "PingStatus", "Values": ["Asleep"]}]
    },
    ("DeregisterManagedInstance", "InvalidInstanceId"): lambda fleet, done: {"InstanceId": NODE},
    ("UpdateManagedInstanceRole", "InvalidInstanceId"): lambda fleet, done: {"InstanceId": NODE, "IamRole": "r"},
    ("AddTagsToResource", "InvalidResourceType"): lambda fleet, done: {
        "ResourceType": "Parameter", "ResourceId": "p", "Tags": TAG
    },
    ("AddTagsToResource", "InvalidResourceId"): lambda fleet, done: tagged(Tags=TAG),
    ("AddTagsToResource", "TooManyTagsError"): lambda fleet, done: tagged(
        ResourceId=fleet.shelf[5], Tags=[{"Key": f"tag-{number}", "Value": ""} for number in range(51)]
    ),
    ("ListTagsForResource", "InvalidResourceType"): lambda fleet, done: {
        "ResourceType": "Parameter", "ResourceId": "p"
    },
    ("ListTagsForResource", "InvalidResourceId"): lambda fleet, done: tagged(),
    ("RemoveTagsFromResource", "InvalidResourceType"): lambda fleet, done: {
        "ResourceType": "Parameter", "ResourceId": "p", "TagKeys": ["a"]
    },
    ("RemoveTagsFromResource", "InvalidResourceId"): lambda fleet, done: tagged(TagKeys=["a"]),
    ("SendCommand", "DuplicateInstanceId"): lambda fleet, done: shell(fleet, InstanceIds=fleet.nodes[:1] * 2),
    ("SendCommand", "InvalidInstanceId"): lambda fleet, done: shell(fleet, InstanceIds=[NODE]),
    ("SendCommand", "InvalidDocument"): lambda fleet, done: shell(fleet, DocumentName="No-Such-Document"),
    ("SendCommand", "InvalidDocumentVersion"): lambda fleet, done: shell(fleet, DocumentVersion="99"),
    ("SendCommand", "InvalidParameters"): lambda fleet, done: shell(fleet, Parameters={"command": ["true"]}),
    ("ListCommands", "InvalidCommandId"): lambda fleet, done: {"CommandId": NO_ID},
    ("ListCommands", "InvalidInstanceId"): lambda fleet, done: {"InstanceId": NODE},
    ("ListCommands", "InvalidFilterKey"): lambda fleet, done: {"Filters": [{"key": "Status", "value": "Gone"}]},
    ("ListCommandInvocations", "InvalidCommandId"): lambda fleet, done: {"CommandId": NO_ID},
    ("ListCommandInvocations", "InvalidInstanceId"): lambda fleet, done: {"InstanceId": NODE},
    # The key is in the model, and is not one of an invocation.
    ("ListCommandInvocations", "InvalidFilterKey"): lambda fleet, done: {
        "Filters": [{"key": "ExecutionStage", "value": "Complete"}]
    },
    ("GetCommandInvocation", "InvalidCommandId"): lambda fleet, done: {"CommandId": NO_ID, "InstanceId": done.node},
    ("GetCommandInvocation", "InvalidInstanceId"): lambda fleet, done: {
        "CommandId": done.id, "InstanceId": "i-0123456789abcdef0"
    },
    ("GetCommandInvocation", "InvalidPluginName"): lambda fleet, done: {
        "CommandId": done.id, "InstanceId": done.node, "PluginName": "aws:noSuchPlugin"
    },
    ("GetCommandInvocation", "InvocationDoesNotExist"): lambda fleet, done: {
        "CommandId": done.id, "InstanceId": fleet.shelf[0]
    },
    ("CancelCommand", "InvalidCommandId"): lambda fleet, done: {"CommandId": COMMAND},
    ("CancelCommand", "InvalidInstanceId"): lambda fleet, done: {"CommandId": done.id, "InstanceIds": [NODE]},
    ("CancelCommand", "DuplicateInstanceId"): lambda fleet, done: {
        "CommandId": done.id, "InstanceIds": [done.node, done.node]
    },
    ("ListDocuments", "InvalidFilterKey"): lambda fleet, done: {"Filters": COLOUR},
    ("DescribeDocument", "InvalidDocument"): lambda fleet, done: {"Name": "No-Such-Document"},
    ("DescribeDocument", "InvalidDocumentVersion"): lambda fleet, done: {
        "Name": "AWS-RunShellScript", "DocumentVersion": "99"
    },
    ("GetDocument", "InvalidDocument"): lambda fleet, done: {"Name": "No-Such-Document"},
    ("GetDocument", "InvalidDocumentVersion"): lambda fleet, done: {
        "Name": "AWS-RunShellScript", "DocumentVersion": "99"
    },
    ("GetInventory", "InvalidFilter"): lambda fleet, done: {
        "Filters": [{"Key": "AWS:Application.Colour", "Values": ["red"]}]
    },
    ("GetInventory", "InvalidTypeNameException"): lambda fleet, done: {
        "ResultAttributes": [{"TypeName": "AWS:Nothing"}]
    },
    ("ListInventoryEntries", "InvalidInstanceId"): lambda fleet, done: {
        "InstanceId": NODE, "TypeName": "AWS:Application"
    },
    ("ListInventoryEntries", "InvalidTypeNameException"): lambda fleet, done: {
        "InstanceId": done.node, "TypeName": "AWS:Nothing"
    },
    ("ListInventoryEntries", "InvalidFilter"): lambda fleet, done: {
        "InstanceId": done.node, "TypeName": "AWS:Application", "Filters": COLOUR
    },
    ("GetInventorySchema", "InvalidTypeNameException"): lambda fleet, done: {"TypeName": "AWS:Nothing"},
    ("DescribeInstancePatches", "InvalidInstanceId"): lambda fleet, done: {"InstanceId": NODE},
    ("DescribeInstancePatches", "InvalidFilter"): lambda fleet, done: {
        "InstanceId": done.node, "Filters": COLOUR
    },
    ("ListComplianceItems", "InvalidResourceType"): lambda fleet, done: {"ResourceTypes": ["Toaster"]},
    ("ListComplianceItems", "InvalidResourceId"): lambda fleet, done: {"ResourceIds": [NODE]},
    ("ListComplianceItems", "InvalidFilter"): lambda fleet, done: {"Filters": COLOUR},
    ("ListComplianceSummaries", "InvalidFilter"): lambda fleet, done: {"Filters": COLOUR},
    ("ListResourceComplianceSummaries", "InvalidFilter"): lambda fleet, done: {"Filters": COLOUR},
}  # fmt: skip


def label(pair):
    return "-".join(pair)


def shown(answer, status, code):
    """The answer is this error, in a form that the model of it allows, with a message for a person."""
    assert (answer.status, answer.code) == (status, code), answer.body
    assert answer.message


@pytest.mark.parametrize("pair", REFUSALS, ids=label)
def test_is_refused_with(pair, fleet, done, raw):
    operation, error = pair
    request = REFUSALS[pair](fleet, done)
    shown(raw.call(operation, request), 400, error)


@pytest.mark.parametrize("operation", model.paged())
def test_a_token_of_another_list_is_refused_with_invalid_next_token(operation, reported, done, raw):
    request = CALLS[operation].request(reported, done)
    for token in ["made up", foreign_token(operation, raw)]:
        shown(raw.call(operation, {**request, "NextToken": token}), 400, "InvalidNextToken")


def foreign_token(operation, raw):
    """A token that the bridge gave, for another list."""
    other = {"MaxResults": 1, "Filters": [{"Key": "Owner", "Values": ["Public" if operation == "ListDocuments" else "All"]}]}
    return raw.call("ListDocuments", other).json["NextToken"]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A caller of a bridge whose database has lost its tables while it serves."""
    bridge = Bridge(tmp_path_factory.mktemp("broken"))
    try:
        raw = Raw(bridge.endpoint, bridge.access_key("tests"))
        assert raw.call("DescribeInstanceInformation", {}).status == 200
        with sqlite3.connect(bridge.state / "holdfast.db", timeout=30) as database:
            tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
            for (table,) in tables.fetchall():
                # Who may call is asked before what is called.
                if table != "access_keys":
                    database.execute(f'ALTER TABLE "{table}" RENAME TO "lost_{table}"')
        database.close()
        yield raw
    finally:
        bridge.running.stop()


# They answer from the program itself, and read no table but that of the keys.
WITHOUT_TABLES = ["GetDocument", "GetInventorySchema"]


def whole(operation):
    """A request that the model allows, which needs no fleet."""
    fixed = {
        "AddTagsToResource": tagged(Tags=TAG),
        "CancelCommand": {"CommandId": COMMAND},
        "CreateActivation": {"IamRole": "edge-role"},
        "DeleteActivation": {"ActivationId": COMMAND},
        "DeregisterManagedInstance": {"InstanceId": NODE},
        "DescribeDocument": {"Name": "AWS-RunShellScript"},
        "DescribeInstancePatchStates": {"InstanceIds": [NODE]},
        "DescribeInstancePatches": {"InstanceId": NODE},
        "GetCommandInvocation": {"CommandId": COMMAND, "InstanceId": NODE},
        "GetDocument": {"Name": "AWS-RunShellScript"},
        "ListInventoryEntries": {"InstanceId": NODE, "TypeName": "AWS:Application"},
        "ListTagsForResource": tagged(),
        "RemoveTagsFromResource": tagged(TagKeys=["a"]),
        "SendCommand": {
            "DocumentName": "AWS-RunShellScript", "InstanceIds": [NODE], "Parameters": {"commands": ["true"]}
        },
        "UpdateManagedInstanceRole": {"InstanceId": NODE, "IamRole": "r"},
    }  # fmt: skip
    return fixed.get(operation, {})


@pytest.mark.parametrize("operation", [name for name in model.OPERATIONS if name not in WITHOUT_TABLES])
def test_a_database_that_fails_is_an_internal_server_error(operation, broken):
    answer = broken.call(operation, whole(operation))
    shown(answer, 500, "InternalServerError")
    # What failed is the log's, which the request's id leads to.
    assert "no such table" not in json.dumps(answer.json)
    assert answer.headers["x-amzn-requestid"] in json.dumps(answer.json)
