"""Unit tests see no server: a stack that other tests started must not reach them through the environment."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch):
    for name in os.environ:
        if name.startswith(("INFLUCODER_", "PREFECT_", "MLFLOW_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
