"""Lost events, killed runs, the breaker and a person's approval, through flows on real servers."""

import json

import pytest
from holding import most_at_a_time

from influcoder.core.errors import BusyError
from influcoder.registry.journal import entries
from influcoder.settings.tree import load_settings
from influcoder.storage.lease import Lease, held
from influcoder.storage.object_store import ObjectStore

BEGIN = """
import json, sys
from flows.check import check
from flows.label import label
from flows.promote import promote
from flows.train import train

promoted = promote(train(label()))
print(json.dumps({"promoted": promoted, "clean": check(), "lost": check(corpus=sys.argv[1])}))
"""
KILLED = """
import os, signal, sys
import flows.retrain

flows.retrain.train = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
flows.retrain.retrain(sys.argv[1])
"""
REST = """
import json, os, sys, tempfile, time
from pathlib import Path
import mlflow
from flows.context import load_place
from flows.promote import offer_of
from flows.breaker import close
from flows.check import check
from flows.promote import promote
from flows.retrain import retrain
from flows.sweep import sweep
from influcoder.serving.answers import attribute_one
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.record import load_check, save_check
from monitoring.checks.findings import Verdict
from monitoring.loop.retraining import LEASE, RetrainingSlot
from influcoder.core.provenance import now

scrambled, lost, clean = sys.argv[1:]
settings = load_settings()
store, registry = ObjectStore(settings.store), Registry(settings.mlflow)

def record(check_id):
    return RetrainingSlot(store, check_id).record.model_dump(mode="json")

def versions():
    return [version.version for version in registry.versions()]

pool = Path(tempfile.mkdtemp(), "pool.jsonl")
pool.write_text("\\n".join(Path(settings.corpus).read_text().splitlines()[:20]))

def warnings():
    return attribute_one("", "rocket moon comet", 2, corpus=str(pool)).rows()[0]["warnings"]

def limits(**values):
    os.environ.update({f"INFLUCODER_RETRAINING__{name.upper()}": str(value) for name, value in values.items()})

def decision(check_id, **changes):
    found = load_check(store, check_id)
    judgement = found.judgement.model_copy(update={"verdict": Verdict.DRIFT})
    kept = found.model_copy(update={"id": "", "created": now(), "judgement": judgement, **changes})
    return save_check(store, kept, b"", b"").id

limits(lease_seconds=3, cooldown_hours=0, failures=2)
while store.age(LEASE) < 3:
    time.sleep(0.1)
found = {"killed": record(lost), "warned before": warnings()}
sweep()
found["resumed"] = record(lost)
found["versions"] = versions()
found["doubled"] = [retrain(lost), sweep(), versions()]

limits(cooldown_hours=6)
second = check(corpus=scrambled)
retrain(second)
found["cooling"] = record(second)
limits(cooldown_hours=0)
sweep()
found["second"] = record(second)
found["degraded"] = [warnings(), registry.version("champion").tags.get("trust"), versions()]
third = decision(clean)
sweep()
found["stopped"] = record(third)
close("ann", "the corpus is mended")
found["closed"] = [warnings(), registry.version("champion").tags.get("trust")]

os.environ.update(INFLUCODER_GATE__APPROVAL="tag", INFLUCODER_GATE__MARGIN="0.5")
sweep()
found["waits"] = [record(third), registry.version("champion").version, sweep()]
waiting = record(third)["version"]
mlflow.MlflowClient().set_model_version_tag(registry.model, waiting, "approval", "approved")
late = decision(second)
sweep()
found["approved"] = [record(third), registry.version("champion").version, record(late)]

os.environ["INFLUCODER_GATE__APPROVAL"] = "none"
def offered(version, **options):
    promoted = promote(version, **options)
    return promoted, offer_of(load_place(), version).reason
labels = registry.version("1").label_set_id
found["to train from"] = offered("1", spot=labels)
os.environ["INFLUCODER_GATE__SPOT"] = json.dumps({"queries": 9999, "candidates": 20})
found["no samples"] = offered("1")
found["spots"] = {check_id: load_check(store, check_id).spot_label_set for check_id in (lost, second)}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def story(forks, scrambled_corpus_file):
    """A champion; two drifts whose events were lost, the first retraining of which is killed; then a third decision."""

    def run(script, *arguments, code=0):
        done = forks.python("-c", script, *arguments)
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]) if code == 0 else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/sweep")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "sweep")
        patch.setenv("INFLUCODER_RETRAINING__LEASE_SECONDS", "3")
        # The view of a text encoder can be scrambled, so that it must fail; a closed form sees the target itself.
        patch.setenv("INFLUCODER_ENCODER__RECIPE", "fine-tune")
        begun = run(BEGIN, scrambled_corpus_file)
        patch.setenv("INFLUCODER_ENCODER__EPOCHS", "1")
        run(KILLED, begun["lost"], code=-9)
        yield begun | run(REST, scrambled_corpus_file, begun["lost"], begun["clean"])


@pytest.fixture
def journal(story):
    return entries(ObjectStore(load_settings().store), "sweep")


def test_a_killed_retraining_is_finished_by_the_sweep_and_pays_nothing_twice(story):
    killed, resumed = story["killed"], story["resumed"]
    assert (killed["phase"], killed["version"], killed["runs"]) == ("running", "", 1)
    assert resumed["label_set"] == killed["label_set"]
    assert (resumed["phase"], resumed["version"], resumed["runs"]) == ("answered", "2", 2)
    # Nothing can be learnt from scrambled texts, so the gate has to hold.
    assert not resumed["promoted"]
    assert story["versions"] == ["1", "2"]


def test_a_doubled_event_and_another_sweep_do_nothing(story):
    assert story["doubled"] == [False, {}, ["1", "2"]]


def test_a_decision_within_the_cooldown_waits_for_the_sweep(story):
    assert story["cooling"]["phase"] == "deferred"
    assert "cools down until" in story["cooling"]["reason"]
    assert (story["second"]["phase"], story["second"]["version"]) == ("answered", "3")


def test_the_breaker_stops_retraining_and_marks_answers(story, journal):
    assert story["warned before"] == []
    (warning,), trust, versions = story["degraded"]
    assert "2 challengers in a row failed the gate (versions 2, 3)" in warning
    assert trust == "degraded"
    assert story["stopped"]["phase"] == "deferred"
    assert "scores are degraded" in story["stopped"]["reason"]
    assert versions == ["1", "2", "3"]
    assert story["closed"] == [[], "restored"]
    opened, closed = (e for e in journal if str(e.action).startswith("breaker"))
    assert opened.evidence["checks"] == [story["resumed"]["check_id"], story["second"]["check_id"]]
    assert (closed.actor, closed.reason) == ("ann", "the corpus is mended")


def test_a_version_that_passed_waits_for_the_tag_and_makes_older_decisions_void(story, journal):
    record, champion, swept = story["waits"]
    assert (record["phase"], record["version"], champion, swept) == ("waiting for approval", "4", "1", {})
    record, champion, late = story["approved"]
    assert (record["phase"], record["promoted"], champion) == ("answered", True, "4")
    assert (late["phase"], late["runs"]) == ("refused", 0)
    assert "it is about version 1, and the champion is 4" in late["reason"]
    assert [e.version for e in journal if e.action == "promoted"] == ["1", "4"]


def test_the_gate_goes_by_fresh_labels_and_nothing_passes_without_evidence(story, journal):
    assert story["promoted"]
    held = [e for e in journal if e.action == "held"]
    assert {e.evidence["spot"] for e in held[:2]}.isdisjoint(story["spots"].values())
    assert story["to train from"][0] is story["no samples"][0] is False
    assert "is to train from" in story["to train from"][1]
    assert "there is no evidence" in story["no samples"][1]
    assert [e.version for e in held[2:]] == ["1", "1"]


def test_one_run_holds_a_lease_at_a_time_and_a_dead_one_loses_it(stack):
    store = ObjectStore(load_settings().store.model_copy(update={"prefix": "tests/lease"}))
    dead = Lease(store, "lease.json", "a dead run", 3)
    dead.take()
    with pytest.raises(BusyError, match=r"a dead run is at it\."), held(store, "lease.json", "early", 3):
        pass
    most, turns = most_at_a_time(store, "lease.json", runs=4, times=2, seconds=3)
    assert most == 1
    assert sorted(turns) == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(BusyError, match="took this work over"):
        dead.check()
