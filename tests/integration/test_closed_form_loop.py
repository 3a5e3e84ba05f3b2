"""The closed form through flows, a real MLflow and a real store: solved, registered, served, promoted, checked."""

import json
import re
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows import breaker
from influcoder.encoder import Encoder
from influcoder.labelsets import load_label_set
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.findings import Verdict
from monitoring.checks.record import checks
from monitoring.loop.breaker import DEGRADED, RESTORED

STORY = """
import json, os
from flows.check import check
from flows.label import label
from flows.promote import promote
from flows.train import train
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings


def labels_of(version):
    return Registry(load_settings().mlflow).version(version).label_set_id


version = train(label())
promoted = promote(version)
check()
again = train(start="champion")
os.environ["INFLUCODER_LABELS__SEED"] = "1"
grown = train(label(parent=labels_of(version)))
os.environ["INFLUCODER_ENCODER__RECIPE"] = "auto"
both = train(start="champion")
print(json.dumps(dict(version=version, promoted=promoted, again=again, both=both, grown=grown)))
"""


@pytest.fixture(scope="module")
def story(forks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/closed-form")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "closed-form")
        done = forks.python("-c", STORY)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def registry(story):
    return Registry(load_settings().mlflow)


def test_the_solution_beats_the_untrained_encoder_and_passes_the_gate(story, registry):
    champion = registry.version("champion")
    assert story["promoted"]
    assert champion.version == story["version"]
    assert float(champion.tags["agreement.lo"]) > float(champion.tags["agreement.untrained"])


def test_a_reviewer_sees_what_was_tried(story, registry):
    client = mlflow.MlflowClient()
    run_id = registry.version(story["version"]).run_id
    tried = [metric.value for metric in client.get_metric_history(run_id, "left_out.rho")]
    assert len(tried) == 9
    assert tried[0] == max(tried)
    assert len(client.get_metric_history(run_id, "closed_form.rho")) == 1
    assert {"plots/training.png", "plots/agreement.png"} <= {
        file.path for file in client.list_artifacts(run_id, "plots")
    }
    card = client.get_model_version("closed-form", story["version"]).description
    assert "solved in closed form" in card
    assert f"(ρ {tried[0]:.3f})" in card


def test_the_same_labels_give_the_same_encoder(story, registry, tmp_path):
    found = []
    for name in ("version", "again"):
        version = registry.version(story[name])
        block = load_label_set(ObjectStore(load_settings().store), version.label_set_id).evidence("report")
        folder = tmp_path / name
        folder.mkdir()
        encoder = Encoder(str(registry.download(version, folder)), 64)
        found.append(encoder.scores(block.queries, block.candidates))
    np.testing.assert_array_equal(*found)
    assert len(np.unique(found[0])) > 10


def test_by_default_the_selection_split_chooses_between_recipes(story, registry):
    client = mlflow.MlflowClient()
    version = registry.version(story["both"])
    tried = [client.get_metric_history(version.run_id, name) for name in ("closed_form.rho", "selection.rho")]
    assert len(tried[0]) == 1
    assert len(tried[1]) >= 2
    best = max(tried[0][0].value, *(metric.value for metric in tried[1] if metric.step))
    card = client.get_model_version("closed-form", version.version).description
    assert f"selection ρ {best:.3f}; preferred to what was" in card


def test_labels_that_continue_others_are_learnt_together_with_them(story, registry):
    store = ObjectStore(load_settings().store)
    version = registry.version(story["grown"])
    labels = load_label_set(store, version.label_set_id)
    earlier = load_label_set(store, labels.identity.parent)
    assert labels.identity.parent == registry.version(story["version"]).label_set_id
    hashes = [{e.sample.hash for e in part.entries if e.split == "train"} for part in (labels, earlier)]
    assert len(hashes[0] | hashes[1]) > len(hashes[0])
    kernel = Encoder(str(registry.download(version, Path(tempfile.mkdtemp()))), 64).model[0]
    assert len(kernel.centres) == len(hashes[0] | hashes[1])
    card = mlflow.MlflowClient().get_model_version("closed-form", version.version).description
    said = re.search(rf"labels before, `{earlier.id}`: ρ (\d\.\d+) ", card)
    assert said
    assert float(said[1]) == pytest.approx(float(version.tags["agreement.before"]), abs=6e-4)


def test_it_serves_from_targets_and_contexts(story):
    model = mlflow.pyfunc.load_model("models:/closed-form@champion")
    asked = pd.DataFrame({"context": ["Tell a story: ", None], "target": ["rocket moon comet", "flour butter oven"]})
    vectors = np.stack(model.predict(asked)["vector"])
    assert np.isfinite(vectors).all()
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)
    np.testing.assert_allclose(model.predict(asked[["target"]])["vector"][1], vectors[1], atol=1e-5)


def test_scores_are_marked_where_mlflow_serves_them(story, registry):
    asked = pd.DataFrame({"target": ["rocket moon comet"], "candidate": ["moon comet"]})
    score = {"method": "score"}
    sound = mlflow.pyfunc.load_model("models:/closed-form@champion").predict(asked, score)
    assert list(sound) == ["score"]
    breaker.mark(registry, DEGRADED)
    try:
        marked = mlflow.pyfunc.load_model("models:/closed-form@champion").predict(asked, score)
    finally:
        breaker.mark(registry, RESTORED)
    assert "scores of closed-form are degraded" in marked["warning"][0]
    assert marked["score"].equals(sound["score"])


def test_a_check_compares_it_with_fresh_labels(story):
    found = checks(ObjectStore(load_settings().store))[0]
    assert found.encoder_version == story["version"]
    assert found.verdict is not Verdict.DRIFT, found.judgement.reason
