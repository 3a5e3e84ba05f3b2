"""Retraining against lost, doubled and disordered events, two runs at once, a run that was asleep, and kill -9."""

import os
import signal
import time
from datetime import datetime, timedelta

import pytest

from faults import seen
from faults.conftest import with_champion
from influcoder.core.provenance import now
from monitoring.checks.findings import Verdict
from monitoring.checks.record import load_check, save_check
from monitoring.loop.retraining import LEASE, Phase, RetrainingSlot

pytestmark = pytest.mark.long

LEASE_SECONDS = 3
# What is tried here is who does the work and how often, not how rarely it may be done.
LIMITS = {"LEASE_SECONDS": LEASE_SECONDS, "COOLDOWN_HOURS": 0, "PER_WEEK": 100, "ATTEMPTS": 100}
ENV = {f"INFLUCODER_RETRAINING__{name}": str(value) for name, value in LIMITS.items()}
RECORD, VERSION = "put retrainings/*.json", "POST /api/2.0/mlflow/model-versions/create"


@pytest.fixture(scope="module")
def loop(forge):
    """A place with a champion and a check of it; each test goes on from where the one before it left the loop."""
    place = with_champion(forge, "loop")
    return place, forge.done("check", place)


def decision(loop, hours=0.0):
    """The check as a drift of the champion, so many hours ago: the verdict alone is not what was measured."""
    place, check_id = loop
    found, champion = load_check(place.store, check_id), place.registry.version("champion")
    judgement = found.judgement.model_copy(update={"verdict": Verdict.DRIFT})
    created = (datetime.fromisoformat(now()) - timedelta(hours=hours)).isoformat()
    changes = {"id": "", "created": created, "judgement": judgement, "encoder_version": champion.version}
    return save_check(place.store, found.model_copy(update=changes), b"", b"").id


def numbers(place):
    return [version.version for version in place.registry.versions()]


def answered_once(place, check_id, before):
    """One answer, one version more than before, and journal and alias that agree."""
    record = RetrainingSlot(place.store, check_id).record
    assert record is not None
    assert record.phase is Phase.ANSWERED, record
    assert seen.versions(place) == [*before, record.version]
    state = seen.champions(place)
    assert (state.recorded, state.problem, state.unfinished) == (state.pointed, "", None)
    about = [entry for entry in state.entries if entry.evidence.get("retraining") == check_id]
    assert [entry.version for entry in about] == [record.version]
    assert record.promoted == (state.pointed == record.version)
    return record


def lease_ran_out(place):
    while place.store.exists(LEASE) and place.store.age(LEASE) < LEASE_SECONDS:
        time.sleep(0.1)


def test_two_retrainings_at_once_and_an_event_that_comes_twice(forge, loop):
    place, _ = loop
    check_id, before = decision(loop), numbers(place)
    first = forge.begin("retrain", place, hold=("put labelsets/*/manifest.json", 1), env=ENV, check_id=check_id)
    first.wait_until_held()
    second = forge.run("retrain", place, env=ENV, check_id=check_id)
    assert (second.result, second.error, second.writes) == (False, "", ())
    swept = forge.run("sweep", place, env=ENV)
    assert not swept.error
    assert first.go_on().result is True
    record = answered_once(place, check_id, before)
    doubled = forge.run("retrain", place, env=ENV, check_id=check_id)
    assert doubled.result is False
    assert [write for write in doubled.writes if LEASE not in write] == []
    assert RetrainingSlot(place.store, check_id).record == record
    assert answered_once(place, check_id, before).runs == 1


def test_a_run_that_was_asleep_finds_its_work_taken_over(forge, loop):
    place, _ = loop
    check_id, before = decision(loop), numbers(place)
    asleep = forge.begin("retrain", place, hold=("put labelsets/*/manifest.json", 1), env=ENV, check_id=check_id)
    asleep.wait_until_held()
    os.kill(asleep.pid, signal.SIGSTOP)
    lease_ran_out(place)
    assert forge.done("retrain", place, env=ENV, check_id=check_id) is True
    record = answered_once(place, check_id, before)
    os.kill(asleep.pid, signal.SIGCONT)
    woken = asleep.go_on()
    assert (woken.result, woken.error) == (False, "")
    assert not [write for write in woken.writes if VERSION in write]
    assert answered_once(place, check_id, before) == record


def test_events_that_are_lost_late_or_out_of_order(forge, loop):
    place, _ = loop
    before, late, old = numbers(place), decision(loop, hours=30), decision(loop)
    time.sleep(1)
    newest = decision(loop)
    unknown = forge.run("retrain", place, env=ENV, check_id="0123456789abcdef0123")
    assert unknown.kind == "IntegrityError"
    for check_id in (old, late):
        assert forge.done("retrain", place, env=ENV, check_id=check_id) is False
        assert RetrainingSlot(place.store, check_id).record.phase is Phase.REFUSED
    assert f"check {newest}" in RetrainingSlot(place.store, old).record.reason
    assert numbers(place) == before
    assert forge.done("sweep", place, env=ENV)[newest].startswith("answered")
    answered_once(place, newest, before)
    assert forge.done("sweep", place, env=ENV) == {}


def test_retrain_killed_at_every_write_of_its_own(forge, loop):
    place, _ = loop
    check_id, before = decision(loop), numbers(place)
    points = [
        0,
        ("put control/retraining.json", 1),
        (RECORD, 1),
        ("put labelsets/*/manifest.json", 1),
        (RECORD, 2),
        (VERSION, 1),
        (RECORD, 2),
        ("put promotions/MODEL/N.json", 1),
        ("put journal/MODEL/N.json", 1),
        ("put promotions/MODEL/N.json", 1),
        (RECORD, 2),
    ]
    for point in points:
        lease_ran_out(place)
        assert forge.run("retrain", place, kill=point, env=ENV, check_id=check_id).killed, point
        seen.lineage(place)
        seen.stored(place)
    lease_ran_out(place)
    assert not forge.run("sweep", place, env=ENV).error
    record = answered_once(place, check_id, before)
    assert record.promoted
    assert len(seen.open_runs(place)) <= 1, "the next training closes the run that was killed"
