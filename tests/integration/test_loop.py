"""The whole loop through the worker, on a tiny decoder and real servers."""

import json
import time
import urllib.request
from datetime import UTC, datetime

import mlflow
import numpy as np
import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from influcoder.cli import dead_runs
from influcoder.cli.deploy import deploy, schedules
from influcoder.cli.status import gather
from influcoder.labelsets import latest, load_label_set
from influcoder.registry import Registry
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.check import checks
from monitoring.decision import Verdict
from monitoring.retraining import answer_of


@pytest.fixture(scope="module")
def deployments(stack):
    from influcoder.cli import deployments

    deploy(stack)
    # Other tests share the servers, and must not meet what a minute of the hour starts.
    schedules(stack, "pause")
    return deployments


@pytest.fixture(scope="module")
def store(stack):
    return ObjectStore(load_settings().store)


@pytest.fixture(scope="module")
def registry(stack):
    return Registry(load_settings().mlflow)


def test_everything_is_deployed_with_its_trigger_and_schedule(deployments):
    with get_client(sync_client=True) as client:
        found = {item.name: item for item in client.read_deployments()}
        automations = client.request("POST", "/automations/filter", json={}).json()
    work = {"label", "import-scores", "train", "promote", "rollback", "index", "regions", "check", "retrain"}
    assert set(found) == work | {"alert", "overdue", "sweep", "watch", "backfill", "filter"}
    assert [schedule.schedule.cron for schedule in found["check"].schedules] == ["0 5 * * *"]
    beside = {name for name, item in found.items() if item.work_queue_name == "alerts"}
    assert beside == {"alert", "overdue"}, "what must not wait behind a labelling"
    assert all(item.global_concurrency_limit.limit == 1 for item in found.values())
    expected = [item["trigger"]["expect"] for item in automations if item["name"] != dead_runs.NAME]
    assert expected == [["influcoder.drift"]]
    assert len(automations) == 2, "the other one notices runs whose process died"


def test_schedules_are_resumed_and_paused(deployments, stack):
    with get_client(sync_client=True) as client:

        def active():
            return {s.active for item in client.read_deployments() for s in item.schedules}

        assert active() == {False}
        schedules(stack, "resume")
        assert active() == {True}
        schedules(stack, "pause")
        assert active() == {False}


@pytest.mark.long
def test_a_worker_runs_one_flow_after_another_and_alerts_beside_them(deployments):
    names = ("backfill/backfill", "sweep/sweep", "overdue/overdue")
    found = [run_deployment(name, timeout=0, as_subflow=False) for name in names]
    end = time.monotonic() + 300
    with get_client(sync_client=True) as client:
        while not all(run.state.is_final() for run in found):
            assert time.monotonic() < end, [(run.name, run.state.name) for run in found]
            time.sleep(1)
            found = [client.read_flow_run(run.id) for run in found]
    first, second, beside = sorted(found[:2], key=lambda run: run.start_time) + found[2:]
    assert first.end_time <= second.start_time
    assert beside.start_time < second.start_time, "it waited behind neither"


@pytest.mark.long
def test_the_loop(deployments, store, registry, stack, tiny_decoder, scrambled_corpus_file, capsys):
    lines = []
    deployments.run("label", lines.append)
    labels = load_label_set(store, latest(store))
    assert labels.identity.teacher.decoder_fingerprint == tiny_decoder.fingerprint
    assert any(line.startswith("labelling") for line in lines), "progress of the work reaches the flow run's log"

    deployments.run("train", lines.append)
    challenger = registry.version("challenger")
    assert challenger.label_set_id == labels.id
    assert challenger.tags["decoder.fingerprint"] == tiny_decoder.fingerprint
    assert {"agreement.rho", "agreement.lo", "agreement.hi", "teacher.id", "decoder.uri", "code.commit"} <= set(
        challenger.tags
    )
    check_that_the_model_serves(registry, challenger)

    deployments.run("promote", lines.append)
    champion = registry.version("champion")
    assert champion.version == challenger.version, registry.version(challenger.version).tags.get("gate.evidence")
    assert registry.find("challenger") is None

    deployments.run("check", lines.append)
    first = checks(store)[-1]
    assert first.verdict is not Verdict.DRIFT, first.judgement.reason
    assert not first.decoder_moved
    check_that_the_report_is_served(stack)

    started = datetime.now(UTC)
    deployments.run("check", lines.append, corpus=str(scrambled_corpus_file))
    second = checks(store)[-1]
    assert second.verdict is Verdict.DRIFT, second.judgement.reason
    assert second.spot_label_set != first.spot_label_set
    seen = deployments.events("influcoder.drift", at_least=1, since=started)
    assert [event["payload"]["check_id"] for event in seen] == [second.id]

    run = deployments.started_by_event("retrain", started, 90)
    assert run is not None, "the event starts the deployment that prefect.yaml ties to it"
    assert run.parameters == {"check_id": second.id}
    deployments.follow(run.id, "retrain", lines.append)
    answer = answer_of(store, second.id)
    assert answer is not None
    # Nothing can be learnt from scrambled texts, so the gate has to hold and the champion has to stay.
    assert not answer.promoted
    assert registry.version("champion").version == champion.version
    again = load_label_set(store, answer.label_set)
    assert again.identity.parent == labels.id
    spot = {entry.sample.hash for entry in load_label_set(store, second.spot_label_set).entries}
    assert spot <= {entry.sample.hash for entry in again.entries if entry.split == "report"}

    deployments.run("retrain", lines.append, check_id=second.id)
    assert answer_of(store, second.id) == answer, "a doubled event is answered once"
    assert len(registry.versions()) == 2

    table = gather(stack)
    assert table.row_count == 12


def check_that_the_model_serves(registry, version):
    settings = load_settings().mlflow
    model = mlflow.pyfunc.load_model(f"models:/{settings.model}@challenger")
    targets = ["a rocket and a moon", "flour and butter"]
    asked = pd.DataFrame({"context": ["What is in the sky?", None], "target": targets})
    vectors, alone = (np.stack(model.predict(rows)["vector"]) for rows in (asked, asked[["target"]]))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(vectors[1], alone[1], atol=1e-5)
    assert not np.allclose(vectors[0], alone[0], atol=1e-3), "the context counts"
    run = mlflow.MlflowClient().get_run(version.run_id)
    assert [item.dataset.digest for item in run.inputs.dataset_inputs] == [version.label_set_id]
    assert len(mlflow.MlflowClient().get_metric_history(version.run_id, "selection.rho")) >= 2


def check_that_the_report_is_served(stack):
    url = stack.urls()["evidently"]
    projects = json.load(urllib.request.urlopen(f"{url}/api/v2/projects"))
    assert [project["name"] for project in projects] == ["Influcoder: agreement of the champion"]
    reports = json.load(urllib.request.urlopen(f"{url}/api/projects/{projects[0]['id']}/reports"))
    assert len(reports) == 1
