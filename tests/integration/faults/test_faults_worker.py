"""The worker killed with all its children while a run holds the only slot of its deployment."""

import time

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from faults import seen
from influcoder.cli import deployments
from influcoder.local.deploy import deploy
from influcoder.local.zombie_runs import NAME, SILENCE_SECONDS, watch_for_dead_runs

pytestmark = pytest.mark.long


@pytest.fixture
def worker(servers, place):
    """A worker whose flows write to the test's own place, killed at the end with all that it started."""
    servers.start("worker", **place.environment)
    # The worker makes the pool that prefect.yaml names.
    end = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while not client.request("POST", "/work_pools/filter", json={}).json():
            assert time.monotonic() < end, servers.stack.tail(20)
            time.sleep(0.5)
    deploy(servers.stack)
    watch_for_dead_runs(servers.environment["PREFECT_API_URL"])
    yield servers
    if "worker" in servers.running:
        servers.kill("worker")


def slots_taken():
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("label/label")
        return deployment.global_concurrency_limit.active_slots


def test_a_killed_worker_gives_its_slot_back_in_bounded_time(worker, place):
    with get_client(sync_client=True) as client:
        names = [found["name"] for found in client.request("POST", "/automations/filter", json={}).json()]
    assert names.count(NAME) == 1, "asking twice leaves one"
    first = run_deployment("label/label", timeout=0, as_subflow=False)
    end = time.monotonic() + 120
    while not list(place.store.keys("features/")):
        assert time.monotonic() < end, worker.stack.tail(20)
        time.sleep(0.05)
    worker.kill("worker")
    assert slots_taken() == 1
    assert seen.label_sets(place) == []
    worker.kill("prefect")
    worker.start("prefect")
    worker.start("worker", **place.environment)
    killed = time.monotonic()
    lines = []
    deployments.run("label", lines.append, silence=SILENCE_SECONDS + 180)
    assert len(seen.label_sets(place)) == 1
    assert any("are cached" in line and " 0 are cached" not in line for line in lines), lines
    print(f"the next run was done {time.monotonic() - killed:.0f} s after the worker was killed")
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(first.id).state.is_crashed()
    assert slots_taken() == 0
