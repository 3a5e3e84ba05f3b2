"""The journal against a real S3 server, and promotion and rollback through flows with a real MLflow."""

import json
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest

from flows.context import load_place
from influcoder.cli import status_lines
from influcoder.cli.journal import mend
from influcoder.core.errors import ChangedMeanwhileError, IntegrityError, RegistryError
from influcoder.core.tags import FILES
from influcoder.registry.champions import Champions
from influcoder.registry.journal import Action, Event, Head, append, champion_of, entries
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import read

MODEL = "journal"


@pytest.fixture
def store(stack, request):
    return ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{request.node.name}"}))


def event(action, version, prior=None, reason=""):
    return Event(action=action, version=version, prior=prior, actor="someone", reason=reason)


def fill(store, length):
    for number in range(length):
        append(store, MODEL, event(Action.PROMOTED, str(number + 1), str(number) if number else None))
    return [f"journal/{MODEL}/{number + 1:08d}.json" for number in range(length)]


def test_writers_at_once_lose_no_entry(store):
    def write(writer):
        own = ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{name}"}))
        return [append(own, MODEL, event(Action.HELD, "1", reason=f"{writer} {i}")).number for i in range(4)]

    name = "test_writers_at_once_lose_no_entry"
    with ThreadPoolExecutor(6) as pool:
        numbers = [number for found in pool.map(write, range(6)) for number in found]
    found = entries(store, MODEL)
    assert sorted(numbers) == [entry.number for entry in found] == list(range(1, 25))
    assert {entry.reason for entry in found} == {f"{writer} {i}" for writer in range(6) for i in range(4)}
    assert read(store, f"journal/{MODEL}/head.json", Head).number == 24


def test_of_two_promotions_at_once_one_is_refused(store):
    append(store, MODEL, event(Action.PROMOTED, "1"))

    def promote(version):
        try:
            return append(store, MODEL, event(Action.PROMOTED, version, "1")).version
        except ChangedMeanwhileError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        outcomes = set(pool.map(promote, ["2", "3"]))
    winner = champion_of(entries(store, MODEL))
    assert winner in ("2", "3")
    refusal = f"version {winner} is the champion by the journal, not version 1. Run the same step again."
    assert outcomes == {winner, refusal}


def test_every_change_in_the_store_is_found(store):
    keys = fill(store, 4)
    records = [store.get(key) for key in keys]
    for number, (key, record) in enumerate(zip(keys, records, strict=True), 1):
        for place in range(0, len(record), 97):
            store.put(key, record[:place] + bytes([record[place] ^ 1]) + record[place + 1 :])
            with pytest.raises(IntegrityError, match=f"entry {number} was changed"):
                entries(store, MODEL)
        store.delete(key)
        with pytest.raises(IntegrityError, match=f"entry {number} is missing"):
            entries(store, MODEL)
        other = number % len(keys)
        store.put(key, records[other])
        store.put(keys[other], record)
        first = min(number, other + 1)
        with pytest.raises(IntegrityError, match=f"entry {first} is entry {max(number, other + 1)}, moved here"):
            entries(store, MODEL)
        store.put(key, record)
        store.put(keys[other], records[other])
    assert len(entries(store, MODEL)) == 4
    store.put(f"journal/{MODEL}/head.json", b"{}")
    with pytest.raises(IntegrityError, match=r"head\.json is no Head record"):
        entries(store, MODEL)


STORY = """
import json, tempfile
from pathlib import Path
import mlflow
from flows.label import label
from flows.promote import promote
from flows.rollback import rollback
from flows.train import train
from influcoder.encoder import Encoder
from influcoder.core.errors import RegistryError
from influcoder.registry.mlflow_registry import Registry
from influcoder.serving.model_spec import model_spec
from influcoder.settings.tree import load_settings

settings = load_settings()
registry = Registry(settings.mlflow)
trained = registry.version(train(label()))

def again(**tags):
    source = mlflow.MlflowClient().get_model_version(registry.model, trained.version).source
    mlflow.register_model(source, registry.model, tags={**trained.tags, **tags})

def refusal(**given):
    try:
        return f"not refused: {rollback(**given)}"
    except RegistryError as error:
        return str(error)

with tempfile.TemporaryDirectory() as folder:
    untrained = Encoder(settings.encoder.base, settings.encoder.max_tokens)
    again()
    with registry.run("an untrained encoder", {}):
        saved = untrained.save(Path(folder))
        registry.register(saved, model_spec(registry.model, saved), trained.tags, "")
    again(gate="passed", **{"decoder.fingerprint": 64 * "0"})
found = dict(promoted=[promote("1", "the first"), promote("2"), promote("3")])
found["back"] = rollback(reason="answers are off")
found["refusals"] = {to: refusal(to=to) for to in (None, "1", "3", "4", "9")}
found["forced"] = rollback(to="4", force=True)
found["again"] = rollback(to="2")
print(json.dumps({"found": found}))
"""


@pytest.fixture(scope="module")
def story(forks):
    """Versions 1 (trained), 2 (its copy), 3 (untrained), 4 (for another decoder), promoted and rolled back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/journal-story")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "journal-story")
        patch.setenv("INFLUCODER_ACTOR", "ann")
        done = forks.python("-c", STORY)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(done.stdout.splitlines()[-1])["found"]


@pytest.fixture
def registry(story):
    return Registry(load_settings().mlflow)


@pytest.fixture
def champions(story, registry):
    return Champions(ObjectStore(load_settings().store), registry)


@pytest.fixture
def by_hand(story):
    """Move the alias as MLflow's own page does."""
    return lambda version: mlflow.MlflowClient().set_registered_model_alias("journal-story", "champion", version)


def test_promotions_and_rollbacks_are_journalled(story, champions):
    assert story["promoted"] == [True, True, False]
    assert (story["back"], story["forced"], story["again"]) == ("1", "4", "2")
    state = champions.state()
    assert state.pointed == "2"
    assert not state.problem
    first, second, held, back, forced, again = state.entries
    assert [(e.action, e.version, e.prior) for e in state.entries] == [
        ("promoted", "1", None),
        ("promoted", "2", "1"),
        ("held", "3", "2"),
        ("rolled back", "1", "2"),
        ("rolled back", "4", "1"),
        ("rolled back", "2", "4"),
    ]
    assert {entry.actor for entry in state.entries} == {"ann"}
    assert (first.reason, back.reason) == ("the first", "answers are off")
    assert second.evidence["gate"]["over_champion"] == [0, 0, 0]
    assert held.evidence["gate"]["over_floor"][0] <= 0, "the untrained encoder is one of the floors"
    assert first.digests[FILES] == second.digests[FILES] == back.digests[FILES] != held.digests[FILES]
    assert {"run.id", "labelset.id", "decoder.fingerprint", "teacher.id", "code.commit"} < set(first.digests)
    assert (forced.evidence["forced"], again.evidence["forced"]) == (True, False)


def test_a_rollback_that_does_not_fit_is_refused(story):
    refusals = story["refusals"]
    assert "no champion before the present one" in refusals["null"]
    assert refusals["1"] == "version 1 is the champion already."
    assert "version 3 was never champion and passed no gate" in refusals["3"]
    assert "version 4 was distilled for decoder 000000000000, but" in refusals["4"]
    assert "there is no encoder version '9'" in refusals["9"]


def test_an_alias_that_was_moved_by_hand_is_shown_and_adopted(champions, by_hand, registry):
    by_hand("1")
    said = status_lines.journal(load_place())
    assert "the alias differs" in said.words
    (wrong,) = said.wrong
    assert "moved by hand: the journal says version 2, MLflow says version 1." in wrong
    assert "version 1 is adopted" in mend(adopt=True, reason="approved in MLflow")
    last = champions.state().entries[-1]
    assert (last.action, last.version, last.prior, last.reason) == ("adopted", "1", "2", "approved in MLflow")
    assert registry.version("champion").version == "1"
    assert "the alias agrees" in status_lines.journal(load_place()).words
    with pytest.raises(RegistryError, match="there is nothing to adopt"):
        mend(adopt=True, reason="")


def test_an_alias_that_was_moved_by_hand_is_repaired(champions, by_hand):
    by_hand("3")
    assert "the alias points to version 1" in mend(adopt=False, reason="")
    last = champions.state().entries[-1]
    assert (last.action, last.version, last.reason) == ("repaired", "1", "MLflow said version 3")
    assert champions.state().pointed == "1"
    with pytest.raises(RegistryError, match="there is nothing to repair"):
        mend(adopt=False, reason="")


def test_an_alias_that_was_deleted_is_set_anew_from_the_journal(champions, registry):
    before = champions.state().recorded
    mlflow.MlflowClient().delete_registered_model_alias("journal-story", "champion")
    assert "MLflow says no champion" in champions.state().problem
    assert f"the alias points to version {before}" in mend(adopt=False, reason="")
    assert registry.version("champion").version == before


@pytest.mark.parametrize(("mended", "version", "prior"), [("repair", "2", "1"), ("settle", "1", "2")])
def test_a_move_that_was_killed_half_way_is_finished(champions, registry, mended, version, prior):
    length = len(champions.state().entries)
    append(ObjectStore(load_settings().store), "journal-story", event(Action.PROMOTED, version, prior))
    state = champions.state()
    assert (state.recorded, state.pointed) == (version, prior)
    assert "killed half-way" in state.problem
    champions.repair("ann", "") if mended == "repair" else champions.settle("ann")
    assert registry.version("champion").version == version
    assert registry.version(version).tags["journal.entry"] == str(length + 1)
    assert len(champions.state().entries) == length + 1


def test_a_move_by_hand_is_noted_before_the_next_decision(champions, by_hand):
    by_hand("2")
    state = champions.settle("ann")
    assert (state.recorded, state.pointed, state.entries[-1].action) == ("2", "2", "adopted")


def test_a_champion_from_before_the_journal_begins_it(story, champions, registry):
    store = ObjectStore(load_settings().store.model_copy(update={"prefix": "tests/journal-late"}))
    state = Champions(store, registry).settle("ann")
    assert [(entry.action, entry.version, entry.prior) for entry in state.entries] == [
        ("adopted", champions.state().pointed, None)
    ]


def test_the_command_prints_the_journal_and_fails_on_a_broken_one(story, champions, forks, tmp_path):
    def influcoder(*arguments):
        return forks.influcoder(*arguments, cwd=tmp_path)

    lines = influcoder("journal", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [e.model_dump(mode="json") for e in champions.state().entries]
    table = influcoder("journal").stdout
    assert "answers are off" in table
    assert f"{len(lines)} entries, chain intact" in influcoder("journal", "--verify").stdout
    store = ObjectStore(load_settings().store)
    store.delete("journal/journal-story/00000002.json")
    done = influcoder("journal", "--verify")
    assert done.returncode == 1
    assert "entry 2 is missing" in done.stderr
