"""A training that is killed for good goes on in the next run: one version, one whole curve, nothing left behind."""

import signal

import mlflow
import pytest

from flows.label import label
from flows.train import train
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

EPOCHS = 4


@pytest.fixture(scope="module")
def label_set(forks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/resume")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "resume")
        patch.setenv("INFLUCODER_MLFLOW__EXPERIMENT", "resume")
        patch.setenv("INFLUCODER_ENCODER__RECIPE", "fine-tune")
        patch.setenv("INFLUCODER_ENCODER__EPOCHS", str(EPOCHS))
        # Every epoch is trained, so that the kill falls between two of them.
        patch.setenv("INFLUCODER_ENCODER__PATIENCE", str(EPOCHS))
        yield label()


# An epoch is over in milliseconds, so the process kills itself once the second of them is kept.
KILLED = """
import os, signal, sys
from flows.train import train
from influcoder.storage.object_store import ObjectStore

put, kept = ObjectStore._put, []

def killing(store, key, data, **options):
    found = put(store, key, data, **options)
    if key.startswith("checkpoints/") and key.endswith(".safetensors"):
        kept.append(key)
        if len(kept) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return found

ObjectStore._put = killing
train(sys.argv[1])
"""


def curve(run_id: str, name: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for metric in mlflow.MlflowClient().get_metric_history(run_id, name):
        found.setdefault(metric.step, []).append(metric.value)
    return found


def test_a_killed_training_goes_on(label_set, forks):
    settings = load_settings()
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    assert forks.python("-c", KILLED, label_set).returncode == -signal.SIGKILL
    assert list(store.keys("checkpoints/"))
    assert registry.versions() == []
    version = train(label_set)
    assert [found.version for found in registry.versions()] == [version]
    runs = mlflow.search_runs(experiment_names=["resume"], output_format="list", order_by=["start_time"])
    assert [run.info.status for run in runs] == ["KILLED", "FINISHED"]
    killed, finished = (run.info.run_id for run in runs)
    assert registry.version(version).run_id == finished
    losses, rhos = curve(finished, "train.loss"), curve(finished, "selection.rho")
    assert sorted(losses) == list(range(1, EPOCHS + 1))
    assert sorted(rhos) == list(range(EPOCHS + 1))
    assert all(len(values) == 1 for values in (*losses.values(), *rhos.values()))
    before = curve(killed, "train.loss")
    assert 1 <= len(before) < EPOCHS
    # An epoch whose checkpoint the kill cut short is computed again, and sums of floats depend on the threads.
    for step, values in before.items():
        assert losses[step] == pytest.approx(values, rel=1e-5)
    assert list(store.keys("checkpoints/")) == []
