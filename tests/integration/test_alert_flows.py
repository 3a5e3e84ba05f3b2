"""Alerts as flows raise them and commands show them; no secret on the way."""

import io
import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alert_world import DEAD, PASSWORD, TOKEN, at, drifted, post, settings_of

from flows.alert import alert as alert_flow
from flows.alert import notify
from flows.label import label
from influcoder.alerting import AlertKind, AlertSettings
from influcoder.errors import AlertError, ValidationFailedError
from influcoder.journal import Action, Event, append
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.alerts.deliver import deliver
from monitoring.alerts.lane import Lanes
from monitoring.alerts.outbox import Outbox
from monitoring.alerts.overdue import overdue
from monitoring.alerts.state import problems, ways

COMMAND = Path(sys.executable).parent / "influcoder"


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
        notify(everything, store, drifted())
        receiver.status = 500
        notify(everything, store, drifted(2))
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
    notify(patient, store, drifted())
    assert time.monotonic() - started < 3.0
    away = ObjectStore(load_settings().store.model_copy(update={"bucket": "no-such-bucket"}))
    notify(patient, away, drifted())


def test_a_champion_that_nobody_checks_raises_an_alert_once_a_day(store):
    settings = AlertSettings(check_within_hours=26)
    assert overdue(settings, store, "m", datetime.now(UTC)) is None
    append(store, "m", Event(action=Action.PROMOTED, version="7", prior=None, actor="someone"))
    assert overdue(settings, store, "m", at(hours=25)()) is None
    first, same, next_day = (overdue(settings, store, "m", at(hours=hours)()) for hours in (27, 40, 51))
    assert first.kind is AlertKind.SCHEDULE
    assert "Encoder 7" in first.what
    assert first.id == same.id != next_day.id


def test_the_flow_delivers_and_fails_where_alerts_are_given_up(stack, receiver, monkeypatch):
    channels = json.dumps([{"url": DEAD, "name": "dead"}, {"url": receiver.url, "name": "hook"}])
    monkeypatch.setenv("INFLUCODER_ALERTS__CHANNELS", channels)
    monkeypatch.setenv("INFLUCODER_STORE__PREFIX", "tests/alert-flow")
    monkeypatch.setenv("INFLUCODER_ALERTS__GIVE_UP_HOURS", "1")
    settings = load_settings()
    store = ObjectStore(settings.store)
    post(store, settings.alerts, drifted())
    assert alert_flow() == 1
    for hours in (0.1, 0.2, 0.4):
        deliver(settings.alerts, store, at(hours=hours))
    lane, version = Lanes(store).read("dead")
    past = datetime.now(UTC) - timedelta(hours=2)
    tried = {a: t.model_copy(update={"first": past}) for a, t in lane.tried.items()}
    assert Lanes(store).swap("dead", lane.model_copy(update={"tried": tried}), version)
    with pytest.raises(AlertError, match="1 on dead"):
        alert_flow()


def test_labels_that_great_expectations_refuses_raise_an_alert_with_its_pages(stack, receiver, monkeypatch):
    monkeypatch.setenv("INFLUCODER_ALERTS__CHANNELS", json.dumps([receiver.url]))
    monkeypatch.setenv("INFLUCODER_STORE__PREFIX", "tests/alert-labels")
    monkeypatch.setenv("INFLUCODER_TEACHER__MAX_TOKENS", "12")
    monkeypatch.setenv("INFLUCODER_LABELS__MAX_CUT", "0.01")
    with pytest.raises(ValidationFailedError):
        label()
    (sent,) = receiver.bodies
    assert "labels refused" in sent["title"]
    assert f"{os.environ['PREFECT_UI_URL']}/runs/flow-run/" in sent["message"]
    (page,) = [
        line.partition(": ")[2] for line in sent["message"].splitlines() if line.startswith("Data Docs, samples")
    ]
    with urllib.request.urlopen(page) as answer:
        assert b"Great Expectations" in answer.read()


def test_the_commands(stack, receiver, tmp_path):
    def run(*arguments, channels=(receiver.url,)):
        environment = {**os.environ, "INFLUCODER_ALERTS__CHANNELS": json.dumps(channels)}
        environment["INFLUCODER_STORE__PREFIX"] = "tests/alert-commands"
        return subprocess.run(
            [COMMAND, "alerts", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    for name in ("test", "list", "deliver"):
        assert "Example" in run(name, "--help").stdout
    assert "json: the message was taken" in run("test").stdout
    done = run("test", channels=(receiver.url, f"slack://{TOKEN}", "nonsense"))
    assert done.returncode == 1
    assert "json: the message was taken" in done.stdout
    assert "can't read the URL of 'slack'" in done.stdout
    assert "did not reach slack, channel." in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "no channel is set" in run("deliver", channels=()).stderr
    store = ObjectStore(load_settings().store.model_copy(update={"prefix": "tests/alert-commands"}))
    Outbox(store).post(drifted(), ("json",))
    assert "1 messages delivered" in run("deliver").stdout
    listed = run("list").stdout
    assert "encoder 1" in listed
    assert drifted().id in run("list", "--json").stdout
    assert drifted().id not in run("list", "--json", "--waiting").stdout
