"""Kills what a session of tests started, should the session end without doing so itself: leash.py MARK, on a pipe.

Every process that a session starts has its mark in its environment. This one waits for the end of its standard input,
which comes however the session ends, `kill -9` included.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

VARIABLE = "TEST_SESSION"


@contextmanager
def leash() -> Iterator[None]:
    """Whatever is started within it ends with it."""
    mark = os.environ[VARIABLE] = uuid.uuid4().hex
    command = [sys.executable, "-I", __file__, mark]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env={})
    try:
        yield
    finally:
        process.stdin.close()
        process.wait(30)


def marked(mark: str) -> list[int]:
    """Ids of processes with a mark in their environment."""
    found = psutil.process_iter(["environ"])
    return [process.pid for process in found if (process.info["environ"] or {}).get(VARIABLE) == mark]


def main() -> None:
    """Wait, then kill."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    # Again, for what a process started while it was looked for.
    while pids := marked(sys.argv[1]):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
