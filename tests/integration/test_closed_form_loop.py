"""The closed form through flows, a real MLflow and a real store: solved, registered, served, promoted, checked."""

import json
import os
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest

from influcoder.encoder import Encoder
from influcoder.labelsets import load_label_set
from influcoder.registry import Registry
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.check import checks
from monitoring.decision import Verdict

STORY = """
import json, os
from flows.check import check
from flows.label import label
from flows.promote import promote
from flows.train import train

version = train(label())
promoted = promote(version)
check()
again = train(start="champion")
os.environ["INFLUCODER_ENCODER__RECIPE"] = "auto"
both = train(start="champion")
print(json.dumps({"version": version, "promoted": promoted, "again": again, "both": both}))
"""


@pytest.fixture(scope="module")
def story(stack):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/closed-form")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "closed-form")
        patch.setenv("INFLUCODER_ENCODER__RECIPE", "kernel")
        # Reports of this story are not for the page that the loop looks at.
        patch.delenv("INFLUCODER_EVIDENTLY_URL")
        done = subprocess.run([sys.executable, "-c", STORY], env=os.environ, capture_output=True, text=True)
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


def test_it_serves_from_targets_and_contexts(story):
    model = mlflow.pyfunc.load_model("models:/closed-form@champion")
    asked = pd.DataFrame({"context": ["Tell a story: ", None], "target": ["rocket moon comet", "flour butter oven"]})
    vectors = model.predict(asked)
    assert np.isfinite(vectors).all()
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)
    np.testing.assert_allclose(model.predict(asked[["target"]])[1], vectors[1], atol=1e-5)
    assert model.metadata.signature.inputs.input_names() == ["target", "context"]


def test_a_check_compares_it_with_fresh_labels(story):
    found = checks(ObjectStore(load_settings().store))[-1]
    assert found.encoder_version == story["version"]
    assert found.verdict is not Verdict.DRIFT, found.judgement.reason
