"""What the local stack deploys, and how its workers share the work."""

import time

import pytest
from prefect.client.orchestration import get_client
from prefect.context import refresh_global_settings_context
from prefect.deployments import run_deployment

from influcoder.local import zombie_runs as dead_runs
from influcoder.local.deploy import schedules


@pytest.fixture(scope="module")
def client(story):
    """A client of the Prefect server that the demo left up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", story.stack.environment()["PREFECT_API_URL"])
        refresh_global_settings_context()
        with get_client(sync_client=True) as found:
            yield found
    refresh_global_settings_context()


def test_deployments_have_what_the_loop_rests_on(client):
    found = {item.name: item for item in client.read_deployments()}
    cron = {name: [schedule.schedule.cron for schedule in item.schedules] for name, item in found.items()}
    assert cron["check"] == ["0 5 * * *"], "daily"
    assert {"watch", "sweep", "index", "alert", "overdue"} <= {name for name, when in cron.items() if when}
    beside = {name for name, item in found.items() if item.work_queue_name == "alerts"}
    assert beside == {"alert", "overdue"}, "what must not wait behind a labelling"
    assert all(item.global_concurrency_limit.limit == 1 for item in found.values())


def test_one_automation_answers_drift_and_one_notices_runs_whose_process_died(client):
    automations = client.request("POST", "/automations/filter", json={}).json()
    (answer,) = (item for item in automations if item["name"] != dead_runs.NAME)
    assert answer["trigger"]["expect"] == ["influcoder.drift"]
    assert len(automations) == 2


def test_schedules_are_resumed_and_paused(client, story):
    def active():
        return {s.active for item in client.read_deployments() for s in item.schedules}

    assert active() == {True}, "a demo that leaves its servers up resumes them"
    schedules(story.stack, "pause")
    assert active() == {False}
    schedules(story.stack, "resume")
    assert active() == {True}
    schedules(story.stack, "pause")


def test_a_worker_runs_one_flow_after_another_and_alerts_beside_them(client):
    names = ("backfill/backfill", "sweep/sweep", "overdue/overdue")
    found = [run_deployment(name, timeout=0, as_subflow=False) for name in names]
    end = time.monotonic() + 300
    while not all(run.state.is_final() for run in found):
        assert time.monotonic() < end, [(run.name, run.state.name) for run in found]
        time.sleep(0.2)
        found = [client.read_flow_run(run.id) for run in found]
    first, second, beside = sorted(found[:2], key=lambda run: run.start_time) + found[2:]
    assert first.end_time <= second.start_time
    assert beside.start_time < second.start_time, "it waited behind neither"
