"""Alerts as flows raise them and commands show them; no secret on the way."""

import io
import json
import logging
import os
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from alert_world import DEAD, PASSWORD, TOKEN, at, drifted, post, settings_of
from typer.testing import CliRunner

from flows.alert import notify
from flows.context import Place
from influcoder.cli.alerts import app
from influcoder.registry.journal import Action, Event, append
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.alerts import AlertKind, AlertSettings
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.deliver import deliver
from monitoring.alerts.outbox import Outbox, problems, ways
from monitoring.alerts.reminders import overdue, unanswered
from monitoring.loop.promotion import Promotion, Stage, slot_of


@pytest.fixture
def store(stack, request):
    return ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{request.node.name}"}))


def test_no_secret_reaches_the_store_a_log_or_a_repr(store, receiver, capfd):
    settings = settings_of(DEAD, receiver.url, f"slack://{TOKEN}")
    everything = load_settings().model_copy(update={"alerts": settings})
    root, heard = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(heard), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    try:
        notify(Place(everything, store, Registry(everything.mlflow)), drifted())
        receiver.status = 500
        notify(Place(everything, store, Registry(everything.mlflow)), drifted(2))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    stored = b"".join(store.get(key) for key in store.keys("alerts/"))
    shown = repr(settings) + repr(everything) + settings.model_dump_json() + "".join(capfd.readouterr())
    wrong = " ".join(problems(settings, store, ways(store), datetime.now(UTC)))
    assert "can't read the URL of 'slack'" in wrong
    assert "encoder 2" in heard.getvalue()
    for secret in (TOKEN, PASSWORD):
        assert secret.encode() not in stored
        assert secret not in shown + wrong + heard.getvalue()


def test_notify_raises_nothing_and_does_not_wait_for_a_slow_channel(store, receiver):
    receiver.delay = 3.5
    patient = load_settings().model_copy(update={"alerts": settings_of(receiver.url, patience_seconds=0.3)})
    started = time.monotonic()
    notify(Place(patient, store, Registry(patient.mlflow)), drifted())
    assert time.monotonic() - started < 3.0
    away = ObjectStore(load_settings().store.model_copy(update={"endpoint": "http://127.0.0.1:9"}))
    notify(Place(patient, away, Registry(patient.mlflow)), drifted())


def test_a_champion_that_nobody_checks_raises_an_alert_once_a_day(store):
    settings = AlertSettings(check_within_hours=26)
    assert overdue(settings, store, "m", datetime.now(UTC)) is None
    append(store, "m", Event(action=Action.PROMOTED, version="7", prior=None, actor="someone"))
    assert overdue(settings, store, "m", at(hours=25)()) is None
    first, same, next_day = (overdue(settings, store, "m", at(hours=hours)()) for hours in (27, 40, 51))
    assert first.kind is AlertKind.SCHEDULE
    assert "Encoder 7" in first.what
    assert first.id == same.id != next_day.id
    # What moves no alias, such as the breaker, is no new champion whose time begins again.
    append(store, "m", Event(action=Action.BREAKER_OPENED, version="8", prior="8", actor="someone"))
    again = overdue(settings, store, "m", at(hours=27)())
    assert again.model_copy(update={"created": first.created}) == first


def waits(store, version, hours, stage=Stage.WAITING):
    drawn = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    slot_of(store, "m", version).write(Promotion(version=version, stage=stage, seed=1, drawn=drawn, retraining="c1"))


def test_a_version_that_waits_for_a_person_is_told_of_once_a_day(store):
    assert unanswered(store, "m", datetime.now(UTC)) == []
    waits(store, "3", hours=30)
    waits(store, "4", hours=30, stage=Stage.HELD)
    [first], [later], [next_day] = (unanswered(store, "m", at(hours=hours)()) for hours in (0, 10, 20))
    assert first.kind is AlertKind.APPROVAL
    assert "influcoder approve 3" in first.todo[0]
    assert first.id == later.id != next_day.id
    outbox = Outbox(store)
    assert [outbox.post(alert, ["hook"]) for alert in (first, later, next_day)] == [True, False, True]
    waits(store, "3", hours=30, stage=Stage.PROMOTED)
    assert unanswered(store, "m", at(hours=50)()) == []


def test_old_alerts_leave_the_outbox_once_no_channel_waits_for_them(store, receiver):
    settings, outbox = settings_of(receiver.url), Outbox(store)
    post(store, settings, drifted())
    deliver(settings, store)
    outbox.post(drifted(2), ["nobody"])
    time.sleep(2.1)
    outbox.post(drifted(3), [])
    assert outbox.expire(3600) == 0
    assert outbox.expire(2) == 1
    assert sorted(outbox.ids()) == sorted([drifted(2).id, drifted(3).id]), "one waits, and one is new"
    assert not list(store.keys(f"alerts/outbox/{drifted().id}/"))
    assert outbox.expire(2) == 0


STORY = """
import json, sys
from flows.alert import alert
from flows.label import label
from influcoder.core.errors import InflucoderError
flow = {"alert": alert, "label": label}[sys.argv[1]]
try:
    print(json.dumps({"result": flow()}))
except InflucoderError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def run_flow(forks):
    """A function that runs a flow in a process of its own, and says what came of it and what was printed."""

    def run(name, prefix, channels, **settings):
        environment = {**os.environ, "INFLUCODER_ALERTS__CHANNELS": json.dumps(channels), **settings}
        environment["INFLUCODER_STORE__PREFIX"] = prefix
        done = forks.python("-c", STORY, name, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr

    return run


def test_the_flow_delivers_and_fails_where_alerts_are_given_up(run_flow, receiver):
    channels = [{"url": DEAD, "name": "dead"}, {"url": receiver.url, "name": "hook"}]
    settings = settings_of(*channels, give_up_hours=1)
    store = ObjectStore(load_settings().store.model_copy(update={"prefix": "tests/alert-flow"}))
    post(store, settings, drifted())
    for hours in (-2, -1.5, -1.2):
        deliver(settings_of(channels[0], give_up_hours=1), store, at(hours=hours))
    said, shown = run_flow("alert", "tests/alert-flow", channels, INFLUCODER_ALERTS__GIVE_UP_HOURS="1")
    assert "alerts were given up: 1 on dead." in said["error"]
    assert [body["title"] for body in receiver.bodies] == ["Influcoder: encoder 1 drifted"]
    for secret in (TOKEN, PASSWORD):
        assert secret not in shown
    said, _ = run_flow("alert", "tests/alert-flow", channels)
    assert said == {"result": 1}
    assert "channel dead is dead" in receiver.bodies[-1]["title"]


def test_labels_that_great_expectations_refuses_raise_an_alert_with_its_pages(run_flow, receiver):
    short = {"INFLUCODER_TEACHER__MAX_TOKENS": "12", "INFLUCODER_LABELS__MAX_CUT": "0.01"}
    said, _ = run_flow("label", "tests/alert-labels", [receiver.url], **short)
    assert "is not published" in said["error"]
    (sent,) = receiver.bodies
    assert "labels refused" in sent["title"]
    assert f"{os.environ['PREFECT_UI_URL']}/flow-runs/flow-run/" in sent["message"]
    (page,) = [
        line.partition(": ")[2] for line in sent["message"].splitlines() if line.startswith("Data Docs, samples")
    ]
    with urllib.request.urlopen(page) as answer:
        assert b"Great Expectations" in answer.read()


def test_the_commands(stack, receiver, monkeypatch):
    def run(*arguments, channels=(receiver.url,)):
        monkeypatch.setenv("INFLUCODER_ALERTS__CHANNELS", json.dumps(channels))
        done = CliRunner().invoke(app, list(arguments))
        return done.output, str(done.exception or "")

    monkeypatch.setenv("INFLUCODER_STORE__PREFIX", "tests/alert-commands")
    for name in ("test", "list", "deliver"):
        assert "Example" in run(name, "--help")[0]
    assert run("test") == ("json: the message was taken\n", "")
    said, error = run("test", channels=(receiver.url, f"slack://{TOKEN}", "nonsense"))
    assert "json: the message was taken" in said
    assert "can't read the URL of 'slack'" in said
    assert "did not reach slack, channel." in error
    assert TOKEN not in said + error
    assert "no channel is set" in run("deliver", channels=())[1]
    store = ObjectStore(load_settings().store)
    Outbox(store).post(drifted(), ("json",))
    assert "encoder 1" in run("list", "--waiting")[0]
    assert run("deliver") == ("json: 1 messages delivered\n", "")
    (line,) = run("list", "--json")[0].splitlines()
    assert (json.loads(line)["id"], json.loads(line)["channels"]) == (drifted().id, {"json": "delivered"})
    assert run("list", "--json", "--waiting") == ("", "")


def test_the_door_says_it_in_one_line(forks, tmp_path):
    environment = {**os.environ, "INFLUCODER_ALERTS__CHANNELS": json.dumps([f"slack://{TOKEN}"])}
    done = forks.influcoder("alerts", "test", cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: the test did not reach slack. Mend alerts.channels in the settings.\n"
    assert TOKEN not in done.stdout
