"""Every object of the store and every file of an encoder, cut off or changed: noticed by whoever reads it."""

import mlflow
import pytest

from faults import seen
from faults.conftest import Place
from faults.points import some_of
from faults.writes import general
from influcoder.core.errors import IntegrityError
from influcoder.influence.features.cache import FeatureCache
from influcoder.labelsets import load_label_set
from influcoder.registry.journal import entries
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.causes.record import load_cause
from monitoring.checks.backfill import backfills
from monitoring.checks.probe_set import remember
from monitoring.checks.record import check_ids, checks
from monitoring.loop.decoder_versions import decoder_at, decoders
from monitoring.loop.promotion import waiting

KERNEL = "lexical.safetensors"
# Pages for people, and what nobody reads back: scores are computed from the features, and stored for other tools.
PAGES = ("data_docs/", "/report.html", "/report.json", "/cause.png", "/scores.parquet")


def changed(data):
    """One bit is another, in the first letter after the middle: the last digit of a number may be read as the same."""
    place = next(place for place in range(len(data) // 2, len(data)) if data[place : place + 1].isalpha())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGE = {
    "cut off": lambda data: data[: len(data) // 2],
    "changed": changed,
    "emptied": lambda data: b"",
}


@pytest.fixture(scope="module")
def whole(forge):
    """A place where everything was done once: labels, an encoder, a champion, a check, and more about each."""
    place = Place("damage")
    place_label = forge.done("label", place)
    forge.done("train", place)
    assert forge.done("promote", place) is True
    check = forge.done("check", place)
    forge.done("cause", place, check_id=check)
    forge.done("watch", place)
    assert forge.done("backfill", place) == 1, "the encoder on the labels of its promotion"
    return place, place_label, check


def test_every_damaged_object_is_noticed_or_does_no_harm(forge, whole):
    place, label_set, _ = whole
    store = place.store
    keys: dict[str, str] = {}
    unread = shards_that_nobody_reads(store)
    for key in store.keys(""):
        if key not in unread and not any(page in key for page in PAGES):
            keys.setdefault(general(key), key)
    assert len(keys) >= 14, sorted(keys)
    unseen = []
    for kind, key in keys.items():
        before = store.get(key)
        try:
            for how, damage in some_of(list(DAMAGE.items())):
                store.put(key, damage(before))
                error = error_of(place)
                if not (isinstance(error, IntegrityError) and error.hint):
                    unseen.append(f"{kind} {how}: {error!r}")
        finally:
            store.put(key, before)
    assert not unseen, "not noticed, or what is to be done is not said: " + "; ".join(unseen)
    seen.stored(place)
    assert forge.done("label", place) == label_set
    assert load_label_set(store, label_set)


def shards_that_nobody_reads(store):
    """Shards of features all of which stand in another shard too, as after a merge whose last deletion is to come."""
    shards = set(store.keys("features/"))
    for folder in {key.split("/")[1] for key in shards}:
        shards -= set(FeatureCache(store, folder).known().values())
    return shards


def error_of(place):
    """What whoever reads everything runs into."""
    try:
        read_everything(place)
    except Exception as error:
        return error
    return None


def read_everything(place):
    seen.stored(place)
    store, model, settings = place.store, place.registry.model, load_settings()
    waiting(store, model)
    backfills(store, model)
    decoders(store)
    decoder_at(store, settings.decoder)
    for check in check_ids(store):
        load_cause(store, check)
    for key in store.keys("probes/"):
        label_set = key.removeprefix("probes/").removesuffix(".json")
        remember(store, load_label_set(store, label_set), settings.cause.probe)
    for key in place.store.keys("notes/"):
        folder, name = key.split("/")[1:]
        FeatureCache(place.store, folder).note(name.removesuffix(".sealed"))


@pytest.fixture
def damaged_encoder(whole, servers):
    """A place whose champion and another version, both of the same files, have a changed byte in them."""
    place, _, _ = whole
    registry, artifacts = place.registry, ObjectStore(servers.stack._store_settings("mlflow"))
    champion = registry.version("champion")
    source = mlflow.MlflowClient().get_model_version(registry.model, champion.version).source
    copy = mlflow.register_model(source, registry.model, tags=dict(champion.tags))
    name = next(iter(key for key in artifacts.keys("") if source.removeprefix("models:/") in key and KERNEL in key))
    before = artifacts.get(name)
    artifacts.put(name, DAMAGE["changed"](before))
    yield place, str(copy.version)
    artifacts.put(name, before)


def test_a_damaged_encoder_is_noticed_by_every_flow_that_reads_it(forge, damaged_encoder):
    place, copy = damaged_encoder
    for flow, arguments in {"check": {}, "rollback": {"to": copy, "force": True}}.items():
        outcome = forge.run(flow, place, **arguments)
        assert outcome.kind == "IntegrityError", (flow, outcome)
        assert "not those that were registered" in outcome.error
    # The gate refuses what it can't measure, and says why in the journal.
    assert forge.done("promote", place, version=copy) is False
    promoted, held = entries(place.store, place.registry.model)
    assert [(e.action, e.version) for e in (promoted, held)] == [("promoted", "1"), ("held", copy)]
    assert "not those that were registered" in held.evidence["why"]
    assert len(checks(place.store)) == 1
