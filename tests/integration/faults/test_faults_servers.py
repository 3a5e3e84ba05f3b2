"""S3, MLflow and Prefect killed before a flow starts and in the middle of it, then started again."""

import os

import pytest

from faults import seen
from influcoder.labelsets import latest

# The flow, the write after which it is held while the server dies, and what it says then.
CASES = {
    "s3": ("label", ("put features", 3), "StoreError", "does not answer. Is the stack up? Run: influcoder up"),
    "mlflow": ("train", ("POST /api/2.0/mlflow/runs/log-batch", 1), "RegistryError", "Run: influcoder up"),
}


def held(forge, flow, place, at):
    """A child that waits after one of its writes."""
    child = forge.begin(flow, place, hold=at)
    child.wait_until_held()
    return child


def all_keys(place):
    return sorted(place.store.keys(""))


@pytest.fixture
def up_again(servers):
    """Whatever a test kills runs again after it."""
    yield servers
    for name in ("s3", "mlflow", "prefect"):
        if name not in servers.running:
            servers.start(name)


@pytest.mark.parametrize("server", ["s3", pytest.param("mlflow", marks=pytest.mark.long)])
def test_a_server_that_dies_in_the_middle_and_is_away_at_the_start(forge, up_again, place, server):
    flow, at, kind, words = CASES[server]
    if flow == "train":
        forge.done("label", place)
    child = held(forge, flow, place, at)
    before = all_keys(place) if server == "mlflow" else None
    up_again.kill(server)
    for outcome in (child.go_on(), forge.run(flow, place)):
        assert outcome.kind == kind, outcome
        assert words in outcome.error
    assert not outcome.writes, "nothing is written where a server is away at the start"
    up_again.start(server)
    assert before in (None, all_keys(place))
    seen.everything(place)
    forge.done(flow, place)
    seen.everything(place)
    assert len(seen.label_sets(place)) == 1
    assert latest(place.store)
    assert len(seen.versions(place)) == (flow == "train")
    assert not seen.open_runs(place)


@pytest.mark.long
@pytest.mark.parametrize("server", CASES)
def test_a_server_that_is_started_again_at_once_is_not_noticed(forge, up_again, place, server):
    flow, at, _, _ = CASES[server]
    if flow == "train":
        forge.done("label", place)
    child = held(forge, flow, place, at)
    up_again.kill(server)
    up_again.start(server)
    outcome = child.go_on()
    assert not outcome.error
    seen.everything(place)
    assert len(seen.label_sets(place)) == 1


@pytest.mark.long
def test_prefect_that_dies_in_the_middle_and_is_away_at_the_start(forge, forks, up_again, place):
    child = held(forge, "label", place, ("put labelsets/*/manifest.json", 1))
    up_again.kill("prefect")
    outcome = child.go_on()
    assert outcome.error, "a step that can't be reported is not called done"
    before = all_keys(place)
    done = forks.influcoder("label", env={**os.environ, **place.environment})
    assert done.returncode == 1
    assert "Prefect at" in done.stderr
    assert "does not answer. Run: influcoder up" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert all_keys(place) == before, "nothing is written"
    seen.everything(place)
    up_again.start("prefect")
    name = forge.done("label", place)
    assert seen.label_sets(place) == [name] == [latest(place.store)]
