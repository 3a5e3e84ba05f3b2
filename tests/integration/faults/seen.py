"""What anybody can see of a place, which must be whole at any moment, whatever was killed before."""

import tempfile
from pathlib import Path

import mlflow

from faults.conftest import Place
from influcoder.influence.features.cache import FeatureCache
from influcoder.labelsets import latest, load_label_set
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.champions import Champions, State
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.journal import entries
from monitoring.checks.record import checks


def label_sets(place: Place) -> list[str]:
    """The ids of all label sets that are visible; each can be read in full, checksums verified."""
    keys = [key for key in place.store.keys("labelsets/") if key.endswith("/manifest.json")]
    found = [key.split("/")[1] for key in keys]
    for name in found:
        labels = load_label_set(place.store, name)
        assert len(labels.pairs) == len(labels.pairs.drop_duplicates(["query", "candidate", "split"]))
    assert (newest := latest(place.store)) is None or newest in found
    return found


def features(place: Place) -> set[str]:
    """Hashes of all samples that have features; every shard is what its name says."""
    found: set[str] = set()
    for folder in {key.split("/")[1] for key in place.store.keys("features/")}:
        cache = FeatureCache(place.store, folder)
        known = cache.known()
        loaded = [value for table in cache.load(known, known) for value in table.hashes]
        assert sorted(loaded) == sorted(known)
        found |= set(known)
    return found


def lineage(place: Place) -> list[EncoderVersion]:
    """All encoder versions; each says what it came from and what it is worth."""
    found = place.registry.versions()
    for version in found:
        assert load_manifest(place.store, version.label_set_id)
        assert version.decoder_fingerprint
        assert float(version.tags["agreement.lo"]) <= float(version.tags["agreement.rho"])
    return found


def versions(place: Place) -> list[str]:
    """The numbers of all encoder versions; each has its files and its evidence too."""
    registry, found = place.registry, lineage(place)
    for version in found:
        assert registry.evidence(version).candidates
        with tempfile.TemporaryDirectory() as folder:
            assert (registry.download(version, Path(folder)) / "modules.json").is_file()
    return [version.version for version in found]


def champions(place: Place) -> State:
    """The journal, its chain verified, beside the alias; they differ only by a move that can be finished."""
    champions = Champions(place.store, place.registry)
    state = champions.state()
    assert not state.problem or state.unfinished, state.problem
    return state


def open_runs(place: Place) -> list[str]:
    """MLflow runs that read as if somebody still worked on them."""
    client = mlflow.MlflowClient(place.registry._settings.tracking_uri)
    experiment = client.get_experiment_by_name(place.environment["INFLUCODER_MLFLOW__EXPERIMENT"])
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'") if experiment else []
    return [run.info.run_id for run in runs]


def everything(place: Place) -> None:
    """All of it is whole."""
    label_sets(place)
    features(place)
    versions(place)
    champions(place)
    checks(place.store)


def stored(place: Place) -> None:
    """What lies in the store alone is whole; MLflow is not asked."""
    label_sets(place)
    features(place)
    entries(place.store, place.environment["INFLUCODER_MLFLOW__MODEL"])
    checks(place.store)
