"""Every write of a flow, to S3 and to MLflow: noted by its kind, and a place to be killed or held at."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# What MLflow is asked by POST without changing anything.
READS = ("/search", "/get-latest-versions")
_HEX = re.compile(r"[0-9a-f]{16,}")
_RANDOM = (
    (re.compile(r"(journal|promotions)/[^/]+/(\d+|\w+)"), r"\1/MODEL/N"),
    (re.compile(r"m-[0-9a-f]{32}"), "MODEL"),
    (re.compile(r"/\d+/"), "/N/"),
    (_HEX, "*"),
)

Place = int | Sequence | None


@dataclass
class Counter:
    """Notes writes, and kills or holds the process at one of them.

    Args:
        trace: file that gets a line for each write that was done.
        kill: the write after which the process kills itself: a number (0 for before the first one), or the group of
            the write and which of that group; None for never.
        hold: in the same words, the write after which it waits until the file `trace` + `.go` is there.
    """

    trace: Path
    kill: Place = None
    hold: Place = None
    done: list[str] = field(default_factory=list)
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
            self.die()
            self.here.inside = True
            try:
                yield
            finally:
                self.here.inside = False
            self.done.append(kind)
            with self.trace.open("a") as file:
                print(kind, file=file)
            self.die()
            holds = self.at(self.hold)
        # Other threads go on meanwhile: a lease is kept alive by one.
        if holds:
            self.hold = None
            self.wait()

    def die(self) -> None:
        if self.at(self.kill):
            os.kill(os.getpid(), signal.SIGKILL)

    def wait(self) -> None:
        Path(f"{self.trace}.held").touch()
        while not Path(f"{self.trace}.go").exists():
            time.sleep(0.02)

    def at(self, place: Place) -> bool:
        if place is None or isinstance(place, int):
            return place == len(self.done)
        group, number = place
        return bool(self.done) and group_of(self.done[-1]) == group and groups(self.done).count(group) == number


def groups(kinds: Iterable[str]) -> list[str]:
    """The group of each write."""
    return [group_of(kind) for kind in kinds]


def group_of(kind: str) -> str:
    """Writes that are alike: pages, feature shards, files of a model, tags."""
    if "data_docs" in kind:
        return "put data docs"
    if kind.startswith("PUT") and "/models/MODEL/" in kind:
        return "PUT files of the model"
    return re.sub(r"^(put|delete) features/.*", r"\1 features", kind)


def places(kinds: Sequence[str]) -> list[tuple[str, int]]:
    """The first write of each group, one in the middle and the last one, in the order in which they are done."""
    named, found = groups(kinds), []
    for group in dict.fromkeys(named):
        count = named.count(group)
        found += [(group, number) for number in sorted({1, (count + 1) // 2, count})]
    return found


def watch(counter: Counter) -> None:
    """Put the counter around every write of this process."""
    import requests.sessions

    from influcoder.storage.object_store import ObjectStore

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
