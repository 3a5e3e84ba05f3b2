"""The guides' commands, as they stand there, on a tiny decoder and the real servers."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from moved import moved

from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.record import checks

DOCS = Path(__file__).parents[2] / "docs"
# What is small here, and would not be in a guide.
SMALL = {
    "INFLUCODER_STORE__PREFIX": "tests/guides",
    "INFLUCODER_MLFLOW__MODEL": "guides",
    "INFLUCODER_ENCODER__RECIPE": "kernel",
    "INFLUCODER_LABELS__RELIABILITY": json.dumps({"queries": 12, "candidates": 24}),
    "INFLUCODER_TEACHER__MAX_TOKENS": "96",
    "INFLUCODER_TEACHER__PROJECTION_DIM": "1024",
    "INFLUCODER_LABELS__SPOT": json.dumps({"queries": 40, "candidates": 60}),
    "INFLUCODER_GATE__SPOT": json.dumps({"queries": 40, "candidates": 60}),
    "INFLUCODER_GATE__MARGIN": "0.1",
    "INFLUCODER_RETRAINING__COOLDOWN_HOURS": "0",
}


def blocks(guide: str, *languages: str) -> list[tuple[str, str]]:
    """Language and text of a guide's code; what is called `console` needs what is not here."""
    text = (DOCS / guide).read_text()
    return [found for found in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) if found[0] in languages]


def row(table: str, name: str) -> str:
    """The second cell of a printed table's row."""
    rows = ([cell.strip() for cell in line.strip("│┃").split("│")] for line in table.splitlines())
    return next(cells[1] for cells in rows if len(cells) == 2 and cells[0] == name)


@pytest.fixture(scope="module")
def follow(forks, tmp_path_factory):
    """A function: run a block as a reader does; what it printed."""
    commands = forks.commands(tmp_path_factory.mktemp("commands"))

    def run(language: str, text: str, **placeholders: str) -> str:
        for name, value in placeholders.items():
            text = re.sub(rf"\b{name}\b", value, text)
        if language == "python":
            text = text.replace("influcoder-encoder", SMALL["INFLUCODER_MLFLOW__MODEL"])
        runs = {"sh": ["bash", "-euo", "pipefail"], "python": [commands / "python"]}
        environment = os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "COLUMNS": "160"}
        command = [*runs[language], "-c", text]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def world(stack, tiny_decoder_dir, corpus_file, tmp_path_factory):
    """A folder with a checkpoint and a pool, where commands run."""
    folder = tmp_path_factory.mktemp("guides")
    shutil.copytree(tiny_decoder_dir, folder / "my-checkpoint")
    shutil.copy(corpus_file, folder / "pool.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("INFLUCODER_SETTINGS")
        for name, value in SMALL.items():
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="module")
def begun(world, follow):
    """What each block of the first guide printed."""
    return [follow(*block) for block in blocks("guides/own-decoder.md", "sh")]


@pytest.fixture(scope="module")
def drifted(begun, world, follow):
    """The id of a check that finds that another decoder is in the folder."""
    moved(world / "my-checkpoint", world / "my-checkpoint")
    follow("sh", "influcoder check")
    return checks(ObjectStore(load_settings().store))[-1]


def test_own_decoder_and_data(begun, world):
    plan, loop, asked, checked = begun
    registry = Registry(load_settings().mlflow)
    assert registry.version("champion").version == "1"
    manifest = load_manifest(ObjectStore(load_settings().store), registry.version("1").label_set_id)
    roles = Counter((sample.split, sample.role) for sample in manifest.identity.samples)
    assert (roles["train", "query"], roles["train", "candidate"]) == (60, 120)
    assert row(plan, "samples") == str(len(manifest.identity.samples)), "the plan says what is labelled then"
    assert "version 1" in loop
    assert "exact" in asked
    (check,) = checks(ObjectStore(load_settings().store))
    assert check.verdict in ("ok", "warn"), check.judgement.reason
    assert f"check {check.id}" in checked
    assert re.search(rf"\b{check.verdict}\b", checked), "and the list of checks says it"


def test_approval(begun, world, follow):
    (_, settings), *rest = blocks("guides/approve.md", "toml", "sh", "python")
    offer, approve, tag, sweep = rest
    with (world / "influcoder.toml").open("a") as file:
        file.write(settings)
    registry = Registry(load_settings().mlflow)
    for yes in ((approve,), (tag, sweep)):
        follow("sh", "influcoder train")
        waiting = registry.version("challenger").version
        assert f"influcoder approve {waiting}" in " ".join(follow(*offer).split())
        assert registry.version("champion").version != waiting
        said = [follow(*block, VERSION=waiting) for block in yes]
        assert registry.version("champion").version == waiting, said
    (world / "influcoder.toml").write_text((world / "influcoder.toml").read_text().replace(settings, ""))


def test_a_drift_alert(drifted, follow):
    registry = Registry(load_settings().mlflow)
    before, champion = len(registry.versions()), registry.version("champion").version
    assert drifted.verdict == "drift", drifted.judgement.reason
    first, why, state, retrained = (follow(*block, CHECK=drifted.id) for block in blocks("guides/drift-alert.md", "sh"))
    assert "drift" in first
    assert "the decoder moved" in " ".join(why.split())
    assert f"version {champion}" in state
    assert len(registry.versions()) == before + 1, retrained


def test_an_audit(begun, world, follow):
    (block,) = blocks("audit.md", "sh")
    said = follow(*block)
    assert "journal entry" in said
    for folder in ("audit", "case-17"):
        assert sorted(path.name for path in (world / folder).iterdir()) == ["record.json", "report.html", "report.pdf"]


def test_a_teacher_of_ones_own(begun, world, follow, monkeypatch):
    for name, value in {"RECIPE": "fine-tune", "EPOCHS": "1", "MAX_TOKENS": "48"}.items():
        monkeypatch.setenv(f"INFLUCODER_ENCODER__{name}", value)
    for block in blocks("guides/add-a-teacher.md", "python", "sh"):
        follow(*block)
    registry = Registry(load_settings().mlflow)
    found = registry.version("challenger")
    spec = load_manifest(ObjectStore(load_settings().store), found.label_set_id).identity.teacher.spec
    assert (spec.method, spec.origin) == ("imported", "RepSim, last block")
    assert len(pd.read_parquet(world / "scores.parquet")) == 100 * 299


@pytest.mark.long
def test_labels_on_a_ray_cluster(begun, follow, monkeypatch):
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("INFLUCODER_LABELS__SEED", "3")
    node = {"num_cpus": 1, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "node_ip_address": "127.0.0.2"})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        (block,) = blocks("guides/kubernetes-ray.md", "sh")
        assert "ray" in follow(*block).lower()
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
