"""The real servers and a fork server, started once for all integration tests, and stopped by process id."""

import os
from pathlib import Path

import mlflow
import pytest
from forks import Forks
from leash import leash
from prefect.context import refresh_global_settings_context
from servers import NEEDED, Servers
from small import write_corpus, write_encoder

SETTINGS = """
decoder = "{decoder}"
corpus = "{corpus}"
[teacher]
max_tokens = 96
projection_dim = 1024
[labels]
reliability = {{ queries = 12, candidates = 24 }}
[labels.budget]
train = {{ queries = 60, candidates = 120 }}
selection = {{ queries = 8, candidates = 12 }}
report = {{ queries = 20, candidates = 24 }}
[labels.spot]
queries = 20
candidates = 24
[encoder]
base = "{encoder}"
recipe = "kernel"
max_tokens = 48
epochs = 12
patience = 4
learning_rate = 4e-3
[gate]
margin = 0.1
# Enough to tell a trained encoder from the highest floor in any draw.
spot = {{ queries = 50, candidates = 70 }}
"""


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "pool.jsonl", scrambled=False)


@pytest.fixture(scope="session")
def scrambled_corpus_file(tmp_path_factory) -> Path:
    """A corpus whose encoder's view tells nothing about its targets: here any text encoder must fail."""
    return write_corpus(tmp_path_factory.mktemp("scrambled") / "pool.jsonl", scrambled=True)


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def started(tmp_path_factory, tiny_decoder_dir, corpus_file, encoder_dir):
    """S3, MLflow and Prefect, and a fork server that is at home with them."""
    folder = tmp_path_factory.mktemp("stack")
    values = {"decoder": tiny_decoder_dir, "corpus": corpus_file, "encoder": encoder_dir}
    (folder / "influcoder.toml").write_text(SETTINGS.format(**values))
    before = dict(os.environ)
    with leash():
        servers = Servers(folder)
        os.environ.update(servers.environment)
        # A run waits up to a second for its heart to stop; only a worker's runs have to be missed when they die.
        del os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]
        forks = Forks(folder)
        try:
            servers.start(*NEEDED)
            servers.ensure_buckets()
            # Both have read their address when they were imported.
            refresh_global_settings_context()
            mlflow.set_tracking_uri(os.environ["INFLUCODER_MLFLOW__TRACKING_URI"])
            yield servers, forks
        finally:
            forks.stop()
            servers.stop()
            os.environ.clear()
            os.environ.update(before)
            refresh_global_settings_context()


@pytest.fixture(scope="session")
def servers(started) -> Servers:
    return started[0]


@pytest.fixture(scope="session")
def forks(started) -> Forks:
    return started[1]


@pytest.fixture(scope="session")
def stack(servers):
    return servers.stack


@pytest.fixture(scope="session")
def evidently(servers):
    """The address of an Evidently UI, which takes a test's reports where the test names it in the environment."""
    servers.start("evidently")
    return servers.stack.urls()["evidently"]


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
