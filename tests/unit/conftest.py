"""Unit tests see no server: a stack that other tests started must not reach them through the environment."""

import os
import shutil

import pytest

from influcoder.samples import Corpus


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch):
    for name in os.environ:
        if name.startswith(("INFLUCODER_", "PREFECT_", "MLFLOW_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")


@pytest.fixture
def copied(tiny_decoder_dir, tmp_path):
    """A checkpoint directory of the tiny decoder that a test may spoil."""
    return shutil.copytree(tiny_decoder_dir, tmp_path / "copy")


@pytest.fixture
def corpus(samples):
    """The samples as a corpus in memory."""
    return Corpus("pool", tuple(samples))
