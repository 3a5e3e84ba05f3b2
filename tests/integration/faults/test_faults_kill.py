"""kill -9 of every flow at its write points, then the same again: nothing lost, nothing half-visible.

What follows the n-th write and what comes before the next one is one state of the servers, so a child is killed after
writes alone, and before the first one. Of writes that are alike the first, one in the middle and the last are taken.
"""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

from faults import seen
from faults.conftest import Place
from faults.points import some_of
from faults.writes import places
from influcoder.labelsets import latest, load_label_set
from influcoder.registry.champions import Champions, digests_of
from influcoder.registry.journal import Action, Event, Head
from influcoder.samples import read_corpus, split_of
from influcoder.settings.tree import load_settings
from influcoder.storage.records import read
from monitoring.checks.backfill import backfills
from monitoring.checks.record import checks, load_check

PROBE = ("put probes/*.json", 1)


def killed_everywhere(forge, place, flow, writes, watch, **arguments):
    """Each run is the rerun of the one that was killed before it, and is killed a little later; where it got to."""
    reached = [0, *chain(writes)]
    for point in some_of(reached):
        assert forge.run(flow, place, kill=point, **arguments).killed, point
        watch(place)
    return reached


def chain(writes):
    """Where the runs of a chain are killed: what is cached is not written again, so its counts start anew each time."""
    found = places(writes)
    if not any(group == "put features" for group, _ in found):
        return found
    notes = [place for place in found if place[0].startswith("put notes")]
    rest = [place for place in found if place not in notes and not place[0].endswith(" features")]
    return [*3 * [("put features", 1)], *notes, *3 * [("delete features", 1)], *rest]


@pytest.fixture(scope="package")
def undisturbed(forge):
    """A label set and an encoder that nothing happened to; read only."""
    place = Place("undisturbed")
    labelled = forge.run("label", place)
    assert not labelled.error, labelled.error
    trained = forge.run("train", place)
    assert not trained.error, trained.error
    return place, {"label": labelled, "train": trained}


def test_label_killed_at_every_write(forge, place, undisturbed):
    other, whole = undisturbed
    reached = killed_everywhere(forge, place, "label", whole["label"].writes, seen.label_sets)
    assert len(reached) > 12
    assert forge.done("label", place) == whole["label"].result
    assert seen.label_sets(place) == [whole["label"].result] == [latest(place.store)]
    mine, calm = (load_label_set(at.store, whole["label"].result) for at in (place, other))
    assert mine.identity == calm.identity
    np.testing.assert_allclose(mine.features.vectors[:], calm.features.vectors[:], atol=1e-3)
    assert seen.features(place) == seen.features(other) == {entry.sample.hash for entry in calm.entries}
    assert not [kind for kind in forge.run("label", place).writes], "nothing is left to be done"


@pytest.fixture(scope="package")
def score_file(settings, tmp_path_factory):
    """Scores of every pair of some samples, as another tool writes them."""
    by_split = {}
    for sample in read_corpus(load_settings().corpus).samples:
        by_split.setdefault(split_of(sample), []).append(sample.id)
    draw = np.random.default_rng(5)
    rows = [
        (query, candidate, draw.normal())
        for names in by_split.values()
        for query in names[:6]
        for candidate in names[6:16]
    ]
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    pd.DataFrame(rows, columns=["query", "candidate", "score"]).to_csv(path, index=False)
    return str(path)


def test_import_scores_killed_at_every_write(forge, new_place, score_file):
    calm, place = new_place(), new_place()
    whole = forge.run("import_scores", calm, table=score_file)
    assert not whole.error, whole.error
    reached = killed_everywhere(forge, place, "import_scores", whole.writes, seen.label_sets, table=score_file)
    assert len(reached) > 5
    assert forge.done("import_scores", place, table=score_file) == whole.result
    assert seen.label_sets(place) == [whole.result]
    mine, other = (load_label_set(at.store, whole.result) for at in (place, calm))
    assert mine.pairs.equals(other.pairs)


@pytest.fixture
def labelled(forge, place):
    """A place with a label set."""
    forge.done("label", place)
    return place


def test_train_killed_once_it_is_registered(forge, labelled):
    assert forge.run("train", labelled, kill=("POST /api/2.0/mlflow/model-versions/create", 1)).killed
    assert seen.versions(labelled) == ["1"]
    assert forge.done("train", labelled) == "2"
    assert labelled.registry.version("challenger").version == seen.versions(labelled)[-1] == "2"
    assert seen.open_runs(labelled) == []


@pytest.mark.long
def test_train_killed_at_every_write(forge, labelled, undisturbed):
    whole = undisturbed[1]["train"]

    def watch(place):
        seen.lineage(place)
        assert len(seen.open_runs(place)) <= 1, "a run that was killed is closed by the next one"

    reached = killed_everywhere(forge, labelled, "train", whole.writes, watch)
    assert len(reached) > 20
    # The last one closed the run that was killed before it; now it is the last write of all.
    assert forge.run("train", labelled, kill=reached[-1]).killed
    version = forge.done("train", labelled)
    assert seen.open_runs(labelled) == []
    assert labelled.registry.version("challenger").version == version == seen.versions(labelled)[-1]
    after = len(reached) - reached.index(("POST /api/2.0/mlflow/model-versions/create", 1))
    assert len(seen.versions(labelled)) == after + 1, "one for each run that got so far, and whole each time"
    figures = {v.tags["agreement.rho"] for v in labelled.registry.versions()}
    assert len(figures) == 1, "a rerun ends where the killed one would have"


@pytest.fixture(scope="package")
def spot_labels(forge, undisturbed):
    """Id of spot labels in the undisturbed place, enough for the gate; bought once instead of by each promotion."""
    calm, _ = undisturbed
    many = {"INFLUCODER_LABELS__SPOT": json.dumps({"queries": 40, "candidates": 40})}
    return load_check(calm.store, forge.done("check", calm, env=many, encoder="challenger")).spot_label_set


@pytest.fixture
def new_challenger(undisturbed, new_place, spot_labels):
    """A function: a place of its own with a champion, version 1, and its copy, version 2, as the challenger."""
    calm, _ = undisturbed
    trained = calm.registry.version("challenger")

    def make():
        place = new_place()
        for name in (trained.label_set_id, spot_labels):
            for key in calm.store.keys(f"labelsets/{name}/"):
                place.store.put(key, calm.store.get(key))
        registry = place.registry
        source = mlflow.MlflowClient().get_model_version(calm.registry.model, trained.version).source
        for _ in range(2):
            mlflow.register_model(source, registry.model, tags=dict(trained.tags))
        succession = Champions(place.store, registry)
        first = Event(action=Action.PROMOTED, version="1", prior=None, actor="someone")
        succession.move(first.model_copy(update={"digests": digests_of(registry, registry.version("1"))}))
        mlflow.MlflowClient().set_registered_model_alias(registry.model, "challenger", "2")
        return place

    return make


def settled(place):
    """Journal and alias agree, and nothing of the move is left to be done."""
    state, registry = seen.champions(place), place.registry
    assert (state.recorded, state.unfinished, state.problem) == (state.pointed, None, "")
    last = state.entries[-1]
    assert registry.version(last.version).tags["journal.entry"] == str(last.number)
    assert read(place.store, f"journal/{registry.model}/head.json", Head).number == last.number
    return [(entry.action, entry.version) for entry in state.entries]


def test_promote_killed_at_every_write(forge, new_challenger, spot_labels):
    calm = new_challenger()
    whole = forge.run("promote", calm, spot=spot_labels)
    assert whole.result is True, whole.error
    assert settled(calm) == [("promoted", "1"), ("promoted", "2")]
    for point in some_of(range(len(whole.writes) + 1)):
        place = new_challenger()
        assert forge.run("promote", place, kill=point, spot=spot_labels).killed, point
        seen.champions(place)
        assert forge.done("promote", place, version="2", spot=spot_labels) is True
        assert settled(place) == [("promoted", "1"), ("promoted", "2")], point
        assert place.registry.find("challenger") is None, point
        assert place.registry.version("2").tags["gate"] == "passed", point


def test_rollback_killed_at_every_write(forge, new_challenger, spot_labels):
    calm = new_challenger()
    assert forge.done("promote", calm, spot=spot_labels) is True
    whole = forge.run("rollback", calm)
    assert whole.result == "1", whole.error
    story = [("promoted", "1"), ("promoted", "2"), ("rolled back", "1")]
    assert settled(calm) == story
    for point in some_of(range(len(whole.writes) + 1)):
        place = new_challenger()
        Champions(place.store, place.registry).move(
            Event(action=Action.PROMOTED, version="2", prior="1", actor="someone")
        )
        assert forge.run("rollback", place, kill=point, to="1").killed, point
        seen.champions(place)
        again = forge.run("rollback", place, to="1")
        # The rerun finishes what was killed, and then finds that there is nothing left to do.
        assert again.result == "1" or again.error == "version 1 is the champion already.", point
        assert settled(place) == story, point


@pytest.mark.long
def test_check_killed_at_every_write(forge, new_challenger):
    place = new_challenger()
    whole = forge.run("check", place)
    assert not whole.error, whole.error
    assert [check.id for check in checks(place.store)] == [whole.result]
    # Of an encoder's probe there is one, and it stands by now.
    once = PROBE
    firsts = [point for point in places(whole.writes) if point[1] == 1]
    assert once in firsts
    for point in [0, *(point for point in firsts if point != once)]:
        assert forge.run("check", place, kill=point).killed, point
        seen.stored(place)
        recorded = len(checks(place.store))
        assert recorded == (2 if point in (("put checks/*/check.json", 1), ("delete draws/*.json", 1)) else 1), point
    again = forge.done("check", place)
    assert again in {check.id for check in checks(place.store)}
    assert len(checks(place.store)) == 3, "what a killed check had recorded stands, and is not recorded twice"


def test_a_check_killed_once_its_probe_is_chosen(forge, new_challenger):
    fresh = new_challenger()
    assert forge.run("check", fresh, kill=PROBE).killed
    seen.stored(fresh)
    probe = [fresh.store.get(key) for key in fresh.store.keys("probes/")]
    assert forge.done("check", fresh)
    assert [fresh.store.get(key) for key in fresh.store.keys("probes/")] == probe, "it is chosen once"


def test_backfill_killed_at_every_write(forge, new_challenger):
    place = new_challenger()
    model = place.registry.model
    for kill, measured in ((0, []), (1, ["1"]), (1, ["1", "2"])):
        assert forge.run("backfill", place, kill=kill).killed, measured
        assert [record.encoder_version for record in backfills(place.store, model)] == measured
    records = backfills(place.store, model)
    again = forge.run("backfill", place)
    assert (again.result, again.error, again.writes) == (0, "", ())
    assert backfills(place.store, model) == records, "what was measured is not measured again"
    assert checks(place.store) == [], "no evidence for any decision"
