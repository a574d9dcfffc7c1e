"""The real bridge on loopback, and its command line."""

import dataclasses
import json
import pathlib
import subprocess

from .programs import Running, verb


@dataclasses.dataclass(frozen=True)
class Key:
    """An access key of the API."""

    id: str
    secret: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Activation:
    """What an agent registers with."""

    id: str
    code: str = dataclasses.field(repr=False)


class Bridge:
    """A bridge that serves until it is stopped."""

    def __init__(self, room):
        self.state = pathlib.Path(room) / "bridge"
        self.running = Running(
            "holdfast-bridge", "serve", "--json", "--state-dir", self.state,
            "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0",
            log=pathlib.Path(room) / "bridge.log", stdout=subprocess.PIPE,
        )  # fmt: skip
        first = self.running.process.stdout.readline()
        if not first:
            raise AssertionError(f"the bridge ended before it served: {self.running.tail()}")
        ready = json.loads(first)
        self.http, self.mqtt = ready["http"], ready["mqtt"]
        self.endpoint = f"http://{self.http}"
        self._ca_sha256 = None

    def verb(self, *arguments, check=True):
        """Runs one of its verbs on its state directory, while it serves."""
        return verb("holdfast-bridge", *arguments, "--state-dir", self.state, check=check)

    def access_key(self, name):
        """Makes an access key."""
        printed = dict(line.split("=", 1) for line in self.verb("access-key", "create", "--name", name).split())
        return Key(printed["AWS_ACCESS_KEY_ID"], printed["AWS_SECRET_ACCESS_KEY"])

    @property
    def ca_sha256(self):
        """The hash of its root, as the register line shows it."""
        if self._ca_sha256 is None:
            words = self.verb("activation", "create").split()
            self._ca_sha256 = words[words.index("--ca-sha256") + 1]
        return self._ca_sha256

    def stop(self):
        """Stops it; fails when it does not end well."""
        code = self.running.stop()
        assert code == 0, f"the bridge ended with {code}: {self.running.tail()}"
