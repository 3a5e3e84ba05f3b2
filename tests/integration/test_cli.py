"""Errors that a first user makes are one clear line, with no traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from influcoder.cli.app import app

COMMAND = Path(sys.executable).parent / "influcoder"


@pytest.fixture
def run(forks, tmp_path):
    """A function: the command in an empty folder, with nothing in the environment but what is named."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("INFLUCODER", "PREFECT"))}
    return lambda *arguments, **environment: forks.influcoder(*arguments, cwd=tmp_path, env=clean | environment)


def assert_one_line(done, *words):
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr.split("error:")[-1]
    last = done.stderr.split("error:")[-1]
    assert len(last.strip().splitlines()) == 1, last
    for word in words:
        assert word in last


@pytest.fixture
def environment(stack):
    return {name: os.environ[name] for name in stack.environment() if name in os.environ}


def test_every_command_is_listed():
    listing = CliRunner().invoke(app, ["--help"]).stdout
    for name in (
        "up",
        "demo",
        "label",
        "import-scores",
        "warm-up",
        "train",
        "promote",
        "rollback",
        "journal",
        "check",
        "checks",
        "retrain",
        "attribute",
        "status",
        "alerts",
        "approve",
        "sweep",
        "watch",
        "encoders",
        "backfill",
        "index",
        "indexes",
        "regions",
        "audit",
        "serve",
        "filter",
    ):
        assert name in listing


def test_port_taken(run):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert_one_line(run("up", "--mlflow-port", str(port)), f"port {port} for mlflow is taken")


def test_s3_is_down(run):
    done = run(
        "attribute",
        "--answer",
        "x",
        INFLUCODER_STORE__ENDPOINT="http://127.0.0.1:9",
        INFLUCODER_MLFLOW__TRACKING_URI="http://127.0.0.1:9",
    )
    assert_one_line(done, "does not answer", "influcoder up")


def test_no_champion_yet(run, environment):
    done = run("attribute", "--answer", "x", **{**environment, "INFLUCODER_MLFLOW__MODEL": "unborn"})
    assert_one_line(done, "there is no champion yet", "influcoder train")


def test_unknown_decoder(run, environment):
    assert_one_line(run("label", "--decoder", "no/such/folder", **environment), "is no decoder")


def test_unreadable_jsonl_names_the_line(run, tmp_path, environment):
    (tmp_path / "pool.jsonl").write_text('{"target": "fine"}\n{"target": oops}\n')
    assert_one_line(run("label", "--corpus", "pool.jsonl", **environment), "pool.jsonl, line 2")


def test_prefect_is_down(run, environment):
    done = run("label", **{**environment, "PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert_one_line(done, "Prefect at http://127.0.0.1:9/api does not answer", "influcoder up")


def test_disk_full(tmp_path, environment):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, "status"],
            env={**os.environ, **environment},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert_one_line(done, "the disk is full", "Free space")


def test_status_says_what_is_wrong_when_everything_is_down(run):
    done = run(
        "status",
        INFLUCODER_STORE__ENDPOINT="http://127.0.0.1:9",
        PREFECT_API_URL="http://127.0.0.1:9/api",
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "no server answers" in done.stdout
    for address in ("http://127.0.0.1:9", "http://127.0.0.1:9/api"):
        assert address in done.stdout


def test_plan_says_what_labelling_would_take_and_pays_for_its_probe_once(run, environment):
    first = run("label", "--plan", **environment, COLUMNS="120")
    assert first.returncode == 0, first.stderr
    rows = {}
    for line in first.stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if len(cells) == 2:
            rows[cells[0]] = cells[1]
    assert rows["samples"] == str(60 + 120 + 8 + 12 + 20 + 24)
    assert "measured now" in rows["expected time"] or rows["expected time"] == "none"
    assert "bytes a sample" in rows["expected size"]
    cached = int(rows["cached"].split(",")[0])
    assert cached >= 8
    assert int(rows["to label"].split(",")[0]) == int(rows["samples"]) - cached
