"""Places of the store, and flows in children that can be killed or held at any of their writes."""

import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from forks import Forks
from small import write_corpus

from influcoder.local.fork_client import Forked
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

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
def settings(started, tmp_path_factory, tiny_decoder_dir, encoder_dir):
    """Settings of these tests alone: few samples, in many small batches, and a corpus that a closed form can learn."""
    folder = tmp_path_factory.mktemp("faults")
    corpus = write_corpus(folder / "pool.jsonl", scrambled=True, rows=1000, words=(10, 10))
    file = folder / "influcoder.toml"
    file.write_text(SETTINGS.format(decoder=tiny_decoder_dir, corpus=corpus, encoder=encoder_dir))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_SETTINGS", str(file))
        yield load_settings()


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
        process: in the fork server.
        trace: file of the writes that it did.
        outcome: file of what it says at its end.
    """

    process: Forked
    trace: Path
    outcome: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

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
        status = self.process.wait()
        found = json.loads(self.outcome.read_text()) if self.outcome.is_file() else {}
        told = {name: found.get(name) for name in ("error", "kind", "result")}
        return Outcome(killed=status == -signal.SIGKILL, writes=self.writes, **told)

    @property
    def writes(self) -> tuple[str, ...]:
        """The writes that it did so far."""
        return tuple(self.trace.read_text().splitlines()) if self.trace.is_file() else ()


class Forge:
    """Runs flows in children of the fork server, each of which can be killed at any write."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self.forks, self.log, self.number = folder, forks, folder / "children.log", 0
        self.children: set[int] = set()

    def begin(
        self, flow: str, place: "Place", kill=None, hold=None, clock: float = 0, env=None, **arguments
    ) -> "Child":
        """Start a child."""
        self.number += 1
        stem = self.folder / f"{self.number:04d}-{flow}"
        trace, outcome, order = (Path(f"{stem}.{end}") for end in ("trace", "outcome", "order"))
        words = {"flow": flow, "arguments": arguments, "kill": kill, "hold": hold, "clock": clock}
        order.write_text(json.dumps(words | {"trace": str(trace), "outcome": str(outcome)}))
        with self.log.open("ab") as log, open(os.devnull) as nothing:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            environment = {**os.environ, **place.environment, **(env or {})}
            process = self.forks.begin("-m", "faults.child", order, env=environment, streams=streams)
        return Child(process, trace, outcome)

    def run(self, flow: str, place: "Place", **options) -> Outcome:
        """Run a flow in a child and wait for its end."""
        return self.begin(flow, place, **options).end()

    def done(self, flow: str, place: "Place", **options):
        """The result of a flow that nothing must happen to."""
        outcome = self.run(flow, place, **options)
        assert not outcome.killed
        assert not outcome.error, f"{outcome.error}\n{self.log.read_text(errors='replace')[-3000:]}"
        return outcome.result


@pytest.fixture(scope="package")
def forge(settings, forks, tmp_path_factory):
    return Forge(tmp_path_factory.mktemp("forge"), forks)


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
def new_place(request, settings):
    """A function that gives a place of this test, another one each time."""
    return lambda: Place(f"{request.node.name.split('[')[0]}-{random.getrandbits(32):08x}")


@pytest.fixture
def place(new_place) -> Place:
    return new_place()
