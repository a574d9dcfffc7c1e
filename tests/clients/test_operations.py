"""Every operation with behaviour, through the AWS CLI and through boto3, on the real programs."""

import botocore
import pytest

from support import model
from support.calls import CALLS, flags

assert sorted(CALLS) == model.OPERATIONS


@pytest.mark.parametrize("operation", model.OPERATIONS)
def test_the_aws_cli_drives(operation, reported, done, aws):
    call = CALLS[operation]
    asked = call.request(reported, done)
    call.check(aws(*flags(operation, asked)), reported, asked)


@pytest.mark.parametrize("operation", model.OPERATIONS)
def test_boto3_drives(operation, reported, done, ssm):
    call = CALLS[operation]
    asked = call.request(reported, done)
    call.check(getattr(ssm, botocore.xform_name(operation))(**asked), reported, asked)


def test_these_are_the_operations_that_the_bridge_says_have_behaviour(bridge):
    said = model.coverage(bridge)
    assert sorted(name for name, (has_behaviour, _) in said.items() if has_behaviour) == model.OPERATIONS
    assert set(said) == set(model.service().operation_names)


def test_the_readme_s_lines_work_as_they_are_typed(reported, aws):
    sent = aws(
        "send-command", "--document-name", "AWS-RunShellScript", "--targets", "Key=tag:Environment,Values=test",
        "--parameters", "commands=uptime", "--max-concurrency", "1", "--max-errors", "0",
    )["Command"]  # fmt: skip
    assert sent["TargetCount"] == len(reported.nodes + reported.shelf)
    invocation = reported.finished(sent)
    assert invocation["Status"] == "Success" and "load average" in invocation["StandardOutputContent"]
    aws("cancel-command", "--command-id", sent["CommandId"])
    reported.all_finished(sent)
    table = aws.outcome("list-command-invocations", "--details", "--command-id", sent["CommandId"], "--output", "table")
    assert table.returncode == 0 and "load average" in table.stdout


def test_the_cli_s_waiter_returns_when_the_command_has_succeeded(done, aws):
    waited = aws.outcome("wait", "command-executed", "--command-id", done.id, "--instance-id", done.node)
    assert (waited.returncode, waited.stderr) == (0, "")
