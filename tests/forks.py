"""Runs Python in children of a process that has imported all that flows need, so that a test waits for no import."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from influcoder.local import fork_client as forkclient
from influcoder.local.fork_client import Forked, start
from influcoder.local.stack import ROOT

TESTS = Path(__file__).parent
SOURCES = [TESTS, TESTS / "integration", ROOT / "src", ROOT]


class Forks:
    """A fork server and what it is asked for.

    Args:
        folder: of its socket and its log.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "fork.sock", folder / "fork.log"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES))}
        command = [sys.executable, "-m", "influcoder.local.fork_server", str(self.path)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def begin(self, *arguments, env=None, cwd=None, streams=None) -> Forked:
        """Start what `python` would start with these arguments; `Forked.wait` gives its exit code."""
        self.wait()
        with open(os.devnull) as nothing:
            streams = streams or (nothing.fileno(), 1, 2)
            folder = None if cwd is None else str(cwd)
            return start(self.path, [str(word) for word in arguments], env or os.environ, folder, streams)

    def python(self, *arguments, env=None, cwd=None, timeout=300) -> subprocess.CompletedProcess:
        """Run what `python` would run with these arguments, like `subprocess.run` with the output captured."""
        with open(os.devnull) as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            streams = (nothing.fileno(), out.fileno(), err.fileno())
            child = self.begin(*arguments, env=env, cwd=cwd, streams=streams)
            child.connection.settimeout(timeout)
            status = child.wait()
            said = [file.seek(0) or file.read().decode(errors="replace") for file in (out, err)]
        return subprocess.CompletedProcess(arguments, status, *said)

    def influcoder(self, *arguments, **options) -> subprocess.CompletedProcess:
        """Run the command line."""
        return self.python("-m", "influcoder.cli", *arguments, **options)

    def commands(self, folder: Path) -> Path:
        """A folder with the commands `influcoder` and `python`, for scripts; each is a child of the fork server."""
        client = f"exec {sys.executable} -I {forkclient.__file__} {self.path}"
        for name, start_of in {"influcoder": f"{client} -m influcoder.cli", "python": client}.items():
            (folder / name).write_text(f'#!/bin/sh\n{start_of} "$@"\n')
            (folder / name).chmod(0o755)
        return folder

    def wait(self, seconds: float = 120) -> None:
        """Wait until everything is imported."""
        end = time.monotonic() + seconds
        while not self.path.exists():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, "the fork server does not get ready"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, and whatever still runs in it."""
        self.process.kill()
        self.process.wait()
