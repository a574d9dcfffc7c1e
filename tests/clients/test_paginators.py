"""botocore's paginators and its waiter. A list in small pages is the list in one."""

import botocore
import botocore.exceptions
import pytest

from support import model

# What is listed, by how many a page, and the least number of pages that this must take: where the model's smallest
# page is larger than what this fleet has, one.
LISTS = {
    "DescribeActivations": ({}, 1, 2),
    "DescribeInstanceInformation": ({}, 5, 2),
    "DescribeInstancePatchStates": ({"InstanceIds": "nodes"}, 10, 1),
    "DescribeInstancePatches": ({"InstanceId": "node"}, 50, 2),
    "GetInventory": ({}, 1, 3),
    "GetInventorySchema": ({}, 50, 1),
    "ListCommandInvocations": ({}, 1, 2),
    "ListCommands": ({}, 1, 2),
    "ListComplianceItems": ({"ResourceIds": "nodes[:1]"}, 50, 2),
    "ListComplianceSummaries": ({}, 1, 1),
    "ListDocuments": ({}, 1, 3),
    "ListResourceComplianceSummaries": ({}, 1, 3),
}

CHANGING = {"LastPingDateTime", "Status", "StatusDetails", "CompletedCount", "DeliveryTimedOutCount"}


def asked(name, fleet):
    values = {"nodes": fleet.nodes, "node": fleet.nodes[0], "nodes[:1]": fleet.nodes[:1]}
    return {member: values[value] for member, value in LISTS[name][0].items()}


def test_every_list_that_botocore_can_page_is_here(ssm):
    pageable = [name for name in model.OPERATIONS if ssm.can_paginate(botocore.xform_name(name))]
    assert pageable == sorted(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_small_pages_are_the_whole_list(name, reported, done, ssm):
    for _ in range(2):
        # Two commands at least, whichever tests ran before.
        reported.finished(reported.send("true"))
    _, size, least = LISTS[name]
    paginator = ssm.get_paginator(botocore.xform_name(name))
    key = paginator.result_keys[0].expression
    request = asked(name, reported)

    def pages(**config):
        return list(paginator.paginate(**request, PaginationConfig=config))

    small = pages(PageSize=size)
    assert len(small) >= least
    assert all(len(page[key]) <= size for page in small)
    rows = [row for page in small for row in page[key]]
    whole = [row for page in pages() for row in page[key]]
    assert rows and [stable(row) for row in rows] == [stable(row) for row in whole]


def stable(row):
    """A row without what may change between two looks at it."""
    return {name: value for name, value in row.items() if name not in CHANGING}


def test_a_listing_goes_on_where_a_client_stopped(reported, ssm):
    paginator = ssm.get_paginator("list_documents")
    first = paginator.paginate(PaginationConfig={"MaxItems": 1}).build_full_result()
    rest = paginator.paginate(PaginationConfig={"StartingToken": first["NextToken"]}).build_full_result()
    names = [document["Name"] for document in first["DocumentIdentifiers"] + rest["DocumentIdentifiers"]]
    assert names == ["AWS-GatherSoftwareInventory", "AWS-RunPatchBaseline", "AWS-RunShellScript"]


def test_inventory_entries_are_paged_without_a_paginator(reported, ssm):
    request = {"InstanceId": reported.nodes[0], "TypeName": "AWS:Application"}

    def entries(**size):
        token = {}
        while True:
            page = ssm.list_inventory_entries(**request, **size, **token)
            yield from page["Entries"]
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}

    assert list(entries(MaxResults=50)) == list(entries(MaxResults=37))


def test_the_waiter_waits_until_the_command_has_succeeded(fleet, ssm):
    command = fleet.send("true")
    waiter = ssm.get_waiter("command_executed")
    waiter.wait(
        CommandId=command["CommandId"], InstanceId=fleet.nodes[0], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    assert fleet.invocation(command)["Status"] == "Success"


def test_the_waiter_fails_when_the_command_did(fleet, ssm):
    command = fleet.send("exit 1")
    with pytest.raises(botocore.exceptions.WaiterError, match="Failed"):
        ssm.get_waiter("command_executed").wait(
            CommandId=command["CommandId"], InstanceId=fleet.nodes[0], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
