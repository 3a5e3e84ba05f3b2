"""The engine over a real S3 server: stopped and resumed anywhere, beside others, it gives the same."""

import logging
import shutil

import numpy as np
import pytest
import torch

from influcoder.core.errors import StoreError
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.teacher import Teacher
from influcoder.labelsets import plan_label_set
from influcoder.labelsets.build import build_label_set
from influcoder.samples import read_corpus
from influcoder.settings.labels import LabelBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

SPEC = TeacherSpec(rank=4, projection_dim=512, max_tokens=64, storage="float32")


class Fragile(ObjectStore):
    """The real store behind a connection that breaks after some operations of one kind."""

    def __init__(self, settings, broken):
        super().__init__(settings)
        self.what, left = broken.split()
        self.left = int(left)

    def keep(self, key, data):
        self.spend("keep")
        return super().keep(key, data)

    def delete(self, key):
        self.spend("delete")
        super().delete(key)

    def spend(self, what):
        self.left -= what == self.what
        if self.left < 0:
            raise StoreError("the connection broke.")


@pytest.fixture
def place(stack, request):
    """Settings of a store that no other test writes to."""
    return load_settings().store.model_copy(update={"prefix": f"engine/{request.node.name}"})


@pytest.fixture(params=[1, 2])
def workers(request):
    """The tests run on one thread; workers need one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chosen(samples):
    return samples[::4]


def label(store, decoder, samples, workers=1, budget=120, shard=5):
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=SPEC)
    cache = FeatureCache(store, teacher.features_id)
    return label_samples(decoder, teacher, samples, cache, Effort(Batching(budget, workers), shard)), cache


@pytest.fixture(scope="module")
def undisturbed(stack, tiny_decoder, chosen):
    """Each sample alone in its batch, in one go."""
    store = ObjectStore(load_settings().store.model_copy(update={"prefix": "engine/undisturbed"}))
    done, _ = label(store, tiny_decoder, chosen, budget=1)
    assert (done.computed, done.quarantined) == (len(chosen), {})
    return done.table


@pytest.mark.parametrize("shard", [1, 3, 1000])
def test_no_feature_depends_on_the_shards(assert_same_features, place, tiny_decoder, chosen, undisturbed, shard):
    store = ObjectStore(place)
    done, cache = label(store, tiny_decoder, chosen, shard=shard)
    assert_same_features(done.table, undisturbed)
    again, _ = label(store, tiny_decoder, chosen[::-1], shard=shard)
    assert again.computed == 0
    assert_same_features(again.table.select(undisturbed.hashes), undisturbed)
    sizes = [len(cache._shards.hashes(key)) for key in store.keys("features/")]
    assert sum(sizes) == len(chosen)
    assert all(size >= shard for size in sorted(sizes)[1:])
    assert (len(sizes) == 1) == (shard == 1000)


@pytest.mark.parametrize("broken", ["keep 0", "keep 1", "keep 4", "keep 7", "delete 0"])
def test_no_feature_depends_on_where_a_run_was_stopped(
    assert_same_features, place, tiny_decoder, chosen, undisturbed, broken, workers
):
    with pytest.raises(StoreError, match="the connection broke") as stopped:
        label(Fragile(place, broken), tiny_decoder, chosen, workers)
    assert torch.get_num_threads() == workers, f"the cores are not given back while somebody looks at {stopped}"
    store = ObjectStore(place)
    teacher = Teacher(decoder_fingerprint=tiny_decoder.fingerprint, spec=SPEC)
    kept = len(FeatureCache(store, teacher.features_id).known())
    assert kept < len(chosen)
    assert (kept == 0) == (broken == "keep 0")
    done, cache = label(store, tiny_decoder, chosen, workers)
    assert done.computed == len(chosen) - kept
    assert set(cache.known()) == set(undisturbed.hashes)
    assert_same_features(done.table, undisturbed)


def test_a_run_says_what_it_reuses(place, tiny_decoder, chosen, caplog):
    store = ObjectStore(place)
    with caplog.at_level(logging.INFO, "influcoder.influence.features.labeller"):
        for part in (chosen[:4], chosen, chosen):
            label(store, tiny_decoder, part)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("labelling")]
    count = len(chosen)
    assert [line for line in said if "cached" in line] == [
        "labelling 4 samples: 0 are cached, 4 are new",
        f"labelling {count} samples: 4 are cached, {count - 4} are new",
        f"labelling {count} samples: {count} are cached, 0 are new",
    ]


def test_samples_of_the_same_content_are_labelled_once(assert_same_features, place, tiny_decoder, chosen, undisturbed):
    done, cache = label(ObjectStore(place), tiny_decoder, [*chosen[:3], chosen[1], *chosen])
    assert done.computed == len(chosen)
    assert set(cache.known()) == set(undisturbed.hashes)
    assert_same_features(done.table, undisturbed)


def test_shards_that_another_run_merges_meanwhile_are_found_again(place, tiny_decoder, chosen, undisturbed):
    _, cache = label(ObjectStore(place), tiny_decoder, chosen, shard=1)
    known = cache.known()
    keys = sorted(set(known.values()))
    cache.merge(keys, [cache._read(key) for key in keys])
    assert not set(cache.known().values()) & set(keys)
    loaded = list(cache.load(undisturbed.hashes, known))
    assert sorted(value for table in loaded for value in table.hashes) == sorted(undisturbed.hashes)


class Overtaken(ObjectStore):
    """The real store; before the second header is read, another run merges all shards."""

    def __init__(self, settings, merge):
        super().__init__(settings)
        self.merge, self.reads = merge, 0

    def get_range(self, key, start, length):
        self.reads += 1
        if self.reads == 2:
            self.merge()
        return super().get_range(key, start, length)


def test_shards_that_another_run_merges_while_they_are_listed_are_found(place, tiny_decoder, chosen):
    _, cache = label(ObjectStore(place), tiny_decoder, chosen, shard=1)
    keys = sorted(set(cache.known().values()))

    def merge():
        cache.merge(keys, [cache._read(key) for key in keys])

    teacher = Teacher(decoder_fingerprint=tiny_decoder.fingerprint, spec=SPEC)
    found = FeatureCache(Overtaken(place, merge), teacher.features_id).known()
    assert set(found) == {sample.hash for sample in chosen}
    assert set(cache.known().values()) <= set(found.values())


class Touching(ObjectStore):
    """The real store; at the first write something is done to a file, as another process might."""

    def __init__(self, settings, touch):
        super().__init__(settings)
        self.touch = touch

    def keep(self, key, data):
        self.touch()
        return super().keep(key, data)


def test_a_decoder_whose_files_change_during_the_run_is_said(place, tiny_decoder_dir, corpus_file, tmp_path, caplog):
    folder = shutil.copytree(tiny_decoder_dir, tmp_path / "checkpoint")
    settings = load_settings(decoder=str(folder), corpus=str(corpus_file))
    parts = {"train": {"queries": 2, "candidates": 6}, "selection": {"queries": 2, "candidates": 5}}
    budget = LabelBudget(**parts, report={"queries": 2, "candidates": 5})
    plan = plan_label_set(read_corpus(str(corpus_file)), None, budget, seed=0)

    def zero_the_weights():
        with (folder / "model.safetensors").open("r+b") as file:
            file.seek(-20_000, 2)
            file.write(bytes(20_000))

    with caplog.at_level(logging.WARNING, "influcoder.labelsets.build"):
        calm = build_label_set(settings, SPEC, plan, ObjectStore(place))
        assert not caplog.records
        other = place.model_copy(update={"prefix": f"{place.prefix}/changed"})
        labels = build_label_set(settings, SPEC, plan, Touching(other, zero_the_weights))
    assert f"these labels are those of {labels.identity.teacher.decoder_fingerprint[:12]}" in caplog.text
    assert labels.identity == calm.identity
    np.testing.assert_allclose(labels.features.vectors[:], calm.features.vectors[:], atol=1e-5)
