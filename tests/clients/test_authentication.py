"""Who may call: every way in which a signature can be wrong has AWS's name for it."""

import dataclasses
import datetime
import json

import pytest

from support.callers import Raw, boto, code_of


def listing(raw):
    return raw.post("ListDocuments")


def test_a_right_signature_is_answered(raw):
    answer = raw.send(raw.sign(listing(raw)))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-requestid"]


def test_a_request_without_a_signature_is_refused(raw):
    answer = raw.send(listing(raw))
    assert (answer.status, answer.code) == (400, "MissingAuthenticationTokenException")


def test_an_unknown_key_is_refused(bridge, key):
    stranger = Raw(bridge.endpoint, dataclasses.replace(key, id="AKIA0000000000000000"))
    assert stranger.call("ListDocuments", {}).code == "UnrecognizedClientException"


def test_a_wrong_secret_is_refused(bridge, key):
    liar = Raw(bridge.endpoint, dataclasses.replace(key, secret="wrong" + key.secret))
    assert liar.call("ListDocuments", {}).code == "InvalidSignatureException"


def test_a_disabled_key_is_refused_while_the_bridge_serves(bridge):
    key = bridge.access_key("to be disabled")
    caller = Raw(bridge.endpoint, key)
    assert caller.call("ListDocuments", {}).status == 200
    bridge.verb("access-key", "disable", key.id)
    assert caller.call("ListDocuments", {}).code == "UnrecognizedClientException"
    assert code_of(boto(bridge.endpoint, key).list_documents) == "UnrecognizedClientException"


def test_a_body_that_was_tampered_with_is_refused(raw):
    request = raw.sign(raw.post("ListDocuments", b'{"MaxResults":1}'))
    request.data = b'{"MaxResults":2}'
    assert raw.send(request).code == "InvalidSignatureException"


@pytest.mark.parametrize("header, value", [("X-Amz-Target", "AmazonSSM.ListCommands"), ("X-Amz-Date", None)])
def test_a_signed_header_that_was_tampered_with_is_refused(header, value, raw):
    request = raw.sign(listing(raw))
    value = value or request.headers["X-Amz-Date"][:-2] + "9Z"
    if value == request.headers[header]:
        value = value[:-2] + "8Z"
    request.headers.replace_header(header, value)
    assert raw.send(request).code == "InvalidSignatureException"


@pytest.mark.parametrize("minutes, accepted", [(-6, False), (-4, True), (4, True), (6, False)])
def test_a_date_may_be_five_minutes_off(minutes, accepted, raw):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    answer = raw.send(raw.sign(listing(raw), at))
    if accepted:
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (400, "InvalidSignatureException")


def test_a_malformed_signature_is_refused(raw):
    request = listing(raw)
    request.headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=nonsense"
    request.headers["X-Amz-Date"] = "20260101T000000Z"
    assert raw.send(request).code == "IncompleteSignatureException"


def test_a_session_token_is_none_that_was_issued_here(raw):
    request = listing(raw)
    request.headers["X-Amz-Security-Token"] = "made up"
    assert raw.send(raw.sign(request)).code == "UnrecognizedClientException"


def test_the_region_signed_for_is_the_one_in_arns(bridge, key):
    # Any region's name is accepted.
    assert Raw(bridge.endpoint, key, region="xx-anywhere-9").call("ListDocuments", {}).status == 200


def test_a_repeated_request_is_accepted_as_the_service_does(raw):
    request = raw.sign(listing(raw))
    assert [raw.send(request).status for _ in range(2)] == [200, 200]


def test_an_operation_without_behaviour_is_refused_by_name(raw):
    answer = raw.call("StartSession", {"Target": "mi-0123456789abcdef0"})
    assert (answer.status, answer.code) == (400, "UnsupportedOperationException")
    assert "StartSession" in json.dumps(answer.json)


def test_what_is_no_operation_is_refused(raw):
    assert raw.call("NoSuchOperation", {}).code == "UnknownOperationException"


def test_a_body_that_is_not_json_is_refused(raw):
    for body in [b"{", b"[]", b"\xff", b'{"MaxResults":"many"}']:
        answer = raw.send(raw.sign(raw.post("ListDocuments", body)))
        assert answer.status == 400
        assert answer.code in ("SerializationException", "ValidationException")


def test_a_body_above_the_bound_is_refused(raw):
    body = json.dumps({"NextToken": "x" * (1 << 20)}).encode()
    answer = raw.send(raw.sign(raw.post("ListDocuments", body)))
    assert answer.status == 413
