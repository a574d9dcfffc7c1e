"""Output above what a reply holds: its beginning in the reply, all of it where the reply says."""

import json
import urllib.parse

import pytest

# More than the reply holds of either stream, and less than the node sends of either.
LINES = 4_000
WHOLE = "".join(f"line {number} ä\n" for number in range(1, LINES + 1))


@pytest.fixture(scope="module")
def long(fleet):
    """An invocation with 47 kB on each stream."""
    script = f"for i in $(seq {LINES}); do echo \"line $i ä\"; echo \"line $i ä\" >&2; done"
    return fleet.run(script)


def test_the_reply_holds_the_beginning(long):
    assert long["Status"] == "Success"
    for content, bound in [(long["StandardOutputContent"], 24_000), (long["StandardErrorContent"], 8_000)]:
        assert 0.9 * bound < len(content) <= bound
        shown = content.split("\n---")[0]
        assert WHOLE.startswith(shown)


def test_the_rest_is_at_the_reply_s_urls(long, raw):
    for url in [long["StandardOutputUrl"], long["StandardErrorUrl"]]:
        answer = raw.send(raw.sign(raw.get(url)))
        assert answer.status == 200
        assert answer.body.decode() == WHOLE


def test_a_plugin_shows_less_and_the_same_urls(long, fleet, ssm):
    listed = ssm.list_command_invocations(CommandId=long["CommandId"], Details=True)["CommandInvocations"]
    [plugin] = listed[0]["CommandPlugins"]
    assert len(plugin["Output"]) <= 2_500
    assert "\n---Output truncated---\n----------ERROR-------\n" in plugin["Output"]
    assert plugin["Output"].endswith("\n---Error truncated----")
    assert plugin["StandardOutputUrl"] == long["StandardOutputUrl"]


def test_nobody_reads_it_without_a_signature(long, raw):
    answer = raw.send(raw.get(long["StandardOutputUrl"]))
    assert (answer.status, answer.code) == (400, "MissingAuthenticationTokenException")
    tampered = raw.sign(raw.get(long["StandardOutputUrl"]))
    tampered.url = long["StandardErrorUrl"]
    assert raw.send(tampered).code == "InvalidSignatureException"


def test_a_place_that_is_not_there_is_not_found(long, raw):
    url = long["StandardOutputUrl"].replace(long["CommandId"], "00000000-0000-0000-0000-000000000000")
    answer = raw.send(raw.sign(raw.get(url)))
    assert answer.status in (400, 404) and answer.json["__type"]


def test_output_below_the_bound_is_whole_in_the_reply(fleet):
    invocation = fleet.run("seq 4000")
    assert invocation["StandardOutputContent"] == "".join(f"{number}\n" for number in range(1, 4001))


def test_output_that_is_not_text_does_not_break_the_reply(fleet):
    invocation = fleet.run(r"printf 'a\000b\377c\n'")
    assert invocation["Status"] == "Success"
    assert invocation["StandardOutputContent"].startswith("a")
    assert invocation["StandardOutputContent"].endswith("c\n")


def test_the_urls_lead_to_the_address_that_the_client_used(long, bridge):
    parts = urllib.parse.urlsplit(long["StandardOutputUrl"])
    assert (parts.scheme, parts.netloc) == ("http", bridge.http)


def test_the_verb_prints_json_for_programs(done, bridge):
    printed = json.loads(bridge.verb("output", done.id, done.node, "--stderr", "--json"))
    assert (printed["stream"], printed["encoding"], printed["output"]) == ("stderr", "utf-8", "err\n")
