"""Commands that only read: as tables and as JSON, against real servers and with none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from typer.testing import CliRunner

from influcoder.cli.app import app
from influcoder.decoder.fingerprints import note
from influcoder.decoder.load import load_decoder
from influcoder.registry.catalogue import Catalogue
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.settings.tree import load_settings

COMMAND = Path(sys.executable).parent / "influcoder"
LISTS = ("encoders", "checks", "journal", "asked", "indexes")
LINES = (
    *("decoder", "corpus", "champion", "challenger", "journal", "breaker", "latest_labels", "last_check", "alerts"),
    *("next_check", "servers"),
)


@pytest.fixture
def place(stack, tmp_path):
    """A prefix of the bucket, a registered model and a cache folder of this test alone."""
    before = dict(os.environ)
    own = {f"INFLUCODER_{name}": f"reading-{tmp_path.name}" for name in ("STORE__PREFIX", "MLFLOW__MODEL")}
    os.environ.update({**own, "INFLUCODER_CACHE": str(tmp_path)})
    yield load_settings()
    # What a command set in this process is gone, too.
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def versions(place):
    """Two versions of the model, the first of them the champion, and the fingerprint of the decoder in use."""
    present = load_decoder(place.decoder).fingerprint
    client = mlflow.MlflowClient(place.mlflow.tracking_uri)
    client.create_registered_model(place.mlflow.model)
    for number, decoder in (("1", present), ("2", "another")):
        figures = {"agreement.rho": "0.5", "agreement.lo": "0.4", "agreement.hi": "0.6", "labels.ceiling": "unknown"}
        tags = {"decoder.fingerprint": decoder, "labelset.id": "labels", "decoder.uri": "there", **figures}
        made = client.create_model_version(place.mlflow.model, "s3://nowhere/encoder", tags=tags)
        assert made.version == number
    client.set_registered_model_alias(place.mlflow.model, CHAMPION, "1")
    return present


def said(*words):
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_lists_of_nothing_are_empty(place):
    for name in LISTS:
        assert (found := said(name, "--json")).exit_code == 0, name
        assert found.stdout == "", name
        assert said(name).exit_code == 0, name


def test_status_tells_a_probe_what_is_wrong(place):
    found = said("status", "--json")
    record = json.loads(found.stdout)
    assert found.exit_code == record["code"] == 1
    assert set(record) == {"code", *LINES, "wrong"}
    assert [line for line in record["wrong"] if "there is no champion yet" in line]
    table = said("status")
    assert table.exit_code == 1
    for name in LINES:
        assert name.replace("_", " ") in table.stdout
    assert "there is no champion yet" in table.stdout


def test_status_says_which_server_is_away_and_asks_the_others(place, monkeypatch):
    monkeypatch.setenv("INFLUCODER_MLFLOW__TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found = said("status", "--json")
    record = json.loads(found.stdout)
    assert found.exit_code == 1
    assert (record["champion"], record["next_check"], record["breaker"]["open"]) == (None, None, False)
    for server in ("MLflow at http://127.0.0.1:9", "Prefect at http://127.0.0.1:9/api"):
        assert [line for line in record["wrong"] if line.startswith(f"{server} does not answer")]


def test_encoders_say_what_is_known_of_the_decoder_in_use(place, versions):
    unknown = said("encoders", "--json")
    rows = [json.loads(line) for line in unknown.stdout.splitlines()]
    assert [(row["version"], row["valid_now"]) for row in rows] == [("2", None), ("1", None)]
    assert "Run: influcoder watch" in unknown.stderr
    assert "Run: influcoder watch" in " ".join(said("encoders").stdout.split())
    note(place.decoder, load_decoder(place.decoder))
    rows = [json.loads(line) for line in said("encoders", "--json").stdout.splitlines()]
    assert [(row["version"], row["aliases"], row["valid_now"]) for row in rows] == [
        ("2", [], False),
        ("1", ["champion"], True),
    ]
    assert (rows[1]["agreement"], rows[1]["agreement_ceiling"], rows[1]["seen_at"]) == (0.5, None, ["there"])
    assert "yes" in said("encoders").stdout


def test_the_registry_reads_what_mlflows_client_reads(place, versions):
    light, registry = Catalogue(place.mlflow), Registry(place.mlflow)
    registry._catalogue = None
    for which in ("champion", "1", "2", "nobody", "77"):
        assert light.find(which) == registry.find(which), which
    assert light.versions() == registry.versions()
    assert [version.version for version in light.versions()] == ["1", "2"]
    unborn = Catalogue(place.mlflow.model_copy(update={"model": "unborn"}))
    assert (unborn.find("champion"), unborn.versions()) == (None, [])


@pytest.fixture
def alone(tmp_path):
    """A function: the command where no stack is, in an interpreter of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("INFLUCODER", "PREFECT"))}
    environment = {**clean, "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    return lambda *words: subprocess.run([COMMAND, *words], **options)


def test_without_a_stack_status_is_one_line(alone):
    done = alone("status")
    assert (done.returncode, done.stderr) == (2, "")
    assert len(done.stdout.splitlines()) == 1
    assert "no server answers" in done.stdout
    assert "influcoder up" in done.stdout
    probed = alone("status", "--json")
    assert probed.returncode == json.loads(probed.stdout)["code"] == 2


def test_without_a_stack_no_flow_starts_a_server_of_its_own(alone, tmp_path):
    done = alone("label")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: no Prefect server is named. Run: influcoder up, or set PREFECT_API_URL."
    )
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "prefect").glob("*.db*")), "the database of a server"
