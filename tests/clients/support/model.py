"""The service model of the pinned botocore: what the operations with behaviour take and declare."""

import functools
import json

import botocore.session

# The operations that have behaviour; a test compares them with what the bridge says.
OPERATIONS = [
    "AddTagsToResource",
    "CancelCommand",
    "CreateActivation",
    "DeleteActivation",
    "DeregisterManagedInstance",
    "DescribeActivations",
    "DescribeDocument",
    "DescribeInstanceInformation",
    "DescribeInstancePatchStates",
    "DescribeInstancePatches",
    "GetCommandInvocation",
    "GetDocument",
    "GetInventory",
    "GetInventorySchema",
    "ListCommandInvocations",
    "ListCommands",
    "ListComplianceItems",
    "ListComplianceSummaries",
    "ListDocuments",
    "ListInventoryEntries",
    "ListResourceComplianceSummaries",
    "ListTagsForResource",
    "RemoveTagsFromResource",
    "SendCommand",
    "UpdateManagedInstanceRole",
]


@functools.cache
def service():
    """botocore's model of SSM."""
    return botocore.session.get_session().get_service_model("ssm")


def coverage(bridge):
    """What the bridge says of each operation of the model: whether it has behaviour, and the members it refuses."""
    listed = json.loads(bridge.verb("api", "coverage", "--json"))
    return {
        entry["operation"]: (entry["behaviour"] == "yes", entry["refused_members"].replace(",", " ").split())
        for entry in listed
    }


def operation(name):
    """One operation of the model."""
    return service().operation_model(name)


def declared_errors(name):
    """The error codes that an operation declares, as clients see them."""
    return sorted(shape.name for shape in operation(name).error_shapes)


def members(name):
    """The members of an operation's request."""
    return operation(name).input_shape.members


def paged():
    """The operations with behaviour whose request takes a page token."""
    return [name for name in OPERATIONS if "NextToken" in members(name)]
