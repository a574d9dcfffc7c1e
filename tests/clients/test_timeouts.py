"""The delivery time of a command. It stands last: its one long wait passes while the other tests run."""

import datetime

import pytest


def test_a_command_that_nobody_fetches_expires_when_it_said(expiring, fleet, ssm):
    life = expiring["ExpiresAfter"] - expiring["RequestedDateTime"]
    assert datetime.timedelta(seconds=30) <= life
    node = fleet.shelf[0]
    invocation = fleet.finished(expiring, node)
    assert (invocation["Status"], invocation["StatusDetails"]) == ("TimedOut", "DeliveryTimedOut")
    assert datetime.datetime.now(datetime.timezone.utc) >= expiring["RequestedDateTime"] + datetime.timedelta(seconds=30)
    [command] = ssm.list_commands(CommandId=expiring["CommandId"])["Commands"]
    assert (command["StatusDetails"], command["DeliveryTimedOutCount"]) == ("DeliveryTimedOut", 1)
    # What could not be delivered is no error.
    assert command["ErrorCount"] == 0


@pytest.mark.parametrize("seconds", [29, 2_592_001])
def test_a_delivery_time_outside_the_range_is_refused(seconds, raw, fleet):
    answer = raw.call(
        "SendCommand",
        {
            "DocumentName": "AWS-RunShellScript",
            "InstanceIds": fleet.nodes[:1],
            "Parameters": {"commands": ["true"]},
            "TimeoutSeconds": seconds,
        },
    )
    assert (answer.status, answer.code) == (400, "ValidationException")
