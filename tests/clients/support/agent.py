"""Real agents of this machine, each with a state directory of its own."""

import json
import pathlib

from .programs import Running, verb


class Agent:
    """An agent, registered or not, running or not."""

    def __init__(self, room, name):
        self.state = pathlib.Path(room) / name
        self.log = pathlib.Path(room) / f"{name}.log"
        self.node = None
        self.running = None

    def register(self, address, activation, ca_sha256, check=True):
        """Registers over MQTT at `HOST:PORT`; the node id, or the outcome with `check=False`."""
        printed = verb(
            "holdfast-agent", "register", "--json", "--state-dir", self.state, "--bridge", f"mqtts://{address}",
            "--activation-id", activation.id, "--activation-code", activation.code, "--ca-sha256", ca_sha256,
            check=check,
        )  # fmt: skip
        if not check:
            return printed
        self.node = json.loads(printed)["node_id"]
        return self.node

    def start(self):
        """Starts `run`."""
        assert self.running is None
        self.running = Running("holdfast-agent", "run", "--state-dir", self.state, log=self.log)

    def status(self):
        """What `status` says."""
        return json.loads(verb("holdfast-agent", "status", "--json", "--state-dir", self.state))

    def stop(self):
        """Stops it, if it runs."""
        if self.running is not None:
            self.running.stop()
            self.running = None
