"""Causes and the log of queries on the real servers, with a decoder and a corpus that really change."""

import json
import os
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from moved import moved

from influcoder.labelsets import load_label_set
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.mlflow_registry import Registry
from influcoder.samples import ASKED
from influcoder.samples import query_log as asked
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.causes.record import load_cause
from monitoring.checks.findings import Verdict
from monitoring.checks.record import headline, load_check

STORY = """
import json, os, sys
from flows.cause import cause
from flows.check import check
from flows.label import label
from flows.promote import promote
from flows.train import train
from influcoder.samples import query_log as asked
from influcoder.serving.answers import attribute_one
from influcoder.samples import Sample
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

moved, corpus = sys.argv[1:]
version = train(label())
promote(version)
found = {"version": version, "decoder": check(decoder=moved), "data": check(corpus=corpus)}
found["again"] = cause(found["decoder"])

attribute_one("", "a secret rocket", 3, private=True)
os.environ["INFLUCODER_ASKED__LOG"] = "false"
attribute_one("", "a secret oven", 3)
del os.environ["INFLUCODER_ASKED__LOG"]
attribute_one("What is it?", "a comet over the harbour", 3)
store = ObjectStore(load_settings().store)
topics = ["anchor harbour sail", "flour butter oven", "rocket comet moon"]
several = [Sample(str(n), "", f"{topics[n % 3]} {n}") for n in range(90)]
asked.remember(store, load_settings().asked, several, version, "d" * 64)
found["asked"] = check()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def moved_decoder(tiny_decoder_dir, tmp_path_factory):
    return moved(tiny_decoder_dir, tmp_path_factory.mktemp("moved") / "tiny")


@pytest.fixture(scope="module")
def story(forks, moved_decoder, scrambled_corpus_file):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/causes")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "causes")
        # The view of a text encoder can be scrambled, so that it must fail; a closed form sees the target itself.
        patch.setenv("INFLUCODER_ENCODER__RECIPE", "fine-tune")
        patch.setenv("INFLUCODER_LABELS__RELIABILITY", json.dumps({"queries": 24, "candidates": 48}))
        # All at once: a few samples of each source are no group.
        patch.setenv("INFLUCODER_BUYING__FIRST", "1")
        done = forks.python("-c", STORY, moved_decoder, scrambled_corpus_file)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def store(story):
    return ObjectStore(load_settings().store)


def test_a_decoder_that_moved_is_the_cause(story, store):
    check, found = load_check(store, story["decoder"]), load_cause(store, story["decoder"])
    assert check.decoder_moved
    assert check.verdict in (Verdict.DRIFT, Verdict.WARN), check.judgement.reason
    assert found.cause == "the decoder moved", found.reason
    corners = ["old decoder, old data", "new decoder, old data (probe)", "old decoder, new data (part)"]
    assert list(found.cells) == [*corners, "new decoder, new data"]
    assert found.samples > 0
    assert story["again"] == found.cause


def test_a_check_under_another_decoder_measures_the_fixed_probe(story, store):
    check, found = load_check(store, story["decoder"]), load_cause(store, story["decoder"])
    assert check.probe.samples > 0
    assert check.probe.change == found.steps["decoder, on old data"]
    assert check.probe.now == found.cells["new decoder, old data (probe)"]
    assert "on the fixed probe" in headline(Registry(load_settings().mlflow).version(story["version"]), check)
    assert load_check(store, story["data"]).probe is None, "under the same decoder it is what it was"


def test_data_that_moved_is_the_cause(story, store):
    check, found = load_check(store, story["data"]), load_cause(store, story["data"])
    assert not check.decoder_moved
    assert check.verdict in (Verdict.DRIFT, Verdict.WARN), check.judgement.reason
    assert found.cause == "the data moved", found.reason
    assert found.samples == 0, "under the same decoder a cause costs nothing"
    assert {group.by for group in found.groups} == {"source"}


def test_record_and_plot_stand_beside_the_check(story, store):
    assert store.get(f"checks/{story['decoder']}/cause.png").startswith(b"\x89PNG")
    label_set = Registry(load_settings().mlflow).version(story["version"]).label_set_id
    assert [key for key in store.keys("probes/")] == [f"probes/{label_set}.json"]
    folder = os.environ.get("INFLUCODER_TEST_PLOTS")
    for name in ("decoder", "data") if folder else ():
        Path(folder, f"{name}.png").write_bytes(store.get(f"checks/{story[name]}/cause.png"))


def test_agreement_stands_between_floor_and_ceiling_everywhere(story, store):
    bounds = load_check(store, story["asked"]).bounds
    version = Registry(load_settings().mlflow).version(story["version"])
    assert set(bounds.floors) == {"untrained encoder", "BM25", "length and format"}
    assert bounds.height == max(item["value"] for item in bounds.floors.values())
    assert bounds.ceiling["value"] > 0.5
    assert {"agreement.floor", "agreement.floor.of", "agreement.lift", "labels.ceiling"} <= set(version.tags)
    report = json.loads(store.get(f"checks/{story['asked']}/report.json"))
    values = {item["config"]["figure"]: item["value"] for item in report["metrics"]}
    assert values["floor"] == pytest.approx(bounds.height)
    assert values["ceiling"] == pytest.approx(bounds.ceiling["value"])
    assert values["lift"] == pytest.approx(bounds.lift["value"])
    assert (values["lift_lo"], values["lift_hi"]) == pytest.approx((bounds.lift["lo"], bounds.lift["hi"]), abs=0.02)


def test_a_fine_tuned_encoder_serves_and_says_what_it_was_made_of(story):
    registry = Registry(load_settings().mlflow)
    version = registry.version(story["version"])
    model = mlflow.pyfunc.load_model(f"models:/causes/{version.version}")
    outputs = pd.DataFrame(
        {"context": ["What is in the sky?", None], "target": ["a rocket and a moon", "flour and butter"]}
    )
    vectors, alone = (np.stack(model.predict(rows)["vector"]) for rows in (outputs, outputs[["target"]]))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(vectors[1], alone[1], atol=1e-5)
    assert not np.allclose(vectors[0], alone[0], atol=1e-3), "the context counts"
    run = mlflow.MlflowClient().get_run(version.run_id)
    assert [item.dataset.digest for item in run.inputs.dataset_inputs] == [version.label_set_id]
    assert len(mlflow.MlflowClient().get_metric_history(version.run_id, "selection.rho")) >= 2


def test_spot_queries_are_what_was_asked(story, store):
    questions = [question for batch in asked.read(store) for question in batch.questions]
    assert len(questions) == 91
    assert questions[0].target == "a comet over the harbour"
    assert "What is it?" in questions[0].context
    assert questions[0].encoder == story["version"]
    labels = load_label_set(store, load_check(store, story["asked"]).spot_label_set)
    queries = [entry.sample for entry in labels.entries if entry.role == "query"]
    real = [sample for sample in queries if sample.source == ASKED]
    assert len(real) == len(queries) // 2
    assert {sample.target for sample in real} <= {question.target for question in questions}
    manifest = load_manifest(store, labels.id)
    assert manifest.asked == len(real)
    assert [source.uri for source in manifest.identity.sources][1:] == [ASKED]


def test_the_log_can_be_shown_and_purged(story, store, forks, tmp_path):
    def influcoder(*arguments):
        done = forks.influcoder(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lines = [json.loads(line) for line in influcoder("asked", "--json").splitlines()]
    assert not any("secret" in line["target"] for line in lines)
    assert len(lines) == 91
    assert "2 objects of the log are deleted" in influcoder("asked", "--purge")
    assert asked.keys(store) == []
