"""Teachers beyond the default through the whole loop: imported scores, LESS, a damped Fisher."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teachers.ekfac import ekfac_influence
from influcoder.labelsets import load_label_set
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.plan import other_reference
from influcoder.samples import read_corpus, split_of
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

SPEC = TeacherSpec(max_tokens=96, projection_dim=1024)


@pytest.fixture
def environment(stack, request, monkeypatch):
    """A prefix and a registered model of the test's own, on the servers that all tests share."""
    name = request.node.name.replace("_", "-")
    monkeypatch.setenv("INFLUCODER_STORE__PREFIX", f"tests/{name}")
    monkeypatch.setenv("INFLUCODER_MLFLOW__MODEL", name)
    # A closed form needs labels that are cosines of gradients.
    monkeypatch.setenv("INFLUCODER_ENCODER__RECIPE", "fine-tune")
    return monkeypatch


@pytest.fixture
def run(forks):
    """A function that runs flows in a process of their own; what they print last is their result."""

    def result(script, *arguments):
        done = forks.python("-c", script, *arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return result


IMPORTED = """
import json, sys
from flows.check import check
from flows.import_scores import import_scores
from flows.label import label
from flows.promote import promote
from flows.retrain import retrain
from flows.train import train
from influcoder.core.errors import SettingsError
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings

scores, noise, again = sys.argv[1:]
labels = import_scores(scores, "a table of ours", second_opinion=again)
version = train(labels)
refused_gate = promote(version)
spot = import_scores(scores, "a table of ours", spot=True)
promoted = promote(version, spot=spot)
agrees = check(spot=spot)
other = import_scores(noise, "a table of ours", spot=True)
drifts = check(spot=other)
try:
    check()
except SettingsError as error:
    refused = str(error)
tags = Registry(load_settings().mlflow).version(version).tags
print(json.dumps(dict(labels=labels, promoted=promoted, tags=tags, spot=spot, agrees=agrees, drifts=drifts,
                      refused=refused, refused_gate=refused_gate, retrained=retrain(drifts))))
"""


def test_imported_scores_go_through_the_whole_loop(environment, run, tiny_decoder, corpus_file, tmp_path):
    samples = read_corpus(str(corpus_file)).samples
    tokens = [tokenize(tiny_decoder.tokenizer, sample, SPEC.max_tokens) for sample in samples]
    rows = np.concatenate([extract_features(tiny_decoder, SPEC, [item]).vectors for item in tokens])
    queries, candidates = range(0, len(samples), 3), [i for i in range(len(samples)) if i % 3]
    frame = pd.DataFrame(
        [
            {"query": samples[i].id, "candidate": samples[j].id, "score": 1e-4 * float(rows[i] @ rows[j])}
            for i in queries
            for j in candidates
        ]
    )
    generator = np.random.default_rng(0)
    noise = generator.permutation(frame["score"])
    again = frame.assign(score=frame["score"] + 0.5 * frame["score"].std() * generator.normal(size=len(frame)))
    frame.to_parquet(tmp_path / "scores.parquet")
    frame.assign(score=noise).to_csv(tmp_path / "noise.csv", index=False)
    again.to_csv(tmp_path / "again.csv", index=False)
    found = run(IMPORTED, tmp_path / "scores.parquet", tmp_path / "noise.csv", tmp_path / "again.csv")
    store = ObjectStore(load_settings().store)
    labels = load_label_set(store, found["labels"])
    ceiling = load_manifest(store, found["labels"]).reliability.ceiling
    assert ceiling == pytest.approx(mean_rho(frame, again, {sample.id: split_of(sample) for sample in samples}))
    assert found["tags"]["labels.ceiling"] == f"{ceiling:.4f}"
    assert load_manifest(store, found["spot"]).reliability is None, "one table alone says nothing about itself"
    assert labels.features is None
    assert labels.identity.teacher.decoder_fingerprint == tiny_decoder.fingerprint
    block, place = labels.block("train"), {sample.hash: row for row, sample in enumerate(samples)}
    expected = [[1e-4 * rows[place[q.hash]] @ rows[place[c.hash]] for c in block.candidates] for q in block.queries]
    np.testing.assert_allclose(block.labels, expected, rtol=1e-4, atol=1e-9)
    assert found["refused_gate"] is False, "fresh labels of an imported teacher can't be bought for the gate either"
    assert found["promoted"], "an encoder that was distilled from scores alone beats the untrained one"
    agrees, drifts = (json.loads(store.get(f"checks/{found[name]}/check.json")) for name in ("agrees", "drifts"))
    assert agrees["judgement"]["verdict"] in ("ok", "warn")
    assert agrees["spot_label_set"] == found["spot"]
    assert drifts["judgement"]["verdict"] == "drift"
    assert "import-scores" in found["refused"], "fresh labels of an imported teacher can't be bought"
    assert found["retrained"] is False


def mean_rho(left, right, split):
    """Mean ρ of the queries over the candidates of their own split."""
    kept = left["query"].map(split) == left["candidate"].map(split)
    both = left[kept].assign(other=right[kept]["score"]).groupby("query")
    return np.mean([spearmanr(rows["score"], rows["other"]).statistic for _, rows in both if len(rows) > 2])


COMPUTED = """
import json, os, sys
from pathlib import Path
from flows.check import check
from flows.label import label
from flows.promote import promote
from flows.train import train

labels = label()
version = train(labels)
print(json.dumps(dict(labels=labels, version=version, check=check(encoder=version))))
"""
WARM_UP = """
import json, sys
from pathlib import Path
from influcoder.cli.warm_up import warm_up
print(json.dumps(str(warm_up(Path(sys.argv[1]), 20, 4, None, None))))
"""


@pytest.mark.parametrize(
    "method",
    [
        "less",
        "whitened-cosine",
        pytest.param("fisher", marks=pytest.mark.long),
        pytest.param("ekfac", marks=pytest.mark.long),
    ],
)
def test_another_teacher_goes_through_the_loop(environment, run, method, tiny_decoder, corpus_file, tmp_path):
    environment.setenv("INFLUCODER_TEACHER__METHOD", method)
    environment.setenv("INFLUCODER_TEACHER__REFERENCE", "30")
    environment.setenv("INFLUCODER_ENCODER__EPOCHS", "1")
    if method == "ekfac":
        small = {"train": [16, 32], "selection": [4, 8], "report": [15, 20]}
        budget = {split: {"queries": q, "candidates": c} for split, (q, c) in small.items()}
        environment.setenv("INFLUCODER_LABELS__BUDGET", json.dumps(budget))
        environment.setenv("INFLUCODER_LABELS__SPOT", json.dumps(budget["report"]))
    if method == "less":
        environment.setenv("INFLUCODER_LABELS__OPTIMIZER_STATE", run(WARM_UP, tmp_path / "adam.safetensors"))
    found = run(COMPUTED)
    store = ObjectStore(load_settings().store)
    manifest = load_manifest(store, found["labels"])
    assert manifest.identity.teacher.spec.method == method
    assert bool(manifest.identity.teacher.optimizer) == (method == "less")
    worth = manifest.reliability
    if method == "ekfac":
        assert worth.ceiling == pytest.approx(rho_of_other_factors(tiny_decoder, store, manifest.id), abs=0.02)
        assert (worth.against, worth.reference, worth.shared) == ("reference", 30, 0)
        assert worth.fidelity is None
    elif method == "whitened-cosine":
        assert (worth.against, worth.reference, worth.shared, worth.fidelity) == ("reference", 30, 0, None)
    else:
        assert worth.against == "seeds"
    assert 0.3 < worth.ceiling < 1
    check = json.loads(store.get(f"checks/{found['check']}/check.json"))
    spot = load_label_set(store, check["spot_label_set"])
    assert load_manifest(store, spot.id).reliability.against == worth.against
    reference = [entry for entry in spot.entries if entry.role == "reference"]
    assert len(reference) == (30 if method in ("fisher", "ekfac") else 0)
    assert all(entry.split == "train" for entry in reference)
    assert {entry.split for entry in spot.entries if entry.role != "reference"} == {"report"}
    assert np.isfinite(check["figures"]["rho"]["value"])
    if method == "whitened-cosine":
        # The second moments are measured once, and whoever labels later sees through the same.
        (record,) = (key for key in store.keys("whitenings/") if key.endswith("record.json"))
        assert json.loads(store.get(record))["entry"]["reference"] == manifest.identity.teacher.whitening
        assert spot.identity.teacher == manifest.identity.teacher
    if method == "less":
        report = load_label_set(store, found["labels"]).evidence("report")
        np.testing.assert_array_less(1e-3, np.nanmax(np.abs(report.labels - report.labels.T)))


def rho_of_other_factors(decoder, store, label_set_id):
    """ρ of EK-FAC labels with scores whose factors are fitted on samples that the label set's are not."""
    labels = load_label_set(store, label_set_id)
    first = [entry.sample for entry in labels.entries if (entry.split, entry.role) == ("train", "candidate")][:30]
    other = other_reference(read_corpus(load_settings().corpus), first, 0)
    assert len(other) == 30
    assert not {sample.hash for sample in other} & {sample.hash for sample in first}
    block = labels.block("selection")
    roles = (block.queries, block.candidates, other)
    tokens = ([tokenize(decoder.tokenizer, sample, 96) for sample in role] for role in roles)
    again = ekfac_influence(decoder, *tokens, seed=1)
    return np.mean([spearmanr(*rows).statistic for rows in zip(block.labels, again, strict=True)])
