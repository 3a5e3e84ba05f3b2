"""Servers that can be killed one by one, and a forge of children that can be killed at any write."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.servers import NEEDED, Servers
from faults.small import write_corpus, write_encoder
from influcoder.cli.stack import ROOT
from influcoder.registry import Registry
from influcoder.settings import load_settings
from influcoder.store import ObjectStore

SETTINGS = """
decoder = "{decoder}"
corpus = "{corpus}"
[teacher]
max_tokens = 64
projection_dim = 256
rank = 4
[labels]
token_budget = 150
shard_samples = 16
workers = 1
budget.train = {{ queries = 40, candidates = 60 }}
budget.selection = {{ queries = 5, candidates = 8 }}
budget.report = {{ queries = 15, candidates = 16 }}
spot = {{ queries = 15, candidates = 16 }}
[encoder]
base = "{encoder}"
recipe = "kernel"
max_tokens = 32
[buying]
first = 1.0
[drift]
min_queries = 5
[gate]
margin = 0.5
min_queries = 5
# So many that an encoder which is above the floor is seen to be, whatever samples are drawn.
spot = {{ queries = 40, candidates = 40 }}
"""


@pytest.fixture(scope="package")
def servers(tmp_path_factory, tiny_decoder_dir, tokenizer_of):
    folder = tmp_path_factory.mktemp("faults")
    corpus = write_corpus(folder / "pool.jsonl")
    encoder = write_encoder(folder / "encoder", tokenizer_of)
    (folder / "influcoder.toml").write_text(SETTINGS.format(decoder=tiny_decoder_dir, corpus=corpus, encoder=encoder))
    servers = Servers(folder)
    before = dict(os.environ)
    os.environ.update(servers.environment)
    try:
        servers.start(*NEEDED)
        servers.ensure_buckets()
        yield servers
    finally:
        servers.stop()
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Outcome:
    """What became of a child: killed, ended with an error, or done; and the writes that it did."""

    killed: bool
    error: str
    kind: str
    result: object
    writes: tuple[str, ...]


@dataclass
class Child:
    """A flow in a process of its own.

    Args:
        forge: it was forked from.
        trace: file of the writes that it did.
        outcome: file of what it says at its end.
        pid: its process id.
    """

    forge: "Forge"
    trace: Path
    outcome: Path
    pid: int = 0

    def wait_until_held(self, seconds: float = 60) -> None:
        """Wait until it has got to the write that it is held after."""
        waiting, end = Path(f"{self.trace}.held"), time.monotonic() + seconds
        while not waiting.exists():
            assert time.monotonic() < end, f"it is not held: {self.writes}"
            time.sleep(0.02)

    def go_on(self) -> Outcome:
        """Let it go on, and wait for its end."""
        Path(f"{self.trace}.go").touch()
        return self.end()

    def end(self) -> Outcome:
        """Wait for its end."""
        found = self.forge.ask({"wait": self.pid, "outcome": str(self.outcome)})
        self.forge.children.discard(self.pid)
        told = {name: found.get(name) for name in ("error", "kind", "result")}
        return Outcome(killed=found["signal"] == 9, writes=self.writes, **told)

    @property
    def writes(self) -> tuple[str, ...]:
        """The writes that it did so far."""
        return tuple(self.trace.read_text().splitlines()) if self.trace.is_file() else ()


class Forge:
    """Runs flows in forked children of one process that has imported everything already."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.log, self.number = folder, folder / "children.log", 0
        self.children: set[int] = set()
        reading, writing = os.pipe()
        path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src"), str(ROOT)])
        with (folder / "forge.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faults.forge", str(writing)],
                cwd=ROOT,
                env={**os.environ, **environment, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                text=True,
            )
        os.close(writing)
        self.outcomes = os.fdopen(reading)
        assert self.read()["ready"]

    def read(self) -> dict:
        line = self.outcomes.readline()
        assert line, (self.folder / "forge.log").read_text()[-3000:]
        return json.loads(line)

    def begin(
        self, flow: str, place: "Place", kill=None, hold=None, clock: float = 0, env=None, **arguments
    ) -> "Child":
        """Start a child."""
        self.number += 1
        stem = self.folder / f"{self.number:04d}-{flow}"
        child = Child(self, Path(f"{stem}.trace"), Path(f"{stem}.json"))
        order = {
            "flow": flow,
            "arguments": arguments,
            "env": {**place.environment, **(env or {})},
            "kill": kill,
            "hold": hold,
            "clock": clock,
            "trace": str(child.trace),
            "outcome": str(child.outcome),
            "log": str(self.log),
        }
        child.pid = self.ask(order)["pid"]
        self.children.add(child.pid)
        return child

    def ask(self, order: dict) -> dict:
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self.read()

    def run(self, flow: str, place: "Place", **options) -> Outcome:
        """Run a flow in a child and wait for its end."""
        return self.begin(flow, place, **options).end()

    def done(self, flow: str, place: "Place", **options):
        """The result of a flow that nothing must happen to."""
        outcome = self.run(flow, place, **options)
        assert not outcome.killed
        assert not outcome.error, f"{outcome.error}\n{self.log.read_text(errors='replace')[-3000:]}"
        return outcome.result

    def close(self) -> None:
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait(30)
        self.outcomes.close()


@pytest.fixture(scope="package")
def forge(servers, tmp_path_factory):
    forge = Forge(tmp_path_factory.mktemp("forge"), servers.environment)
    yield forge
    forge.close()


@dataclass(frozen=True)
class Place:
    """A prefix of the bucket and a registered model that no other test writes to."""

    name: str

    @property
    def environment(self) -> dict[str, str]:
        names = dict.fromkeys(("STORE__PREFIX", "MLFLOW__MODEL", "MLFLOW__EXPERIMENT"), self.name)
        return {f"INFLUCODER_{name}": value for name, value in names.items()}

    @property
    def store(self) -> ObjectStore:
        return ObjectStore(load_settings().store.model_copy(update={"prefix": self.name}))

    @property
    def registry(self) -> Registry:
        model = self.environment["INFLUCODER_MLFLOW__MODEL"]
        return Registry(load_settings().mlflow.model_copy(update={"model": model}))


def with_champion(forge: Forge, name: str) -> Place:
    """A place of a name, with labels and a champion."""
    place = Place(name)
    forge.done("label", place)
    forge.done("train", place)
    assert forge.done("promote", place) is True
    return place


@pytest.fixture
def new_place(request, servers):
    """A function that gives a place of this test, another one each time."""
    return lambda: Place(f"{request.node.name.split('[')[0]}-{random.getrandbits(32):08x}")


@pytest.fixture
def place(new_place) -> Place:
    return new_place()
