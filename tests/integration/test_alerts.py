"""Alerts through a real S3 server to a real mail server and a real HTTP receiver, with deliverers that are killed."""

import os
import signal
import threading
import time
from datetime import UTC, datetime

import pytest
from alert_world import DEAD, PASSWORD, Receiver, at, drifted, post, settings_of, waiting

from flows.alert import notify
from flows.context import Place
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.channel_state import Sent, change_state, state_of
from monitoring.alerts.channels import send
from monitoring.alerts.deliver import deliver
from monitoring.alerts.outbox import Outbox, problems, ways


@pytest.fixture
def store(stack, request):
    return ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{request.node.name}"}))


def test_an_alert_arrives_by_mail_and_by_http_once(store, mail, receiver):
    address = f"mailto://me:{PASSWORD}@127.0.0.1:{mail.port}?from=loop@example.org&to=team@example.org"
    everything = load_settings().model_copy(update={"alerts": settings_of(address, receiver.url)})
    for _ in range(3):
        notify(Place(everything, store, Registry(everything.mlflow)), drifted())
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
    assert state_of(store, "hook").failures == 1
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
from influcoder.settings.alerts import AlertSettings
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.channel_state import Sent, change_state, state_of
from monitoring.alerts.deliver import deliver
store = ObjectStore(load_settings().store.model_copy(update={"prefix": os.environ["PREFIX"]}))
deliver(AlertSettings(channels=({"url": os.environ["URL"], "name": "hook"},), lease_seconds=3), store)
"""


def test_a_deliverer_that_is_killed_between_sending_and_noting_loses_nothing(store, receiver, forks):
    settings = settings_of({"url": receiver.url, "name": "hook"}, lease_seconds=3)
    post(store, settings, drifted(1), drifted(2))
    receiver.delay = 30.0
    environment = {**os.environ, "PREFIX": f"tests/{here()}", "URL": receiver.url}
    victim = forks.begin("-c", KILLED, env=environment)
    assert receiver.started.wait(60)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    receiver.delay = 0.0
    assert deliver(settings, store).delivered == {}, "the lease still holds"
    while store.age("control/alerts/hook.json") < settings.lease_seconds:
        time.sleep(0.1)
    assert len(deliver(settings, store).delivered["hook"]) == 2
    ids = [body["message"].split("Alert ")[1][:16] for body in receiver.bodies]
    assert len(ids) == 3
    assert ids[0] == ids[1], "the message that may have arrived comes again under its id"
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
    assert len(receiver.bodies) == 1, "a digest"
    message = Outbox(store).delivery(drifted(1).id, "hook").message
    store.delete(f"alerts/outbox/{drifted(2).id}/to/hook.json")
    store.put(f"alerts/waiting/hook/{drifted(2).id}", b"")
    deliver(settings, store, at(hours=7))
    assert len(receiver.bodies) == 1
    assert waiting(store) == []
    assert Outbox(store).delivery(drifted(2).id, "hook").message == message


def test_what_a_deliverer_sent_that_was_taken_for_dead_is_noted_all_the_same(store, receiver, monkeypatch):
    """Its lease is taken while it sends: another one notes something else meanwhile, and neither note is lost."""
    settings = settings_of({"url": receiver.url, "name": "hook"})
    post(store, settings, drifted(1), drifted(2))
    other = Sent(at=datetime.now(UTC), topics=("gate: encoder 9",), message="m", alerts=("a",))

    def overtaken(*given):
        change_state(store, "hook", lambda state: state.succeeded(other, settings))
        store.put("control/alerts/hook.json", b'{"owner": "another", "token": "t", "beats": 1}')
        return send(*given)

    monkeypatch.setattr("monitoring.alerts.deliver.send", overtaken)
    done = deliver(settings, store)
    assert len(done.delivered["hook"]) == len(receiver.bodies) == 1, "it stops after the message that it was at"
    assert [sent.message for sent in state_of(store, "hook").sent] == ["m", done.delivered["hook"][0]]


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


def here():
    return os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
