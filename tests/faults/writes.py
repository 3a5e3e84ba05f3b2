"""Every write of a flow, to S3 and to MLflow: noted by its kind, and a place to be killed or held at."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# What MLflow is asked by POST without changing anything.
READS = ("/search", "/get-latest-versions")
_HEX = re.compile(r"[0-9a-f]{16,}")
_RANDOM = ((re.compile(r"m-[0-9a-f]{32}"), "MODEL"), (re.compile(r"/\d+/"), "/N/"), (_HEX, "*"))


@dataclass
class Counter:
    """Notes writes, and kills or holds the process at one of them.

    Args:
        trace: file that gets a line for each write that was done.
        kill: number of writes after which the process kills itself; -1 for never.
        hold: number of writes after which it waits until the file `trace` + `.go` is there; -1 for never.
    """

    trace: Path
    kill: int
    hold: int = -1
    done: int = field(default=0)
    here: threading.local = field(default_factory=threading.local)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def write(self, kind: str) -> Iterator[None]:
        """One write; writes within it are part of it."""
        if getattr(self.here, "inside", False):
            yield
            return
        # One at a time: MLflow uploads from several threads, and the n-th write must be the n-th.
        with self.lock:
            self.stop()
            self.here.inside = True
            try:
                yield
            finally:
                self.here.inside = False
            self.done += 1
            with self.trace.open("a") as file:
                print(kind, file=file)
            self.stop()

    def stop(self) -> None:
        if self.done == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.done == self.hold:
            self.hold = -1
            Path(f"{self.trace}.held").touch()
            while not Path(f"{self.trace}.go").exists():
                time.sleep(0.02)


def watch(counter: Counter) -> None:
    """Put the counter around every write of this process."""
    import requests.sessions

    from influcoder.store import ObjectStore

    def around(original: Callable, kind: Callable[..., str]) -> Callable:
        def wrapped(*given, **named):
            name = kind(*given, **named)
            if not name:
                return original(*given, **named)
            with counter.write(name):
                return original(*given, **named)

        return wrapped

    put, delete = ObjectStore._put, ObjectStore.delete
    ObjectStore._put = around(put, lambda _store, key, _data, **options: f"put {general(key)}")
    ObjectStore.delete = around(delete, lambda _store, key: f"delete {general(key)}")
    send = requests.sessions.Session.send
    requests.sessions.Session.send = around(send, lambda _session, request, **options: said_to_mlflow(request))


def said_to_mlflow(request) -> str:
    """The kind of a request to MLflow; empty where it changes nothing."""
    path = request.path_url.split("?")[0]
    if request.method in ("GET", "HEAD") or "mlflow" not in path or path.endswith(READS):
        return ""
    return f"{request.method} {general(path)}"


def general(name: str) -> str:
    """A name without what differs from run to run."""
    for pattern, general_name in _RANDOM:
        name = pattern.sub(general_name, name)
    return name
