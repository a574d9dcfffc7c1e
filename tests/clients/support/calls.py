"""One call of each operation, for every client alike: what is asked, and what the answer must hold."""

import json

import botocore

from . import model

CALLS = {}
# The documents that come with the bridge.
DOCUMENTS = ["AWS-GatherSoftwareInventory", "AWS-RunPatchBaseline", "AWS-RunShellScript"]


def call(operation):
    """Registers a class with `request(fleet, done)` and `check(answer, fleet, asked)` for an operation."""

    def register(cls):
        assert operation not in CALLS
        CALLS[operation] = cls
        return cls

    return register


def flags(operation, request):
    """The request as the AWS CLI takes it: an option for each member."""
    words = [botocore.xform_name(operation, "-")]
    for name, value in request.items():
        kind = model.members(operation)[name].type_name
        option = "--" + botocore.xform_name(name, "-")
        if kind == "boolean":
            words.append(option if value else option.replace("--", "--no-", 1))
        elif kind == "list" and all(isinstance(item, str) for item in value):
            words += [option, *value]
        else:
            words += [option, value if isinstance(value, str) else json.dumps(value)]
    return words


@call("CreateActivation")
class CreateActivation:
    def request(fleet, done):
        return {"IamRole": "edge-role", "Description": "by a client", "RegistrationLimit": 2}

    def check(answer, fleet, asked):
        assert len(answer["ActivationCode"]) == 20
        [shown] = fleet.ssm.describe_activations(
            Filters=[{"FilterKey": "ActivationIds", "FilterValues": [answer["ActivationId"]]}]
        )["ActivationList"]
        assert (shown["Description"], shown["RegistrationLimit"]) == ("by a client", 2)
        assert (shown["RegistrationsCount"], shown["Expired"]) == (0, False)


@call("DescribeActivations")
class DescribeActivations:
    def request(fleet, done):
        return {"Filters": [{"FilterKey": "ActivationIds", "FilterValues": [fleet.activation.id]}]}

    def check(answer, fleet, asked):
        [shown] = answer["ActivationList"]
        assert shown["DefaultInstanceName"] == "edge-box"
        assert shown["RegistrationsCount"] == shown["RegistrationLimit"] == len(fleet.nodes + fleet.shelf)
        assert shown["Tags"] == [{"Key": "Environment", "Value": "test"}]


@call("DeleteActivation")
class DeleteActivation:
    def request(fleet, done):
        return {"ActivationId": fleet.activate().id}

    def check(answer, fleet, asked):
        left = fleet.ssm.get_paginator("describe_activations").paginate().search("ActivationList[].ActivationId")
        assert asked["ActivationId"] not in list(left)


@call("DescribeInstanceInformation")
class DescribeInstanceInformation:
    def request(fleet, done):
        return {"Filters": [{"Key": "tag:Site", "Values": ["berlin"]}, {"Key": "PingStatus", "Values": ["Online"]}]}

    def check(answer, fleet, asked):
        nodes = answer["InstanceInformationList"]
        assert sorted(node["InstanceId"] for node in nodes) == sorted(fleet.nodes)
        for node in nodes:
            assert (node["ResourceType"], node["PlatformType"]) == ("ManagedInstance", "Linux")
            assert (node["Name"], node["ActivationId"]) == ("edge-box", fleet.activation.id)
            assert node["IsLatestVersion"] is True


@call("DeregisterManagedInstance")
class DeregisterManagedInstance:
    def request(fleet, done):
        return {"InstanceId": fleet.newcomer(f"leaver-{len(fleet.agents)}").node}

    def check(answer, fleet, asked):
        filters = [{"Key": "InstanceIds", "Values": [asked["InstanceId"]]}]
        assert not fleet.ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]


@call("UpdateManagedInstanceRole")
class UpdateManagedInstanceRole:
    def request(fleet, done):
        return {"InstanceId": fleet.shelf[1], "IamRole": "another-role"}

    def check(answer, fleet, asked):
        assert fleet.information(fleet.shelf[1])["IamRole"] == "another-role"


def tags_of(fleet, node):
    listed = fleet.ssm.list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=node)["TagList"]
    return {tag["Key"]: tag["Value"] for tag in listed}


@call("AddTagsToResource")
class AddTagsToResource:
    def request(fleet, done):
        tags = [{"Key": "Rack", "Value": "7 left"}, {"Key": "Empty", "Value": ""}]
        return {"ResourceType": "ManagedInstance", "ResourceId": fleet.shelf[1], "Tags": tags}

    def check(answer, fleet, asked):
        tags = tags_of(fleet, fleet.shelf[1])
        assert (tags["Rack"], tags["Empty"], tags["Environment"]) == ("7 left", "", "test")


@call("ListTagsForResource")
class ListTagsForResource:
    def request(fleet, done):
        return {"ResourceType": "ManagedInstance", "ResourceId": fleet.nodes[0]}

    def check(answer, fleet, asked):
        tags = {tag["Key"]: tag["Value"] for tag in answer["TagList"]}
        assert (tags["Environment"], tags["Site"]) == ("test", "berlin")


@call("RemoveTagsFromResource")
class RemoveTagsFromResource:
    def request(fleet, done):
        node = {"ResourceType": "ManagedInstance", "ResourceId": fleet.shelf[2]}
        fleet.ssm.add_tags_to_resource(Tags=[{"Key": "Passing", "Value": "x"}], **node)
        return {**node, "TagKeys": ["Passing", "NeverThere"]}

    def check(answer, fleet, asked):
        assert sorted(tags_of(fleet, fleet.shelf[2])) == ["Environment"]


@call("SendCommand")
class SendCommand:
    def request(fleet, done):
        return {
            "DocumentName": "AWS-RunShellScript",
            "Targets": [{"Key": "InstanceIds", "Values": [fleet.nodes[0]]}],
            "Parameters": {"commands": ["echo first", "echo second; exit 3"], "executionTimeout": ["60"]},
            "Comment": "three it is",
            "TimeoutSeconds": 120,
            "MaxConcurrency": "50%",
            "MaxErrors": "1",
        }

    def check(answer, fleet, asked):
        command = answer["Command"]
        for name, value in asked.items():
            assert command[name] == value, name
        assert command["Status"] in ("Pending", "InProgress")
        invocation = fleet.finished(command)
        assert (invocation["Status"], invocation["ResponseCode"]) == ("Failed", 3)
        assert invocation["StandardOutputContent"] == "first\nsecond\n"
        assert invocation["Comment"] == "three it is"


@call("ListCommands")
class ListCommands:
    def request(fleet, done):
        return {"CommandId": done.id}

    def check(answer, fleet, asked):
        [command] = answer["Commands"]
        assert (command["Status"], command["StatusDetails"]) == ("Success", "Success")
        assert (command["TargetCount"], command["CompletedCount"], command["ErrorCount"]) == (1, 1, 0)
        assert command["Comment"] == "for all who ask"
        assert command["Parameters"]["commands"] == ["echo out", "echo err >&2"]


@call("ListCommandInvocations")
class ListCommandInvocations:
    def request(fleet, done):
        return {"CommandId": done.id, "Details": True}

    def check(answer, fleet, asked):
        [invocation] = answer["CommandInvocations"]
        assert (invocation["InstanceId"], invocation["Status"]) == (fleet.nodes[0], "Success")
        [plugin] = invocation["CommandPlugins"]
        assert (plugin["Name"], plugin["ResponseCode"]) == ("aws:runShellScript", 0)
        assert plugin["Output"].startswith("out\n") and "err" in plugin["Output"]


@call("GetCommandInvocation")
class GetCommandInvocation:
    def request(fleet, done):
        return {"CommandId": done.id, "InstanceId": done.node, "PluginName": "aws:runShellScript"}

    def check(answer, fleet, asked):
        assert (answer["Status"], answer["ResponseCode"]) == ("Success", 0)
        assert (answer["StandardOutputContent"], answer["StandardErrorContent"]) == ("out\n", "err\n")
        assert answer["ExecutionElapsedTime"].startswith("PT")
        assert answer["ExecutionStartDateTime"] <= answer["ExecutionEndDateTime"]


@call("CancelCommand")
class CancelCommand:
    def request(fleet, done):
        return {"CommandId": fleet.send("true", InstanceIds=[fleet.shelf[1]])["CommandId"]}

    def check(answer, fleet, asked):
        assert fleet.finished(asked, fleet.shelf[1])["Status"] == "Cancelled"


@call("ListDocuments")
class ListDocuments:
    def request(fleet, done):
        return {"Filters": [{"Key": "Owner", "Values": ["Amazon"]}]}

    def check(answer, fleet, asked):
        documents = answer["DocumentIdentifiers"]
        assert [document["Name"] for document in documents] == DOCUMENTS
        assert all("Linux" in document["PlatformTypes"] for document in documents)


@call("DescribeDocument")
class DescribeDocument:
    def request(fleet, done):
        return {"Name": "AWS-RunShellScript"}

    def check(answer, fleet, asked):
        document = answer["Document"]
        assert (document["DocumentType"], document["Status"]) == ("Command", "Active")
        names = [parameter["Name"] for parameter in document["Parameters"]]
        assert sorted(names) == ["commands", "executionTimeout", "workingDirectory"]
        assert (document["HashType"], len(document["Hash"])) == ("Sha256", 64)


@call("GetDocument")
class GetDocument:
    def request(fleet, done):
        return {"Name": "AWS-RunPatchBaseline", "DocumentVersion": "$LATEST", "DocumentFormat": "JSON"}

    def check(answer, fleet, asked):
        content = json.loads(answer["Content"])
        assert content["parameters"]["Operation"]["allowedValues"] == ["Scan", "Install"]
        assert (answer["DocumentVersion"], answer["DocumentFormat"]) == ("1", "JSON")


@call("GetInventory")
class GetInventory:
    def request(fleet, done):
        return {
            "Filters": [{"Key": "AWS:InstanceInformation.InstanceId", "Values": [fleet.nodes[0]], "Type": "Equal"}],
            "ResultAttributes": [{"TypeName": "AWS:InstanceInformation"}],
        }

    def check(answer, fleet, asked):
        [entity] = answer["Entities"]
        assert entity["Id"] == fleet.nodes[0]
        [row] = entity["Data"]["AWS:InstanceInformation"]["Content"]
        assert row["InstanceId"] == fleet.nodes[0]


@call("ListInventoryEntries")
class ListInventoryEntries:
    def request(fleet, done):
        return {
            "InstanceId": fleet.nodes[0],
            "TypeName": "AWS:Application",
            "Filters": [{"Key": "Name", "Values": ["dpkg"]}],
        }

    def check(answer, fleet, asked):
        assert (answer["TypeName"], answer["InstanceId"]) == ("AWS:Application", fleet.nodes[0])
        assert [entry["Name"] for entry in answer["Entries"]] == ["dpkg"]


@call("GetInventorySchema")
class GetInventorySchema:
    def request(fleet, done):
        return {"TypeName": "AWS:Application"}

    def check(answer, fleet, asked):
        [schema] = answer["Schemas"]
        assert {"Name", "Version", "Architecture"} <= {attribute["Name"] for attribute in schema["Attributes"]}


@call("DescribeInstancePatchStates")
class DescribeInstancePatchStates:
    def request(fleet, done):
        return {"InstanceIds": [fleet.nodes[0], fleet.shelf[0]]}

    def check(answer, fleet, asked):
        # A node that was never scanned has no state.
        [state] = answer["InstancePatchStates"]
        assert (state["InstanceId"], state["Operation"]) == (fleet.nodes[0], "Scan")
        assert state["InstalledCount"] + state["InstalledOtherCount"] > 0


@call("DescribeInstancePatches")
class DescribeInstancePatches:
    def request(fleet, done):
        filters = [{"Key": "State", "Values": ["Installed", "InstalledOther"]}]
        return {"InstanceId": fleet.nodes[0], "Filters": filters}

    def check(answer, fleet, asked):
        assert answer["Patches"]
        assert {patch["State"] for patch in answer["Patches"]} <= {"INSTALLED", "INSTALLED_OTHER"}


@call("ListComplianceItems")
class ListComplianceItems:
    def request(fleet, done):
        return {
            "ResourceIds": [fleet.nodes[0]],
            "ResourceTypes": ["ManagedInstance"],
            "Filters": [{"Key": "Status", "Values": ["COMPLIANT"], "Type": "EQUAL"}],
        }

    def check(answer, fleet, asked):
        assert answer["ComplianceItems"]
        for item in answer["ComplianceItems"]:
            assert (item["ResourceId"], item["Status"]) == (fleet.nodes[0], "COMPLIANT")
            assert item["ComplianceType"] == "Patch"


@call("ListComplianceSummaries")
class ListComplianceSummaries:
    def request(fleet, done):
        return {"Filters": [{"Key": "ComplianceType", "Values": ["Patch"]}]}

    def check(answer, fleet, asked):
        [summary] = answer["ComplianceSummaryItems"]
        counted = summary["CompliantSummary"]["CompliantCount"] + summary["NonCompliantSummary"]["NonCompliantCount"]
        assert counted == len(fleet.nodes)


@call("ListResourceComplianceSummaries")
class ListResourceComplianceSummaries:
    def request(fleet, done):
        return {"Filters": [{"Key": "ComplianceType", "Values": ["Patch"]}]}

    def check(answer, fleet, asked):
        items = answer["ResourceComplianceSummaryItems"]
        assert sorted(item["ResourceId"] for item in items) == sorted(fleet.nodes)
        for item in items:
            missing = item["NonCompliantSummary"]["NonCompliantCount"]
            assert item["Status"] == ("NON_COMPLIANT" if missing else "COMPLIANT")
