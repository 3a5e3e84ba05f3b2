"""The real servers, started once for all integration tests on free ports, and stopped by process id."""

import json
import os
import random
from pathlib import Path

import pytest

from influcoder.cli.stack import Stack

TOPICS = {
    "sea": ["anchor", "harbour", "sail", "tide", "captain", "mast", "cargo", "keel", "lantern", "rope", "storm"],
    "kitchen": ["oven", "flour", "butter", "whisk", "spoon", "sugar", "kettle", "dough", "pepper", "basil", "ladle"],
    "orbit": ["rocket", "satellite", "capsule", "moon", "antenna", "telescope", "comet", "gravity", "probe", "radar"],
}
WORDS = [word for words in TOPICS.values() for word in words]

SETTINGS = """
decoder = "{decoder}"
corpus = "{corpus}"
[teacher]
max_tokens = 96
projection_dim = 1024
[labels.budget]
train = {{ queries = 60, candidates = 120 }}
selection = {{ queries = 8, candidates = 12 }}
report = {{ queries = 20, candidates = 24 }}
[labels.spot]
queries = 20
candidates = 24
[encoder]
# The view of a text encoder can be scrambled, so that it must fail; a closed form sees the target itself.
recipe = "fine-tune"
max_tokens = 48
epochs = 6
learning_rate = 3e-4
[gate]
margin = 0.1
# Enough to tell a trained encoder from the highest floor in any draw.
spot = {{ queries = 40, candidates = 60 }}
"""


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "pool.jsonl", scrambled=False)


@pytest.fixture(scope="session")
def scrambled_corpus_file(tmp_path_factory) -> Path:
    """A corpus whose encoder's view tells nothing about its targets: here any encoder must fail."""
    return write_corpus(tmp_path_factory.mktemp("scrambled") / "pool.jsonl", scrambled=True)


@pytest.fixture(scope="session")
def stack(tmp_path_factory, tiny_decoder_dir, corpus_file):
    folder = tmp_path_factory.mktemp("stack")
    (folder / "influcoder.toml").write_text(SETTINGS.format(decoder=tiny_decoder_dir, corpus=corpus_file))
    running = Stack(folder)
    running.start(say=lambda _line: None)
    before = dict(os.environ)
    os.environ.update(running.environment())
    yield running
    os.environ.clear()
    os.environ.update(before)
    running.stop()


@pytest.fixture
def receiver():
    """An HTTP server that keeps the alerts that it is sent."""
    from alert_world import Receiver

    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def mail():
    """A mail server that keeps the alerts that it is sent."""
    from alert_world import Mailbox

    running = Mailbox()
    yield running
    running.stop()


def write_corpus(path: Path, scrambled: bool) -> Path:
    draw = random.Random(7)
    lines = []
    for number in range(900):
        topic = draw.choice(sorted(TOPICS))
        words = draw.choices(TOPICS[topic], k=draw.randint(8, 24))
        record = {"id": str(number), "context": "Tell a story: ", "target": " ".join(words), "source": topic}
        if scrambled:
            record["text"] = " ".join(draw.choices(WORDS, k=16)) + f" {number}"
        lines.append(json.dumps(record))
    path.write_text("\n".join(lines))
    return path
