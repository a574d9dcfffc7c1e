"""A member of a request that nothing honours is refused by its name, never ignored."""

import pytest

from support import model
from support.calls import CALLS

# A value that the model allows, for each member that is refused.
REFUSED = {
    ("CreateActivation", "RegistrationMetadata"): [{"Key": "a", "Value": "b"}],
    ("SendCommand", "OutputS3Region"): "eu-central-1",
    ("SendCommand", "OutputS3BucketName"): "bucket",
    ("SendCommand", "OutputS3KeyPrefix"): "prefix",
    ("SendCommand", "ServiceRoleArn"): "arn:aws:iam::123456789012:role/notify",
    ("SendCommand", "NotificationConfig"): {"NotificationType": "Command"},
    ("SendCommand", "CloudWatchOutputConfig"): {"CloudWatchOutputEnabled": True},
    ("SendCommand", "AlarmConfiguration"): {"Alarms": [{"Name": "alarm"}]},
    ("GetInventory", "Aggregators"): [{"Expression": "AWS:InstanceInformation.PlatformType"}],
    ("GetInventorySchema", "Aggregator"): True,
    ("GetInventorySchema", "SubType"): True,
}


def test_these_are_the_members_that_the_bridge_says_it_refuses(bridge):
    said = {(name, member) for name, (_, members) in model.coverage(bridge).items() for member in members}
    assert said == set(REFUSED)


@pytest.mark.parametrize("operation, member", REFUSED)
def test_a_member_without_behaviour_is_refused_by_name(operation, member, fleet, done, raw):
    request = {**CALLS[operation].request(fleet, done), member: REFUSED[operation, member]}
    answer = raw.call(operation, request)
    assert (answer.status, answer.code) == (400, "ValidationException")
    assert f"'{member}'" in answer.message


@pytest.mark.parametrize("operation", model.OPERATIONS)
def test_a_member_that_the_model_does_not_have_is_refused_by_name(operation, fleet, done, raw):
    answer = raw.call(operation, {**CALLS[operation].request(fleet, done), "Colour": "red"})
    assert answer.status == 400
    assert "Colour" in answer.message


def required():
    return [(name, member) for name in model.OPERATIONS for member in model.operation(name).input_shape.required_members]


@pytest.mark.parametrize("operation, member", required())
def test_a_required_member_that_is_missing_is_named(operation, member, fleet, done, raw):
    request = CALLS[operation].request(fleet, done)
    del request[member]
    answer = raw.call(operation, request)
    assert (answer.status, answer.code) == (400, "ValidationException")
    assert member.lower() in answer.message.lower()
