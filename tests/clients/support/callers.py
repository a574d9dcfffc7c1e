"""The API's callers: boto3, the AWS CLI as a program, and requests signed by hand."""

import dataclasses
import datetime
import http.client
import json
import os
import pathlib
import subprocess
import sys
import unittest.mock

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import pytest

REGION = "eu-central-1"


def boto(endpoint, key):
    """A boto3 client that shows the first answer: it never tries again by itself."""
    session = boto3.session.Session(
        aws_access_key_id=key.id, aws_secret_access_key=key.secret, region_name=REGION
    )
    once = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=30)
    return session.client("ssm", endpoint_url=endpoint, config=once)


def refused(call, **request):
    """The error of a boto3 call that must be refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**request)
    return caught.value.response


def code_of(call, **request):
    """The error code of a boto3 call that must be refused."""
    return refused(call, **request)["Error"]["Code"]


class Cli:
    """The AWS CLI, unmodified, in an environment that holds nothing but its key and the endpoint."""

    def __init__(self, endpoint, key, home):
        # Its script's first line cannot name an interpreter whose path has a space.
        self.program = [sys.executable, str(pathlib.Path(sys.executable).parent / "aws")]
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": key.id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_SSM": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def outcome(self, *arguments):
        """Runs `aws ssm …`; exit code, output and error as they came."""
        return subprocess.run(
            [*self.program, "ssm", *map(str, arguments)],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def __call__(self, *arguments):
        """Runs `aws ssm …`, which must succeed; what it printed, read as JSON."""
        done = self.outcome(*arguments)
        assert done.returncode == 0, f"aws ssm {arguments}: {done.stderr.strip()}"
        return json.loads(done.stdout) if done.stdout.strip() else {}


@dataclasses.dataclass
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error's name; both places that clients read it from must agree."""
        name = self.json["__type"]
        assert self.headers["x-amzn-errortype"] == name
        return name

    @property
    def message(self):
        """What the error says; the model spells the member's name in two ways."""
        return self.json.get("message") or self.json["Message"]


class Raw:
    """Requests signed by botocore's signer and sent by hand, so that each part can be changed after signing."""

    def __init__(self, endpoint, key, region=REGION):
        self.host = endpoint.split("//", 1)[1]
        self.endpoint = endpoint
        self.key = key
        self.region = region

    def post(self, operation, body=b"{}", headers=None):
        """An unsigned request for an operation."""
        return botocore.awsrequest.AWSRequest(
            method="POST",
            url=self.endpoint + "/",
            data=body,
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": f"AmazonSSM.{operation}",
                **(headers or {}),
            },
        )

    def get(self, url):
        """An unsigned request for a URL."""
        return botocore.awsrequest.AWSRequest(method="GET", url=url)

    def sign(self, request, at=None):
        """Signs a request, for now or for another time."""
        credentials = botocore.credentials.Credentials(self.key.id, self.key.secret)
        signer = botocore.auth.SigV4Auth(credentials, "ssm", self.region)
        at = at or datetime.datetime.now(datetime.timezone.utc)
        with unittest.mock.patch.object(botocore.auth, "get_current_datetime", lambda: at):
            signer.add_auth(request)
        return request

    def send(self, request):
        """Sends a request as it is."""
        path = request.url.split(self.host, 1)[1] or "/"
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(request.method, path, body=request.data or None, headers=dict(request.headers.items()))
            reply = connection.getresponse()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, headers, reply.read())
        finally:
            connection.close()

    def call(self, operation, request):
        """Signs and sends a request that need not fit the service's model."""
        return self.send(self.sign(self.post(operation, json.dumps(request).encode())))
