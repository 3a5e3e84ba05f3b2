"""Checks that buy their labels in batches, through flows on the real servers, and what counts as evidence."""

import json

import pytest

from influcoder.cli.checks import table
from influcoder.labelsets import load_label_set
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.findings import Verdict
from monitoring.checks.record import checks, load_check

STORY = """
import json, os, sys
from flows.check import check
from flows.label import label
from flows.promote import promote
from flows.train import train
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.record import load_check
from monitoring.checks.history import OpenDraw
from monitoring.checks.spot_labels import buy_labels

other = sys.argv[1]
settings = load_settings()
store = ObjectStore(settings.store)
version = train(label())
promote(version)
# No labels this few can exclude a fall this small.
os.environ["INFLUCODER_DRIFT__MARGIN"] = "0.005"
found = {"unclear": check()}
os.environ["INFLUCODER_DRIFT__MARGIN"] = "0.5"
found["excluded"] = check()
os.environ["INFLUCODER_DRIFT__MARGIN"] = "0.005"

# A check that was killed between labelling and its record leaves this behind.
spec = load_manifest(store, Registry(settings.mlflow).version(version).label_set_id).identity.teacher.spec
seed = OpenDraw(store, settings, version).seed(17)
buy_labels(settings, spec, store, seed, lambda labels: False)
found["again"] = check()
# And one that was killed after the record, before the draw was closed.
OpenDraw(store, settings, version).seed(17)
found["twice"] = check()
os.environ.update({"INFLUCODER_BUYING__MONEY": "1e-9", "INFLUCODER_BUYING__PRICE_PER_HOUR": "2"})
found["poor"] = check()
del os.environ["INFLUCODER_BUYING__MONEY"], os.environ["INFLUCODER_DRIFT__MARGIN"]
spot = load_check(store, found["unclear"]).spot_label_set
found["given"] = [check(spot=spot), check(spot=spot)]
found["fallen"] = check(corpus=other)
found["lasting"] = check(corpus=other)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(forks, scrambled_corpus_file):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/spot-buying")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "spot-buying")
        # Each sample is a query here, so this is a small check, but one that can be clear.
        patch.setenv("INFLUCODER_LABELS__SPOT", json.dumps({"queries": 28, "candidates": 40}))
        # The view of a text encoder can be scrambled, so that it must fail.
        patch.setenv("INFLUCODER_ENCODER__RECIPE", "fine-tune")
        done = forks.python("-c", STORY, scrambled_corpus_file)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def store(found):
    return ObjectStore(load_settings().store)


def test_an_unclear_decision_uses_the_whole_budget_of_samples(found, store):
    check = load_check(store, found["unclear"])
    assert check.spent.stopped == "samples"
    assert [batch.queries + batch.candidates for batch in check.spent.batches] == [27, 41, 54, 68]
    assert check.spent.labelled + check.spent.cached == 68
    assert len(load_label_set(store, check.spot_label_set).entries) == 68
    assert check.figures["rho"]["queries"] == 68
    assert check.verdict in (Verdict.OK, Verdict.WARN), check.judgement.reason
    assert check.spent.cost is None


def test_a_clear_decision_stops_early_and_publishes_what_it_bought(found, store):
    check = load_check(store, found["excluded"])
    assert check.spent.stopped == "clear"
    assert len(check.spent.batches) == 1
    assert len(load_label_set(store, check.spot_label_set).entries) == 27
    assert check.judgement.checks == 2


def test_a_large_fall_is_found_in_a_single_check_and_lasts(found, store):
    fallen, lasting = (load_check(store, found[name]) for name in ("fallen", "lasting"))
    assert fallen.verdict is Verdict.DRIFT, fallen.judgement.reason
    assert fallen.judgement.e_value >= 100
    assert fallen.spent.stopped == "clear"
    assert lasting.verdict is Verdict.DRIFT
    assert "the drift lasts" in lasting.judgement.reason
    assert lasting.judgement.checks == fallen.judgement.checks + 1


def test_a_killed_check_that_is_run_again_pays_nothing_twice(found, store):
    again = load_check(store, found["again"])
    assert again.draw == "seed 17"
    assert again.spent.labelled == 0
    assert again.spent.cached == len(load_label_set(store, again.spot_label_set).entries)
    assert found["twice"] == found["again"]
    assert sum(check.draw == "seed 17" for check in checks(store)) == 1
    assert not list(store.keys("draws/"))


def test_money_ends_the_buying(found, store):
    poor = load_check(store, found["poor"])
    assert (poor.spent.stopped, len(poor.spent.batches)) == ("money", 1)
    assert poor.spent.cost == pytest.approx(poor.spent.seconds * 2 / 3600, rel=0.01)


def test_labels_that_are_looked_at_again_count_once(found, store):
    bought = load_check(store, found["poor"]).judgement.checks
    first, second = (load_check(store, check) for check in found["given"])
    assert first.spent is None
    # The check that these labels were bought for is replaced by the one that looks at them again.
    assert (first.judgement.checks, second.judgement.checks) == (bought, bought)
    assert second.judgement.e_value == pytest.approx(first.judgement.e_value)


def test_draws_are_fresh_and_all_of_it_is_listed(found, store):
    every = checks(store)
    drawn = [check.draw for check in every if check.draw]
    assert len(set(drawn)) == len(drawn) == 6
    grid = table(every)
    assert grid.row_count == 8
    assert f"{sum(check.spent.labelled for check in every if check.spent)} samples labelled" in grid.title
