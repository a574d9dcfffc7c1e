"""A TCP link on loopback between an agent and its bridge that can be cut and restored.

Never reads what passes: TLS goes end to end.
"""

import contextlib
import socket
import threading


class Link:
    """The link; it starts up whole."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._cut = False
        self._open = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Cuts: what passes is closed, and nothing new gets through."""
        with self._lock:
            self._cut = True
            for end in self._open:
                _shut(end)
            self._open.clear()

    def restore(self):
        """Restores: new connections get through."""
        with self._lock:
            self._cut = False

    def close(self):
        """Ends the link for good."""
        self.cut()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                agent, _ = self._listener.accept()
            except OSError:
                return
            try:
                bridge = socket.create_connection(self._target, timeout=5)
            except OSError:
                agent.close()
                continue
            bridge.settimeout(None)
            with self._lock:
                if self._cut:
                    agent.close()
                    bridge.close()
                    continue
                self._open |= {agent, bridge}
            for ends in [(agent, bridge), (bridge, agent)]:
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        # Whichever direction ends first ends both.
        for end in (source, sink):
            _shut(end)
        with self._lock:
            self._open -= {source, sink}


def _shut(end):
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
