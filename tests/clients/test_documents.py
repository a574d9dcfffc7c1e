"""Documents by name, ARN, version, hash and format, and in commands."""

import hashlib
import json

import pytest
import yaml

from support.callers import code_of

NAME = "AWS-RunShellScript"
ARN = f"arn:aws:ssm:eu-central-1::document/{NAME}"


@pytest.mark.parametrize("name", [NAME, ARN])
@pytest.mark.parametrize("version", [None, "1", "$DEFAULT", "$LATEST"])
def test_a_document_is_found_by(name, version, ssm):
    asked = {"Name": name, **({"DocumentVersion": version} if version else {})}
    described = ssm.describe_document(**asked)["Document"]
    got = ssm.get_document(**asked)
    assert described["Name"] == got["Name"] == NAME
    assert described["DocumentVersion"] == got["DocumentVersion"] == "1"
    assert hashlib.sha256(got["Content"].encode()).hexdigest() == described["Hash"]


def test_both_formats_say_the_same(ssm):
    for name in ["AWS-GatherSoftwareInventory", "AWS-RunPatchBaseline", NAME]:
        as_json = ssm.get_document(Name=name, DocumentFormat="JSON")["Content"]
        as_yaml = ssm.get_document(Name=name, DocumentFormat="YAML")["Content"]
        assert yaml.safe_load(as_yaml) == json.loads(as_json)


def test_documents_are_listed_by(ssm):
    def names(*filters):
        asked = [{"Key": key, "Values": values} for key, values in filters]
        return [found["Name"] for found in ssm.list_documents(Filters=asked)["DocumentIdentifiers"]]

    assert names(("Name", ["AWS-Run"])) == ["AWS-RunPatchBaseline", NAME]
    assert names(("Name", [NAME]), ("PlatformTypes", ["Linux"])) == [NAME]
    assert NAME in names(("DocumentType", ["Command"]))
    assert names(("Owner", ["Self"])) == []
    older = ssm.list_documents(DocumentFilterList=[{"key": "Name", "value": NAME}])
    assert [found["Name"] for found in older["DocumentIdentifiers"]] == [NAME]


@pytest.mark.parametrize("asked", [{"DocumentName": ARN}, {"DocumentVersion": "$LATEST"}, {"DocumentVersion": "1"}])
def test_a_command_runs_the_document_that_was_meant(asked, fleet):
    command = fleet.send("echo ran", **asked)
    assert command["DocumentName"] == NAME
    assert fleet.finished(command)["StandardOutputContent"] == "ran\n"


def test_a_command_with_the_right_hash_runs_and_with_a_wrong_one_does_not(fleet, ssm):
    right = ssm.describe_document(Name=NAME)["Document"]["Hash"]
    command = fleet.send("echo ran", DocumentHash=right, DocumentHashType="Sha256")
    assert fleet.finished(command)["Status"] == "Success"
    wrong = {
        "DocumentName": NAME,
        "InstanceIds": fleet.nodes[:1],
        "Parameters": {"commands": ["true"]},
        "DocumentHash": "0" * 64,
        "DocumentHashType": "Sha256",
    }
    assert code_of(ssm.send_command, **wrong) == "InvalidDocument"


def test_software_inventory_is_gathered_on_command(reported, ssm):
    node = reported.nodes[1]

    def captured():
        return ssm.list_inventory_entries(InstanceId=node, TypeName="AWS:Network")["CaptureTime"]

    before = captured()
    command = reported.send(DocumentName="AWS-GatherSoftwareInventory", Parameters={}, InstanceIds=[node])
    assert reported.finished(command, node, bound_s=120)["Status"] == "Success"
    # What a command reported is at the bridge before its result.
    assert captured() >= before
