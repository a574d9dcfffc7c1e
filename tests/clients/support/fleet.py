"""The fleet of a test run: agents that run, agents that only registered, and what is sent to them."""

import pathlib

from .agent import Agent
from .bridge import Activation
from .link import Link
from .wait import until

OPEN = ("Pending", "InProgress", "Delayed", "Cancelling")
RUNNING = 3
SHELVED = 7
SITE = "berlin"


class Fleet:
    """Three running agents, the first behind a link that can be cut, and seven nodes that are offline for good."""

    def __init__(self, room, bridge, ssm):
        self.room = pathlib.Path(room)
        self.bridge = bridge
        self.ssm = ssm
        self.link = Link(bridge.mqtt)
        self.agents = []
        self.activation = self.activate(
            RegistrationLimit=RUNNING + SHELVED,
            DefaultInstanceName="edge-box",
            IamRole="edge-role",
            Tags=[{"Key": "Environment", "Value": "test"}],
        )

    def open(self):
        """Registers all, and starts those that run."""
        for number in range(RUNNING + SHELVED):
            agent = Agent(self.room, f"agent-{number}")
            self.agents.append(agent)
            agent.register(self.bridge.mqtt if number else self.link.address, self.activation, self.bridge.ca_sha256)
            if number < RUNNING:
                agent.start()
        tags = [{"Key": "Site", "Value": SITE}]
        for node in self.nodes:
            self.ssm.add_tags_to_resource(ResourceType="ManagedInstance", ResourceId=node, Tags=tags)
        for node in self.nodes:
            self.until_online(node)

    def close(self):
        """Stops what runs."""
        for agent in self.agents:
            agent.stop()
        self.link.close()

    @property
    def nodes(self):
        """The nodes that run."""
        return [agent.node for agent in self.agents[:RUNNING]]

    @property
    def shelf(self):
        """The nodes that registered and never connect."""
        return [agent.node for agent in self.agents[RUNNING : RUNNING + SHELVED]]

    def activate(self, **request):
        """Makes an activation."""
        made = self.ssm.create_activation(**{"IamRole": "edge-role", **request})
        return Activation(made["ActivationId"], made["ActivationCode"])

    def newcomer(self, name):
        """A node of its own, for a test that ends it."""
        agent = Agent(self.room, name)
        agent.register(self.bridge.mqtt, self.activate(), self.bridge.ca_sha256)
        self.agents.append(agent)
        return agent

    def information(self, node):
        """What DescribeInstanceInformation says of a node."""
        filters = [{"Key": "InstanceIds", "Values": [node]}]
        [information] = self.ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
        return information

    def until_online(self, node):
        """Waits until the bridge sees a node online."""
        until(f"{node} is online", lambda: self.information(node)["PingStatus"] == "Online")

    def send(self, *commands, **request):
        """Sends AWS-RunShellScript, to the first node unless told otherwise; the command."""
        request.setdefault("Parameters", {"commands": list(commands)})
        request.setdefault("DocumentName", "AWS-RunShellScript")
        if "Targets" not in request:
            request.setdefault("InstanceIds", [self.nodes[0]])
        return self.ssm.send_command(**request)["Command"]

    def invocation(self, command, node=None):
        """What GetCommandInvocation says."""
        return self.ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=node or self.nodes[0])

    def until_status(self, command, status, node=None, bound_s=60.0):
        """Waits until an invocation has a status; the invocation."""

        def look():
            invocation = self.invocation(command, node)
            assert invocation["Status"] == status or invocation["Status"] in OPEN, invocation
            return invocation if invocation["Status"] == status else None

        return until(f"the invocation is {status}", look, bound_s)

    def finished(self, command, node=None, bound_s=60.0):
        """Waits until an invocation has ended, in whatever way; the invocation."""

        def look():
            invocation = self.invocation(command, node)
            return invocation if invocation["Status"] not in OPEN else None

        return until("the invocation has ended", look, bound_s)

    def all_finished(self, command, bound_s=60.0):
        """Waits until a command has ended on all its nodes; the command."""

        def look():
            [listed] = self.ssm.list_commands(CommandId=command["CommandId"])["Commands"]
            return listed if listed["Status"] not in OPEN else None

        return until("the command has ended", look, bound_s)

    def run(self, *commands, node=None, **request):
        """Sends a script to one node and waits until it has ended; the invocation."""
        node = node or self.nodes[0]
        return self.finished(self.send(*commands, InstanceIds=[node], **request), node)
