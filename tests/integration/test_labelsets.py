"""Label sets against a real S3 server: published once, verified on reading, resumed after a kill."""

import os
import signal
import time

import numpy as np
import pytest
from scipy.stats import spearmanr

from influcoder.core.errors import IntegrityError
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.reliability import measure_reliability
from influcoder.influence.teacher import Teacher
from influcoder.labelsets import latest, load_label_set, plan_label_set, publish
from influcoder.labelsets.labelset import assemble
from influcoder.labelsets.manifest import load_manifest
from influcoder.samples import read_corpus
from influcoder.settings.labels import LabelBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

BUDGET = LabelBudget(
    train={"queries": 4, "candidates": 8},
    selection={"queries": 2, "candidates": 5},
    report={"queries": 3, "candidates": 6},
)
EFFORT = Effort(Batching(512, 2), 8)


@pytest.fixture
def store(stack, request):
    return ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{request.node.name}"}))


@pytest.fixture
def built(store, tiny_decoder, corpus_file):
    return build(store, tiny_decoder, corpus_file)


def build(store, decoder, corpus_file):
    plan = plan_label_set(read_corpus(str(corpus_file)), None, BUDGET, seed=0)
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=TeacherSpec(projection_dim=256, max_tokens=64))
    labelled = label_samples(decoder, teacher, plan.samples, FeatureCache(store, teacher.features_id), EFFORT)
    return assemble(plan, teacher, decoder.uri, labelled), labelled


def test_round_trip_keeps_every_label(store, built):
    labels, _ = built
    publish(store, labels, {"index.html": b"<html></html>"})
    read = load_label_set(store, labels.id)
    assert read.identity == labels.identity
    np.testing.assert_array_equal(read.features.vectors[:], labels.features.vectors[:])
    assert read.pairs.equals(labels.pairs)
    assert latest(store) == labels.id


def test_labelling_again_computes_nothing_and_publishes_the_same(store, built, tiny_decoder, corpus_file):
    labels, first = built
    manifest = publish(store, labels, {})
    again, second = build(store, tiny_decoder, corpus_file)
    assert (first.computed, second.computed) == (len(labels.entries), 0)
    assert publish(store, again, {}) == manifest


@pytest.mark.parametrize("name", ["samples.parquet", "features-000000.safetensors"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_cut_or_changed_file_is_refused(store, built, name, damage):
    labels, _ = built
    manifest = publish(store, labels, {})
    key = f"labelsets/{labels.id}/{manifest.files[name].sha256}/{name}"
    store.put(key, damage(store.get(key)))
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        load_label_set(store, labels.id)


def test_a_changed_manifest_is_refused(store, built):
    labels, _ = built
    publish(store, labels, {})
    key = f"labelsets/{labels.id}/manifest.json"
    store.put(key, store.get(key).replace(b'"rank": 16', b'"rank": 32'))
    with pytest.raises(IntegrityError, match="was changed"):
        load_manifest(store, labels.id)


def test_nothing_is_visible_before_the_manifest(store, built):
    labels, _ = built
    store.put(f"labelsets/{labels.id}/half/samples.parquet", b"half")
    with pytest.raises(IntegrityError, match="there is no label set"):
        load_label_set(store, labels.id)
    assert latest(store) is None


def test_a_changed_feature_shard_is_refused(store, built, tiny_decoder, corpus_file):
    key = next(key for key in store.keys("features/"))
    data = store.get(key)
    store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="was changed or cut off"):
        build(store, tiny_decoder, corpus_file)


LABEL_ALL = """
import sys
import torch
from influcoder.decoder.load import load_decoder
from influcoder.influence.features import labeller
from influcoder.influence.teacher import Teacher
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.settings.teacher import TeacherSpec
from influcoder.samples import read_corpus
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

decoder_dir, corpus, prefix, begun, workers = sys.argv[1:]
torch.set_num_threads(int(workers))
extract = labeller.extract_features

def noted(decoder, spec, tokens, state):
    with open(begun, "a") as file:
        print(len(tokens), file=file)
    return extract(decoder, spec, tokens, state)

labeller.extract_features = noted
store = ObjectStore(load_settings().store.model_copy(update={"prefix": prefix}))
decoder = load_decoder(decoder_dir)
teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=TeacherSpec(rank=4, projection_dim=4096, max_tokens=64))
cache = FeatureCache(store, teacher.features_id)
done = label_samples(decoder, teacher, read_corpus(corpus).samples[:160], cache, Effort(Batching(64, int(workers)), 8))
print(done.computed)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_labelling_loses_one_batch_a_worker_at_most(
    store, forks, request, tiny_decoder, tiny_decoder_dir, corpus_file, tmp_path, workers
):
    prefix, begun = f"tests/{request.node.name}", tmp_path / "begun"
    command = ("-c", LABEL_ALL, tiny_decoder_dir, corpus_file, prefix, begun, workers)
    first = forks.begin(*command)
    end = time.monotonic() + 120
    while len(list(store.keys("features/"))) < 5 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    spec = TeacherSpec(rank=4, projection_dim=4096, max_tokens=64)
    cache = FeatureCache(store, Teacher(decoder_fingerprint=tiny_decoder.fingerprint, spec=spec).features_id)
    kept = len(cache.known())
    total = 160
    assert 5 <= kept < total
    batches = [int(line) for line in begun.read_text().split()]
    assert sum(batches) - kept <= workers * max(batches)
    second = forks.python(*command)
    assert second.returncode == 0, second.stderr
    assert int(second.stdout) == total - kept
    assert len(cache.known()) == total
    # Batches are merged into shards of the size asked for: 8 samples or more, but for what the kill left over.
    assert len(list(store.keys("features/"))) <= total / 8 + 8 + kept % 8


def test_labels_know_what_they_are_worth(store, tiny_decoder, corpus_file):
    plan = plan_label_set(read_corpus(str(corpus_file)), None, BUDGET, seed=0)
    queries, candidates = ([e.sample for e in plan.entries if e.role == role][:8] for role in ("query", "candidate"))
    spec = TeacherSpec(rank=8, projection_dim=2048, max_tokens=64)
    teacher = Teacher(decoder_fingerprint=tiny_decoder.fingerprint, spec=spec)
    cache = FeatureCache(store, teacher.features_id)
    found = measure_reliability(tiny_decoder, teacher, queries, candidates, [], cache, EFFORT.batching)

    def cosines(of):
        tokens = [tokenize(tiny_decoder.tokenizer, sample, 64) for sample in (*queries, *candidates)]
        rows = np.concatenate([extract_features(tiny_decoder, of, [item]).vectors for item in tokens])
        return rows[: len(queries)] @ rows[len(queries) :].T

    def mean_rho(left, right):
        return np.mean([spearmanr(a, b).statistic for a, b in zip(left, right, strict=True)])

    own, whole = cosines(spec), cosines(spec.model_copy(update={"projection_dim": 0}))
    other = cosines(spec.model_copy(update={"adapter_seed": 1, "projection_seed": 1}))
    assert found.ceiling == pytest.approx(mean_rho(own, other), abs=1e-3)
    assert found.fidelity == pytest.approx(mean_rho(own, whole), abs=1e-3)
    # The features were kept in half precision.
    assert found.largest_error == pytest.approx(np.abs(own - whole).max(), abs=2e-4)
    assert 0 < found.ceiling_lo < found.ceiling < found.ceiling_hi < 1
    assert set(cache.known()) == {sample.hash for sample in (*queries, *candidates)}, "no pass is paid for twice"
    assert measure_reliability(tiny_decoder, teacher, queries, candidates, [], cache, EFFORT.batching) == found
