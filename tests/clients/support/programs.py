"""Processes of the two real programs. Never signals one that was not started here."""

import os
import pathlib
import signal
import subprocess


def folder():
    """`HOLDFAST_BIN_DIR`, else the workspace's debug build."""
    root = pathlib.Path(__file__).resolve().parents[3]
    return pathlib.Path(os.environ.get("HOLDFAST_BIN_DIR", root / "target" / "debug")).resolve()


def program(name):
    """The path of a program that was built."""
    path = folder() / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not built: run `cargo build -p holdfast-agent -p holdfast-bridge`")
    return str(path)


def verb(name, *arguments, check=True):
    """Runs a verb to its end; its standard output, or the whole outcome with `check=False`."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    if not check:
        return done
    if done.returncode != 0:
        raise AssertionError(f"{name} {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


class Running:
    """A program that runs until it is stopped; its standard error goes to a log."""

    def __init__(self, name, *arguments, log, stdout=subprocess.DEVNULL):
        self.log = pathlib.Path(log)
        with self.log.open("ab") as stderr:
            # A session of its own: Ctrl-C reaches pytest, which then stops it.
            self.process = subprocess.Popen(
                [program(name), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def stop(self):
        """Asks it to stop as an init system would, and kills it only if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode

    def kill(self):
        """SIGKILL, then reaped."""
        self.process.kill()
        self.process.wait()

    def tail(self):
        """The end of its log, for a failure's message."""
        return self.log.read_text(errors="replace")[-2000:]
