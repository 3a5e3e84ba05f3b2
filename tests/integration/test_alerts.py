"""Alerts through a real S3 server to a real mail server and a real HTTP receiver, with deliverers that are killed."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from flows.alert import alert as alert_flow
from flows.alert import notify
from flows.label import label
from influcoder.alerting import AlertKind, AlertSettings
from influcoder.errors import AlertError, ValidationFailedError
from influcoder.journal import Action, Event, append
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.alerts.alert import Alert, Figure
from monitoring.alerts.channels import channels_for
from monitoring.alerts.deliver import deliver
from monitoring.alerts.lane import LEASE, Lanes
from monitoring.alerts.outbox import Outbox
from monitoring.alerts.overdue import overdue
from monitoring.alerts.state import problems, ways

COMMAND = Path(sys.executable).parent / "influcoder"
TOKEN = "tok3nThatNobodyMaySee"
PASSWORD = "passw0rdThatNobodyMaySee"
DEAD = f"json://user:{PASSWORD}@127.0.0.1:9/{TOKEN}"


class Receiver:
    """An HTTP server that keeps what it is sent, and can be slow, or refuse."""

    def __init__(self, port=0):
        self.bodies, self.status, self.delay = [], 200, 0.0
        self.started = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.bodies.append(json.loads(body))
                receiver.started.set()
                time.sleep(receiver.delay)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"json://user:{PASSWORD}@127.0.0.1:{self.port}/{TOKEN}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Mailbox:
    """A mail server that wants a password and keeps what it is sent."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def mail():
    box = Mailbox()

    def login(server, session, envelope, mechanism, data):
        return AuthResult(success=data.password == PASSWORD.encode())

    server = Controller(box, "127.0.0.1", 0, authenticator=login, auth_require_tls=False)
    server.start()
    box.port = server.server.sockets[0].getsockname()[1]
    yield box
    server.stop()


@pytest.fixture
def store(stack, request):
    return ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{request.node.name}"}))


def settings_of(*channels, **more):
    return AlertSettings(channels=channels, **more)


def drifted(number=1, kind=AlertKind.DRIFT):
    return Alert(
        kind=kind,
        subject=f"encoder {number}",
        occurrence=f"check {number}",
        title=f"encoder {number} drifted",
        what="It no longer ranks like exact influence.",
        figures=(Figure(name="agreement", value=0.412, lo=0.371, hi=0.455),),
        doing="It retrains.",
        todo=("Look: `influcoder status`",),
        links={"Evidently report": "http://127.0.0.1:8000/report?a=1&b=2"},
        created=datetime.now(UTC).replace(microsecond=0).isoformat(),
    )


def post(store, settings, *alerts):
    for one in alerts:
        Outbox(store).post(one, channels_for(one.kind, settings))


def waiting(store):
    return [way.posted.id for way in ways(store) if way.waits_for]


def at(**later):
    return lambda: datetime.now(UTC) + timedelta(**later)


def test_an_alert_arrives_by_mail_and_by_http_once(store, mail, receiver):
    address = f"mailto://me:{PASSWORD}@127.0.0.1:{mail.port}?from=loop@example.org&to=team@example.org"
    everything = load_settings().model_copy(update={"alerts": settings_of(address, receiver.url)})
    for _ in range(3):
        notify(everything, store, drifted())
    (sent,) = receiver.bodies
    assert (sent["title"], sent["type"]) == ("Influcoder: encoder 1 drifted", "warning")
    for words in ("0.412 [0.371, 0.455]", "It retrains.", "influcoder status", "report?a=1&b=2", drifted().id):
        assert words in sent["message"]
    (letter,) = mail.mails
    assert letter["subject"] == "Influcoder: encoder 1 drifted"
    page = letter.get_body(("html",)).get_content()
    assert 'href="http://127.0.0.1:8000/report?a=1&amp;b=2"' in page
    assert drifted().id in letter.get_body(("plain",)).get_content()
    assert [d.outcome for way in ways(store) for d in way.deliveries.values()] == ["delivered", "delivered"]


def test_a_dead_channel_keeps_its_alerts_and_gets_them_later(store, receiver):
    port = receiver.port
    receiver.stop()
    settings = settings_of({"url": receiver.url, "name": "hook"})
    post(store, settings, drifted(1), drifted(2))
    done = deliver(settings, store)
    assert "hook" in done.failed
    lane, _ = Lanes(store).read("hook")
    assert lane.failures == 1
    assert len(waiting(store)) == 2
    (wrong,) = problems(settings, store, ways(store), datetime.now(UTC))
    assert "do not reach channel hook" in wrong
    again = Receiver(port)
    try:
        assert deliver(settings, store).delivered == {}, "the channel is left alone until its time has come"
        assert len(deliver(settings, store, at(minutes=2)).delivered["hook"]) == 2
        assert sorted(body["title"][-9] for body in again.bodies) == ["1", "2"]
    finally:
        again.stop()
    assert waiting(store) == []
    assert list(problems(settings, store, ways(store), datetime.now(UTC))) == []


def test_a_channel_that_stays_dead_is_given_up_loudly_and_the_others_hear_of_it(store, receiver, caplog):
    settings = settings_of({"url": DEAD, "name": "dead"}, {"url": receiver.url, "name": "hook"}, give_up_hours=5)
    post(store, settings, drifted())
    for hours in (0, 2, 4):
        assert deliver(settings, store, at(hours=hours)).given_up == {}
    with caplog.at_level("ERROR"):
        done = deliver(settings, store, at(hours=6))
    assert done.given_up == {"dead": [drifted().id]}
    assert "never reached channel dead" in caplog.text
    deliver(settings, store, at(hours=6, minutes=1))
    assert [body["title"] for body in receiver.bodies][-1] == "Influcoder: channel dead is dead, 1 alerts never arrived"
    assert any("given up" in wrong for wrong in problems(settings, store, ways(store), datetime.now(UTC)))


KILLED = """
import os, sys
from influcoder.alerting import AlertSettings
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.alerts.deliver import deliver
store = ObjectStore(load_settings().store.model_copy(update={"prefix": os.environ["PREFIX"]}))
deliver(AlertSettings(channels=({"url": os.environ["URL"], "name": "hook"},)), store)
"""


def test_a_deliverer_that_is_killed_between_sending_and_noting_loses_nothing(store, receiver):
    settings = settings_of({"url": receiver.url, "name": "hook"})
    post(store, settings, drifted(1), drifted(2))
    receiver.delay = 30.0
    environment = {**os.environ, "PREFIX": f"tests/{here()}", "URL": receiver.url}
    victim = subprocess.Popen([sys.executable, "-c", KILLED], env=environment)
    assert receiver.started.wait(60)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    receiver.delay = 0.0
    lane, _ = Lanes(store).read("hook")
    assert lane.claim is not None
    assert deliver(settings, store).delivered == {}, "the lease still holds"
    done = deliver(settings, store, at(seconds=LEASE.total_seconds() + 1))
    assert len(done.delivered["hook"]) == 2
    ids = [body["message"].split("Alert ")[1][:16] for body in receiver.bodies]
    assert len(ids) == 3
    assert ids[0] == ids[1] == lane.claim.message, "the message that may have arrived comes again under its id"
    assert set(ids) == {drifted(1).id, drifted(2).id}
    assert waiting(store) == []


def test_a_flow_that_is_killed_while_it_raises_an_alert_raises_it_when_it_runs_again(store, receiver):
    settings = settings_of(receiver.url)
    store.put(f"alerts/waiting/json/{drifted().id}", b"")
    assert deliver(settings, store).delivered == {}
    assert ways(store) == []
    post(store, settings, drifted())
    deliver(settings, store)
    store.put(f"alerts/waiting/json/{drifted().id}", b"")
    deliver(settings, store)
    assert len(receiver.bodies) == 1
    assert Outbox(store).waiting("json") == []


def test_a_deliverer_that_is_killed_while_noting_sends_nothing_again(store, receiver):
    settings = settings_of({"url": receiver.url, "name": "hook"}, per_hour=1)
    post(store, settings, drifted(1), drifted(2))
    deliver(settings, store)
    lanes = Lanes(store)
    lane, version = lanes.read("hook")
    assert len(receiver.bodies) == 1, "a digest"
    claim = {"message": Outbox(store).delivery(drifted(1).id, "hook").message, "digest": True, "token": "x"}
    claim |= {"alerts": [drifted(1).id, drifted(2).id], "topics": ["t"], "at": datetime.now(UTC) - LEASE}
    half = lane.model_validate({"claim": claim, "tried": {}})
    store.delete(f"alerts/outbox/{drifted(2).id}/to/hook.json")
    store.put(f"alerts/waiting/hook/{drifted(2).id}", b"")
    assert lanes.swap("hook", half, version)
    deliver(settings, store, at(seconds=1))
    assert len(receiver.bodies) == 1
    assert waiting(store) == []
    assert lanes.read("hook")[0].claim is None


def test_deliverers_at_once_double_nothing(store, receiver):
    settings = settings_of({"url": receiver.url, "name": "hook"}, per_hour=50)
    alerts = [drifted(number) for number in range(1, 9)]
    post(store, settings, *alerts)
    receiver.delay = 0.05
    own = [ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{here()}"})) for _ in range(4)]
    threads = [threading.Thread(target=deliver, args=(settings, each)) for each in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver(settings, store)
    titles = [body["title"] for body in receiver.bodies]
    assert sorted(titles) == sorted(f"Influcoder: {one.title}" for one in alerts)


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


def here():
    return os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
