"""A demo in a tiny world, run once, whose servers stay up for all that want to look at them."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from leash import leash
from tiny_world import tiny_world

from influcoder.local.stack import Stack
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.servers import MlflowSettings
from influcoder.storage.object_store import ObjectStore

STORY = """
import json, sys
from pathlib import Path
from influcoder.cli.demo import Demo
from influcoder.cli.demo_world import World
from influcoder.cli.tables import console
Demo(Path(sys.argv[1]), console, World(**json.loads(sys.argv[2]))).run(keep=True)
"""


@dataclasses.dataclass(frozen=True)
class Story:
    """A demo that has run and left its servers up.

    Args:
        stack: its servers.
        printed: what it said.
        summary: what it left in `summary.json`.
        answer: rows of `answer.json`.
        world: its fields.
    """

    stack: Stack
    printed: str
    summary: dict
    answer: list
    world: dict

    @property
    def store(self) -> ObjectStore:
        return ObjectStore(self.stack._store_settings("influcoder"))

    @property
    def registry(self) -> Registry:
        return Registry(MlflowSettings(tracking_uri=self.stack.urls()["mlflow"]))


@pytest.fixture(scope="session")
def story(tmp_path_factory, tiny_decoder_dir):
    world = tiny_world(tmp_path_factory.mktemp("world"), tiny_decoder_dir)
    folder = tmp_path_factory.mktemp("demo") / "demo"
    stack = Stack(folder)
    with leash():
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("INFLUCODER", "PREFECT"))}
        command = [sys.executable, "-c", STORY, str(folder), json.dumps(dataclasses.asdict(world))]
        try:
            done = subprocess.run(command, env=clean, capture_output=True, text=True)
            assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}\n{stack.tail(40)}"
            read = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("summary", "answer")}
            yield Story(stack, done.stdout, **read, world=dataclasses.asdict(world))
        finally:
            stack.stop()
