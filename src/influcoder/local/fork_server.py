"""A process that has imported what takes long, and forks for each command: forkserver.py SOCKET [MODULE ...].

A flow run, a command or a test starts in a tenth of a second instead of ten. A child is a process of its own, with the
environment, working directory and streams of whoever asked: it ends alone, and its memory goes with it.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
import types
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from influcoder.local.fork_client import exactly, send, short

# Everything that flows import sooner or later.
FLOWS = tuple(f"flows.{path.stem}" for path in sorted(Path(__file__).resolve().parents[3].glob("flows/[a-z]*.py")))
LATE = (
    "faiss",
    "git",
    "great_expectations.expectations",
    "influcoder.statistics.agreement",
    "influcoder.encoder.lexical",
    "influcoder.encoder.model",
    "influcoder.labelsets.validation",
    "influcoder.serving.model_spec",
    "matplotlib.pyplot",
    "mlflow.pyfunc",
    "mlflow.tracking",
    "monitoring.reports.report",
    "numba",
    "pandas",
    "prefect.flow_engine",
    "sentence_transformers",
)
_ORDER_SECONDS = 5.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class ForkServer:
    """Takes orders at a socket and runs each in a child.

    Args:
        path: of the socket; only its owner may connect.
        modules: to import before the first order.
    """

    def __init__(self, path: Path, modules: Sequence[str]) -> None:
        self._path = path
        for name in modules:
            importlib.import_module(name)
        self._sources = _sources()
        self._children: dict[int, socket.socket] = {}
        self._events = selectors.DefaultSelector()

    def serve(self) -> None:
        """Take orders until a signal ends this process; its children end with it."""
        listening = self._listen()
        bell, ringer = socket.socketpair()
        for end in (bell, ringer):
            end.setblocking(False)
        signal.set_wakeup_fd(ringer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._events.register(listening, selectors.EVENT_READ)
        self._events.register(bell, selectors.EVENT_READ)
        # What is here now is not looked at again, so its pages stay shared with the children.
        gc.collect()
        gc.freeze()
        while True:
            for key, _ in self._events.select():
                if key.fileobj is listening:
                    self._accept(listening.accept()[0])
                elif key.fileobj is bell:
                    bell.recv(4096)
                    self._reap()
                else:
                    self._left(key.data)

    def _listen(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            with short(self._path) as name:
                listening.bind(name)
        finally:
            os.umask(before)
        listening.listen(16)
        return listening

    def _accept(self, connection: socket.socket) -> None:
        connection.settimeout(_ORDER_SECONDS)
        try:
            head, streams, _, _ = socket.recv_fds(connection, 4, 3)
            for stream in streams:
                os.set_inheritable(stream, False)
            order = exactly(connection, struct.unpack("!I", head)[0]) if len(head) == 4 else b""
        except OSError:
            order, streams = b"", []
        try:
            self._take(connection, order, streams)
        finally:
            for stream in streams:
                os.close(stream)

    def _take(self, connection: socket.socket, order: bytes, streams: list[int]) -> None:
        changed = self._changed()
        if changed:
            # Whoever asked may have left meanwhile.
            with suppress(OSError):
                send(connection, {"refused": f"{changed} has changed since the fork server started"})
        if changed or not order:
            connection.close()
            if changed and not self._children:
                os.execv(sys.executable, [sys.executable, "-m", "influcoder.local.fork_server", *sys.argv[1:]])
            return
        pid = os.fork()
        if not pid:
            _become(order, streams)
        connection.settimeout(None)
        self._children[pid] = connection
        self._events.register(connection, selectors.EVENT_READ, pid)
        self._tell(pid, {"pid": pid})

    def _tell(self, pid: int, message: dict[str, Any]) -> None:
        try:
            send(self._children[pid], message)
        except OSError:
            self._left(pid)

    def _left(self, pid: int) -> None:
        """Whoever asked is gone: a killed run is a killed process."""
        if pid in self._children:
            os.kill(pid, signal.SIGKILL)
            self._forget(pid)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._children:
                self._tell(pid, {"status": os.waitstatus_to_exitcode(status)})
            self._forget(pid)

    def _forget(self, pid: int) -> None:
        connection = self._children.pop(pid, None)
        if connection is not None:
            self._events.unregister(connection)
            connection.close()

    def _changed(self) -> str:
        """Our own source that is no longer what was imported, if any."""
        now = _sources()
        return next((name for name, seen in self._sources.items() if now.get(name) != seen), "")


def _sources() -> dict[str, int]:
    """Time of the last change of each of our own files that was imported."""
    ours = ("influcoder", "flows", "monitoring")
    files = (
        getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if name.split(".")[0] in ours
    )
    return {name: os.stat(name).st_mtime_ns if os.path.exists(name) else 0 for name in files if name}


def _become(order: bytes, streams: Sequence[int]) -> None:
    """Run an order in this forked child and end; never returns."""
    status = 1
    try:
        _take_over(order, streams)
        status = _run()
    except BaseException:
        traceback.print_exc()
    finally:
        # What an interpreter does at its end, but for taking its modules apart.
        for last in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore[attr-defined]
            with suppress(BaseException):
                last()
        os._exit(status)


def _take_over(order: bytes, streams: Sequence[int]) -> None:
    """Take the place of whoever asked: its streams, environment, folder and arguments."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
    told = json.loads(order)
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    sys.argv = told["arguments"]
    _read_environment_again()


def _read_environment_again() -> None:
    """What libraries read of the environment and drew at random when they were imported was the server's."""
    prefect = sys.modules.get("prefect.context")
    if prefect is not None:
        prefect.refresh_global_settings_context()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed()
    if torch is not None:
        torch.seed()
        if threads := os.environ.get("OMP_NUM_THREADS"):
            torch.set_num_threads(int(threads))


def _run() -> int:
    """Do what `python` does with these arguments; its exit code."""
    kind, *rest = sys.argv
    try:
        if kind == "-m":
            sys.argv = rest
            # What others imported is not what runs: an interpreter of its own would not have it yet.
            sys.modules.pop(rest[0], None)
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv = ["-c", *rest[1:]]
            main = types.ModuleType("__main__")
            sys.modules["__main__"] = main
            exec(compile(rest[0], "<string>", "exec"), vars(main))
        else:
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def main() -> None:
    """Import, then serve."""
    ForkServer(Path(sys.argv[1]), sys.argv[2:] or (*FLOWS, *LATE)).serve()


if __name__ == "__main__":
    main()
