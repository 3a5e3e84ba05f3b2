"""A bucket that older code wrote, `tests/fixtures/make_old_bucket.py` says which: all of it is read, and worked on."""

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from alert_world import settings_of, waiting
from small import write_corpus

from influcoder.core.errors import BusyError
from influcoder.encoder.checkpoints import Checkpoints, Saved
from influcoder.index.manifest import Embedder
from influcoder.index.reader import Index
from influcoder.index.vectors import VectorCache
from influcoder.influence.features.cache import FeatureCache, FeatureTable
from influcoder.labelsets import load_label_set
from influcoder.labelsets.manifest import latest, load_manifest
from influcoder.registry.journal import Action, champion_of, entries
from influcoder.registry.mlflow_registry import Registry
from influcoder.samples import query_log
from influcoder.settings.tree import load_settings
from influcoder.storage.lease import Lease, held
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.channel_state import state_of
from monitoring.alerts.deliver import deliver
from monitoring.alerts.outbox import Outbox, Outcome
from monitoring.causes.record import load_cause
from monitoring.checks.backfill import backfills
from monitoring.checks.findings import Verdict
from monitoring.checks.history import OpenDraw
from monitoring.checks.probe_set import block_of, is_remembered, remember
from monitoring.checks.record import checks, load_check
from monitoring.loop.decoder_versions import decoder_at, decoders
from monitoring.loop.promotion import Stage, slot_of
from monitoring.loop.promotion import waiting as waiting_for_a_person
from monitoring.loop.retraining import LEASE, Phase, retrainings

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "old_bucket.tar.xz"
NAME = "old-bucket"
KINDS = {
    "alerts/channels", "alerts/outbox", "alerts/waiting", "asked", "backfill", "checkpoints", "checks", "control",
    "decoders", "decoders/at", "draws", "features", "indexes", "indexes/at", "journal", "labelsets", "notes", "probes",
    "promotions", "retrainings", "vectors",
}  # fmt: skip


@dataclass(frozen=True)
class Old:
    """What was unpacked, and what it is called in there."""

    folder: Path
    made: dict
    store: ObjectStore
    registry: Registry


@pytest.fixture(scope="module")
def old(stack, encoder_dir, tmp_path_factory):
    """The bucket's objects in the store, and its encoder versions in MLflow, under the names that they had."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    (folder / "encoder").symlink_to(encoder_dir)
    write_corpus(folder / "pool.jsonl", scrambled=True, rows=600, words=(10, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("INFLUCODER_SETTINGS", "influcoder.toml")
        for name in ("STORE__PREFIX", "MLFLOW__MODEL", "MLFLOW__EXPERIMENT"):
            patch.setenv(f"INFLUCODER_{name}", NAME)
        settings = load_settings()
        store = ObjectStore(settings.store)
        for path in (folder / "bucket").rglob("*"):
            if path.is_file():
                store.put(path.relative_to(folder / "bucket").as_posix(), path.read_bytes())
        mlflow.MlflowClient().create_registered_model(NAME)
        mlflow.set_experiment(NAME)
        for home in sorted((folder / "versions").iterdir()):
            register(home)
        made = json.loads((folder / "made.json").read_text())
        yield Old(folder, made, store, Registry(settings.mlflow))


def register(home: Path) -> None:
    """An encoder version as it stood in MLflow; the run is another one."""
    client, about = mlflow.MlflowClient(), json.loads((home / "version.json").read_text())
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(home / "encoder"), "model/artifacts/encoder")
        mlflow.log_dict(json.loads((home / "evidence.json").read_text()), "evidence/agreement.json")
    source = f"{run.info.artifact_uri}/model"
    found = client.create_model_version(NAME, source, run.info.run_id, tags=about["tags"])
    assert str(found.version) == home.name
    for alias in about["aliases"]:
        client.set_registered_model_alias(NAME, alias, found.version)


def test_every_kind_of_record_is_there(old):
    keys = list(old.store.keys(""))
    assert {kind for kind in KINDS if any(key.startswith(f"{kind}/") for key in keys)} == KINDS
    assert {key.split("/")[0] for key in keys} == {kind.split("/")[0] for kind in KINDS}


def test_label_sets_and_what_they_were_made_of(old):
    store, made = old.store, old.made
    ids = {key.split("/")[1] for key in store.keys("labelsets/") if key.endswith("/manifest.json")}
    assert ids >= {made[name] for name in ("label_set", "second_labels", "spot", "imported")}
    assert {name: load_label_set(store, name).id for name in ids} == {name: name for name in ids}
    assert latest(store) == made["second_labels"]
    assert load_manifest(store, made["second_labels"]).identity.parent == made["label_set"]
    labels = load_label_set(store, made["label_set"])
    cache = FeatureCache(store, labels.identity.teacher.features_id)
    known, hashes = cache.known(), [entry.sample.hash for entry in labels.entries]
    table = FeatureTable.gather(cache.load(hashes, known), hashes)
    np.testing.assert_array_equal(table.vectors[:], labels.features.select(hashes).vectors[:])
    folder, name = next(store.keys("notes/")).split("/")[1:]
    assert json.loads(FeatureCache(store, folder).note(name.removesuffix(".sealed")))


def test_what_was_decided(old):
    store, made = old.store, old.made
    story = [(entry.action, entry.version) for entry in entries(store, NAME)]
    opened, closed = (Action.BREAKER_OPENED, "1"), (Action.BREAKER_CLOSED, "1")
    assert story == [(Action.PROMOTED, "1"), (Action.HELD, "2"), opened, closed]
    assert champion_of(entries(store, NAME)) == "1"
    assert slot_of(store, NAME, "1").value.stage is Stage.PROMOTED
    assert [offer.version for offer in waiting_for_a_person(store, NAME)] == ["2"]
    assert {check.id for check in checks(store)} == {made[name] for name in ("check", "moved_check", "drift")}
    assert load_check(store, made["drift"]).verdict is Verdict.DRIFT
    assert load_check(store, made["moved_check"]).decoder_moved
    assert load_cause(store, made["moved_check"]).check_id == made["moved_check"]
    phases = {check: record.phase for check, record in retrainings(store).items()}
    assert phases == {
        made["check"]: Phase.REFUSED,
        made["moved_check"]: Phase.WAITING,
        made["drift"]: Phase.ANSWERED,
    }
    assert {(record.encoder_version, record.spot_label_set) for record in backfills(store, NAME)} >= {
        (version, made["spot"]) for version in "12"
    }
    assert OpenDraw(store, load_settings(), "2").seed(99) == 7


def test_what_was_seen_asked_and_remembered(old):
    store, made = old.store, old.made
    fingerprint = old.registry.version("champion").decoder_fingerprint
    assert len(decoders(store)) == 2
    assert decoder_at(store, "decoder").value.fingerprint == fingerprint
    assert decoder_at(store, "moved").value.fingerprint in decoders(store).keys() - {fingerprint}
    (batch,) = query_log.read(store)
    assert (batch.key, batch.damaged, len(batch.questions)) == (made["asked"], "", 3)
    assert is_remembered(store, made["label_set"])
    labels = load_label_set(store, made["label_set"])
    probe = remember(store, labels, load_settings().cause.probe)
    assert np.isfinite(block_of(probe, labels).labels).any()
    heard = []
    checkpoints = Checkpoints(store, "of now", heard.append)
    assert checkpoints.open("a-training") == Saved({"epoch": 2}, {"weights": b"as they were"})
    assert heard == ["run-of-then"]
    checkpoints.save(Saved({"epoch": 3}, {"weights": b"as they are"}))
    assert Checkpoints(store, "later").open("a-training").notes == {"epoch": 3}


def test_an_index_and_its_vectors(old):
    index = Index.open(old.store, old.made["index"])
    samples = index.samples(range(len(index)))
    files = old.registry.version("1").files_digest
    cache = VectorCache(old.store, Embedder(files=files))
    rows = {}
    for key, hashes in cache.shards():
        rows |= dict(zip(hashes, cache.read(key), strict=True))
    vectors = np.array([rows[samples[row].hash] for row in range(len(index))], np.float32)
    products, _ = index.most(vectors, 1)
    np.testing.assert_allclose(products[:, 0], (vectors @ vectors.T).max(axis=1), rtol=1e-2)


def test_leases_that_were_released_or_left(old):
    with held(old.store, LEASE, "of now", 300.0):
        pass
    with pytest.raises(BusyError, match="run worker"):
        Lease(old.store, "control/held.json", "of now", 300.0).take()
    Lease(old.store, "control/held.json", "of now", 0.0).take()


def test_alerts_that_wait_arrive_once(old, receiver):
    store, (first, second) = old.store, old.made["alerts"]
    assert Outbox(store).delivery(first, "hook").outcome is Outcome.DELIVERED
    assert Outbox(store).delivery(first, "dead").outcome is Outcome.GIVEN_UP
    assert state_of(store, "dead").failures >= 3
    assert second in waiting(store)
    settings = settings_of({"url": receiver.url, "name": "hook"}, cooldown_hours=0)
    for _ in range(2):
        assert not deliver(settings, store).failed
    assert waiting(store) == []
    assert len([body for body in receiver.bodies if second in body["message"]]) == 1
    assert not [body for body in receiver.bodies if first in body["message"]]


STORY = """
import json, sys
from flows.promote import promote
from flows.rollback import rollback
print(json.dumps({"promoted": promote("2", spot=sys.argv[1]), "back": rollback()}))
"""


def test_a_version_is_promoted_and_rolled_back(old, forks):
    done = forks.python("-c", STORY, old.made["spot"], cwd=old.folder, env=dict(os.environ))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"promoted": True, "back": "1"}
    story = [(entry.action, entry.version) for entry in entries(old.store, NAME)]
    assert story[-2:] == [(Action.PROMOTED, "2"), (Action.ROLLED_BACK, "1")]
    assert old.registry.version("champion").version == "1"
    assert slot_of(old.store, NAME, "2").value.stage is Stage.PROMOTED
    assert old.registry.evidence(old.registry.version("2")).candidates >= 5
