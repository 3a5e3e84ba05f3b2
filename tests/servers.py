"""The servers of the local stack one by one, so that only those run that tests need, and each can be killed alone."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from influcoder.local import stack as local
from influcoder.local.stack import ROOT, Stack
from influcoder.local.wait import wait_for_port
from influcoder.storage.object_store import ObjectStore

NEEDED = ("s3", "mlflow", "prefect")


class Servers:
    """Servers of a folder, each in a process group of its own.

    Args:
        folder: holds the settings file, and all that the servers write.
    """

    def __init__(self, folder: Path) -> None:
        self.stack = Stack(folder)
        self.stack._write_environment({})
        lines = (ROOT / "infra" / "Procfile").read_text().splitlines()
        self.commands = dict(line.split(": ", 1) for line in lines)
        self.running: dict[str, subprocess.Popen] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Of the servers and of all that talks to them; a test that wants its reports sent names the Evidently UI."""
        found = self.stack.environment()
        return {name: value for name, value in found.items() if name != "INFLUCODER_EVIDENTLY_URL"}

    def start(self, *names: str, **variables: str) -> None:
        """Start servers and wait until each answers."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        for name in names:
            with self.stack.log_file.open("ab") as log:
                self.running[name] = subprocess.Popen(
                    ["sh", "-c", self.commands[name]],
                    cwd=ROOT,
                    env={**os.environ, **self.environment, **variables, "PATH": path},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        for name in names:
            if f"{name.upper()}_PORT" in self.environment:
                self.wait(name)

    def wait(self, name: str, seconds: float = 120) -> None:
        """Wait until a server answers."""
        port = int(self.environment[f"{name.upper()}_PORT"])
        url, end = f"http://127.0.0.1:{port}{local._HEALTH.get(name, '/')}", time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.running[name].poll() is None, f"{name} ended:\n{self.stack.tail(20)}"
            if wait_for_port(port, 1.0) and local._healthy(url, name):
                return
        raise AssertionError(f"{name} does not answer:\n{self.stack.tail(20)}")

    def ensure_buckets(self) -> None:
        """Make the buckets that a stack has."""
        for bucket in ("influcoder", "mlflow"):
            ObjectStore(self.stack._store_settings(bucket)).ensure_bucket()

    def kill(self, name: str) -> None:
        """SIGKILL to a server and to all that it started."""
        process = self.running.pop(name)
        for pid in family_of(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        port = self.environment.get(f"{name.upper()}_PORT")
        while port and wait_for_port(int(port), 0.1):
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill them all."""
        for name in reversed(list(self.running)):
            self.kill(name)


def family_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
