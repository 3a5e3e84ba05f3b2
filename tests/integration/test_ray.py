"""Labelling on a real Ray cluster of two nodes on loopback: the same label set, whatever the engine and its fate."""

import importlib
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import ray
from prefect.settings import PREFECT_API_URL, temporary_settings
from ray.cluster_utils import Cluster
from safetensors.numpy import load

from flows.label import label
from influcoder.core.errors import ServiceError, WrongDecoderError
from influcoder.decoder.load import load_decoder
from influcoder.influence.distributed import connection
from influcoder.influence.distributed.engine import Order, in_shards, label_on_ray, outcome_of
from influcoder.influence.features.cache import FeatureCache, FeatureTable
from influcoder.influence.teacher import Teacher
from influcoder.labelsets import load_label_set, plan_label_set
from influcoder.labelsets.build import build_label_set
from influcoder.samples import read_corpus
from influcoder.settings.labels import LabelSettings
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

# Features are compared beyond what half precision would keep.
SPEC = TeacherSpec(rank=4, projection_dim=512, max_tokens=64, storage="float32")
# Ray takes 127.0.0.1 for the machine's outer address; these two stay inside.
HEAD, SECOND = {"node_ip_address": "127.0.0.2"}, {"node_ip_address": "127.0.0.3"}
NODE = {"num_cpus": 1, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
BUDGET = {
    "train": {"queries": 10, "candidates": 30},
    "selection": {"queries": 4, "candidates": 6},
    "report": {"queries": 5, "candidates": 9},
}


@pytest.fixture(scope="module")
def cluster(stack):
    # The path of a socket may have 107 characters, and those of pytest's folders are long.
    folder = tempfile.mkdtemp(prefix="ray-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        running = Cluster(initialize_head=True, head_node_args=NODE | HEAD)
        yield running
        running.shutdown()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def two_nodes(cluster):
    cluster.add_node(**NODE | SECOND)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()


@pytest.fixture
def settings_of(request, tiny_decoder_dir, corpus_file):
    """A function: settings with an engine, in a bucket folder of the test's and the engine's own."""

    def make(engine, address="auto"):
        labels = LabelSettings(
            budget=BUDGET,
            engine=engine,
            ray_address=address,
            shard_samples=8,
            reliability={"queries": 2, "candidates": 5},
        )
        settings = load_settings(decoder=str(tiny_decoder_dir), corpus=str(corpus_file), teacher=SPEC, labels=labels)
        prefix = f"tests/{request.node.name}/{engine}"
        return settings.model_copy(update={"store": settings.store.model_copy(update={"prefix": prefix})})

    return make


def build(settings):
    plan = plan_label_set(read_corpus(settings.corpus), None, settings.labels.budget, seed=0)
    return build_label_set(settings, settings.teacher, plan, ObjectStore(settings.store))


def assert_same(found, expected):
    assert found.id == expected.id
    assert found.features.hashes == expected.features.hashes
    for column in ("vectors", "norms", "losses", "cuts"):
        np.testing.assert_allclose(getattr(found.features, column), getattr(expected.features, column), atol=1e-5)


def test_one_worker_gives_the_label_set_of_the_local_engine(cluster, settings_of):
    expected = build(settings_of("local"))
    found = build(settings_of("ray", cluster.address))
    assert_same(found, expected)
    assert not ray.is_initialized(), "the connection is closed"
    assert cluster.remaining_processes_alive(), "and the cluster goes on"


def test_the_flow_publishes_the_same_label_set_from_two_workers(two_nodes, monkeypatch):
    monkeypatch.setenv("INFLUCODER_LABELS__BUDGET", json.dumps(BUDGET))
    monkeypatch.setenv("INFLUCODER_TEACHER__STORAGE", "float32")
    monkeypatch.setenv("INFLUCODER_STORE__PREFIX", "tests/ray-flow/local")
    expected = build(load_settings())
    monkeypatch.setenv("INFLUCODER_LABELS__ENGINE", "ray")
    monkeypatch.setenv("INFLUCODER_STORE__PREFIX", "tests/ray-flow/ray")
    # Prefect may have been imported, and have read its settings, before the stack was there.
    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
        found = load_label_set(ObjectStore(load_settings().store), label())
    assert_same(found, expected)


def test_a_killed_worker_costs_its_shard_only(two_nodes, settings_of, tiny_decoder):
    settings = settings_of("ray")
    samples = read_corpus(settings.corpus).samples[:300]
    labels = settings.labels.model_copy(update={"shard_samples": 150, "token_budget": 64})
    order = Order(
        settings.decoder, Teacher(decoder_fingerprint=tiny_decoder.fingerprint, spec=SPEC), settings.store, labels
    )
    cache = FeatureCache(ObjectStore(order.store), order.teacher.features_id)
    shards = in_shards(samples, labels.shard_samples)
    killer = _Killer(cache, shards)
    killer.start()
    outcome = label_on_ray(order, samples)
    killer.join()
    assert killer.killed, "no worker was killed in the middle of its shard"
    assert outcome.restarted == 1
    assert outcome.quarantined == {}
    assert set(cache.known()) == {sample.hash for sample in samples}
    assert rows(ObjectStore(order.store)) == len(samples), "what the killed worker had kept was not computed again"
    # The others were found in the cache by the worker that began the shard again.
    assert killer.kept <= len(samples) - outcome.computed < labels.shard_samples


def rows(store):
    """Features in the cache, one that stands in two shards counted twice."""
    return sum(len(load(store.get(key))["norms"]) for key in store.keys("features/"))


class _Killer(threading.Thread):
    """Kills the process of a worker that has done a part of its shard."""

    def __init__(self, cache, shards):
        super().__init__(daemon=True)
        self._cache = cache
        self._shards = [{sample.hash for sample in shard} for shard in shards]
        self.killed, self.kept = None, 0

    def run(self):
        end = time.monotonic() + 60
        while time.monotonic() < end and not self.killed:
            known = set(self._cache.known())
            counts = [len(shard & known) for shard in self._shards if not shard <= known]
            # Whichever of the workers is hit, it has kept something and has something left to do.
            if counts and all(2 <= count < len(self._shards[0]) - 20 for count in counts):
                self.kept = min(counts)
                self.killed = _workers()[0].pid
                os.kill(self.killed, signal.SIGKILL)
            time.sleep(0.02)


def _workers():
    """Processes that run a task; Ray names them so."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if "ray::label_shard" in " ".join(process.cmdline())]


def test_a_worker_looks_while_the_others_merge(stack, settings_of):
    cache = FeatureCache(ObjectStore(settings_of("ray").store), "teacher")

    def merge_often():
        for number in range(60):
            parts = [one_row(f"{number}-{part}") for part in range(2)]
            cache.merge([cache.add(part) for part in parts], parts)

    with ThreadPoolExecutor(1) as others:
        merging = others.submit(merge_often)
        while not merging.done():
            cache.known()
        merging.result()
    assert len(cache.known()) == 120


def one_row(name):
    column = np.ones(1, np.float32)
    return FeatureTable((name,), np.ones((1, 8), np.float32), *[column] * 3)


def test_workers_that_see_another_checkpoint_are_refused(two_nodes, settings_of, tiny_decoder_dir, tmp_path):
    link = tmp_path / "checkpoint"
    link.symlink_to(tiny_decoder_dir)
    teacher = Teacher(decoder_fingerprint=load_decoder(str(link)).fingerprint, spec=SPEC)
    other = load_decoder(str(link))
    other.model.lm_head.weight.data[0, 0] += 1
    link.unlink()
    link.symlink_to(other.save(tmp_path / "other"))
    settings = settings_of("ray")
    order = Order(str(link), teacher, settings.store, settings.labels)
    with pytest.raises(WrongDecoderError, match=r"sees another checkpoint under .*checkpoint: [0-9a-f]{12} instead of"):
        label_on_ray(order, read_corpus(settings.corpus).samples)
    assert FeatureCache(ObjectStore(order.store), teacher.features_id).known() == {}


def test_workers_with_another_environment_are_named(two_nodes, tmp_path, monkeypatch):
    (tmp_path / "known_to_the_driver_alone.py").write_text("def work(): return 1")
    monkeypatch.syspath_prepend(tmp_path)
    task = ray.remote(importlib.import_module("known_to_the_driver_alone").work)
    with pytest.raises(ServiceError, match="a Ray worker can't import .* Every node needs the same environment"):
        outcome_of(ray, task.remote(), 1, 1)


@pytest.fixture
def unconnected(monkeypatch):
    """This process as one that has not connected to a cluster yet."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.fixture
def deaf_port():
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_cluster_that_does_not_answer_is_given_up(unconnected, deaf_port, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 2.0)
    start = time.monotonic()
    with (
        pytest.raises(ServiceError, match=r"no Ray cluster at '127.0.0.1:\d+': no answer in 2 s.*labels.ray_address"),
        connection.connected(f"127.0.0.1:{deaf_port}"),
    ):
        pass
    assert time.monotonic() - start < 10


def test_an_address_that_is_none_says_so(unconnected):
    with pytest.raises(ServiceError, match="no Ray cluster at 'nowhere'"), connection.connected("nowhere"):
        pass
