"""Runs a Python command in a child of a fork server, as if this process were that child: forkclient.py SOCKET ARG ...

What follows the socket is what follows `python`: `-m MODULE …`, `-c CODE …` or a script. This file needs the standard
library alone, so that `python -I` starts it in some milliseconds. Where no server answers, the command starts the slow
way, and says so.
"""

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ANSWER_SECONDS = 30.0


class NoServerError(Exception):
    """No fork server takes the command: it is not there, it died, or what it has imported is out of date."""


class Forked:
    """A child of a fork server. Whoever closes its connection, or ends, kills it.

    Args:
        connection: to the server.
        pid: the child's process id.
    """

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.connection, self.pid = connection, pid

    def wait(self) -> int:
        """Its exit code; a negative number is the signal that ended it, as with `subprocess.Popen`."""
        with self.connection:
            said = receive(self.connection)
        # A server that was killed took its children along.
        return -signal.SIGKILL if said is None else int(said["status"])

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def start(
    path: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
    streams: Sequence[int] = (0, 1, 2),
) -> Forked:
    """Have a fork server run a Python command.

    Args:
        path: the server's socket.
        arguments: what would follow `python`.
        environment: the child's; this process's unless given.
        folder: the child's working directory; this process's unless given.
        streams: file descriptors that become the child's standard input, output and error.
    Raises:
        NoServerError: no server takes it.
    """
    order = {
        "arguments": list(arguments),
        "environment": dict(os.environ if environment is None else environment),
        "folder": folder or os.getcwd(),
    }
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ANSWER_SECONDS)
        with short(path) as name:
            connection.connect(name)
        body = json.dumps(order).encode()
        socket.send_fds(connection, [struct.pack("!I", len(body))], streams)
        connection.sendall(body)
        said = receive(connection)
        connection.settimeout(None)
    except OSError as error:
        connection.close()
        raise NoServerError(f"the fork server at {path} does not answer: {error}") from error
    if said is None or "pid" not in said:
        connection.close()
        raise NoServerError((said or {}).get("refused", f"the fork server at {path} ended"))
    return Forked(connection, said["pid"])


def is_listening(path: Path) -> bool:
    """Whether a fork server takes connections at a socket."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError), short(path) as name:
        connection.connect(name)
        return True
    return False


def send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    """Send a message with its length before it."""
    body = json.dumps(message).encode()
    connection.sendall(struct.pack("!I", len(body)) + body)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message, None where the other side is gone."""
    try:
        head = exactly(connection, 4)
        body = exactly(connection, struct.unpack("!I", head)[0]) if head else b""
    except ConnectionError:
        return None
    return json.loads(body) if body else None


def exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or none where the other side ended before."""
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A name of a socket that fits into the 107 characters of an address, however deep its folder lies."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def run(path: Path, arguments: Sequence[str], refused: Callable[[str], None]) -> NoReturn:
    """Be the child: pass signals on, and end as it ends. Where there is none, become the command itself.

    Args:
        path: the server's socket.
        arguments: what would follow `python`.
        refused: is told why no server takes the command, before it starts the slow way.
    """
    try:
        child = start(path, arguments)
    except NoServerError as error:
        refused(f"{error}; starting the slow way")
        os.execv(sys.executable, [sys.executable, *arguments])
    for number in FORWARDED:
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    status = child.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    sys.exit(status)


def say(line: str) -> None:
    """To standard error, at once."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:], say)
