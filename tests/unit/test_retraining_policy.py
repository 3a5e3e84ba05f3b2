import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.settings.loop import DriftSettings, RetrainingSettings
from monitoring.checks.findings import Judgement, Verdict
from monitoring.checks.record import Check
from monitoring.loop.retraining import Phase, Retraining
from monitoring.loop.retraining_policy import Situation, may_retrain

START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = RetrainingSettings(cooldown_hours=5, per_week=4, attempts=3)
DRIFT = DriftSettings(fresh_for_hours=24)


def stamp(hours):
    return (START + timedelta(hours=hours)).isoformat()


def decision(name, hours, verdict=Verdict.DRIFT, encoder="1", decoder="d"):
    judgement = Judgement(verdict=verdict, reason="", change=-0.1, lo=-0.2, hi=-0.05)
    return Check(
        id=name, encoder_version=encoder, encoder_decoder="d", decoder=decoder, decoder_uri="", corpus_uri="",
        spot_label_set="", figures={}, untrained={}, judgement=judgement, created=stamp(hours),
    )  # fmt: skip


def record(name, phase, hours=0, **values):
    defaults = {"runs": 1, "started": stamp(hours), "created": stamp(hours)}
    return Retraining(check_id=name, phase=phase, **{**defaults, **values})


def ruled(check, known=None, hours=1, **situation):
    situation = {"champion": "1", **situation}
    return may_retrain(check, known, Situation(**situation), DRIFT, LIMITS, START + timedelta(hours=hours))


def test_a_fresh_drift_of_the_champion_starts():
    assert ruled(decision("a", 0)).goes


@pytest.mark.parametrize(
    ("check", "situation", "words"),
    [
        (decision("a", 0, Verdict.WARN), {}, "verdict is warn"),
        (decision("a", 0, encoder="2"), {}, "the champion is 1"),
        (decision("a", 0), {"champion": None}, "the champion is none"),
        (decision("a", 0), {"moved": stamp(1)}, "after the decision"),
        (decision("a", 0), {"imported": True}, "import-scores"),
        (decision("a", -30), {}, "24 hours old"),
        (decision("a", 0), {"checks": [decision("b", 1)]}, "check b .* newer"),
        (decision("a", 0), {"checks": [decision("b", 1, Verdict.OK)]}, "says ok"),
    ],
)
def test_a_void_decision_is_refused_for_ever(check, situation, words):
    found = ruled(check, **situation)
    assert found.phase is Phase.REFUSED
    assert re.search(words, found.reason), found.reason


@pytest.mark.parametrize("verdict", [Verdict.WARN, Verdict.INSUFFICIENT])
def test_a_newer_check_that_says_nothing_takes_no_place(verdict):
    assert ruled(decision("a", 0), checks=[decision("b", 1, verdict)]).goes


@pytest.mark.parametrize(
    ("others", "hours", "words"),
    [
        ([record("b", Phase.RUNNING)], 1, "not finished"),
        ([record("b", Phase.WAITING, version="7")], 1, "version 7 waits"),
        ([record("b", Phase.ANSWERED, hours=0)], 4.9, "cools down until 2026-01-01 05:00"),
        ([record(str(n), Phase.ANSWERED, hours=-6 - n) for n in range(4)], 1, "4 retrainings began"),
        ([record("b", Phase.ANSWERED, hours=-9, seconds=50 * 3600.0)], 1, "50.0 hours were spent"),
    ],
)
def test_limits_put_a_decision_off(others, hours, words):
    found = ruled(decision("a", 0), hours=hours, others=others)
    assert (found.phase, words in found.reason) == (Phase.DEFERRED, True), found.reason
    assert ruled(decision("a", 0), record("a", Phase.RUNNING), hours, others=others).goes, "what was begun is finished"


@pytest.mark.parametrize(
    "others",
    [
        [record("b", Phase.ANSWERED, hours=0)],
        [record("b", Phase.REFUSED, hours=4.5), record("c", Phase.DEFERRED, hours=4.5, runs=0, started="")],
        [record(str(n), Phase.ANSWERED, hours=-8 * 24 - n) for n in range(9)],
    ],
)
def test_limits_end(others):
    assert ruled(decision("a", 0), hours=5, others=others).goes


def test_the_breaker_stops_what_was_begun_too():
    assert ruled(decision("a", 0), record("a", Phase.RUNNING), degraded="open").phase is Phase.DEFERRED


def test_what_was_begun_is_given_up_after_so_many_runs_and_when_the_decoder_moves_on():
    assert ruled(decision("a", 0), record("a", Phase.RUNNING, runs=2), hours=99).goes
    assert ruled(decision("a", 0), record("a", Phase.RUNNING, runs=3)).phase is Phase.REFUSED
    newer = [decision("b", 1), decision("c", 1, decoder="e")]
    assert ruled(decision("a", 0), record("a", Phase.RUNNING), checks=newer[:1]).goes
    assert ruled(decision("a", 0), record("a", Phase.RUNNING), checks=newer).phase is Phase.REFUSED


def test_a_promotion_that_was_not_noted_is():
    assert ruled(decision("a", 0), record("a", Phase.RUNNING, version="2"), champion="2", moved=stamp(1)).goes


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("check"), st.sampled_from([Verdict.DRIFT, Verdict.DRIFT, Verdict.OK, Verdict.WARN])),
        st.tuples(st.just("event"), st.integers(0, 5)),
        st.tuples(st.just("killed"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("sweep"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 6, 30])),
    ),
    max_size=30,
)


class Loop:
    """The rules as the flows follow them: events in any order, runs that are killed before any of their steps."""

    def __init__(self):
        self.hours, self.champion, self.moved = 0.0, 1, stamp(-9)
        self.checks, self.records, self.paid, self.began = [], {}, [], []

    def check(self, verdict):
        self.hours += 0.01
        self.checks.append(decision(f"c{len(self.checks)}", self.hours, verdict, str(self.champion)))

    def answer(self, number, steps=4, passes=False):
        if number >= len(self.checks):
            return
        check = self.checks[number]
        known = self.records.get(check.id)
        others = [found for name, found in self.records.items() if name != check.id]
        situation = {"champion": str(self.champion), "moved": self.moved, "checks": self.checks, "others": others}
        found = ruled(check, known, self.hours, **situation)
        if not found.goes:
            self.records[check.id] = known or record(check.id, found.phase, self.hours, runs=0, started="")
            if known and not known.phase.is_final:
                self.records[check.id] = known.model_copy(update={"phase": found.phase})
            return
        if not (known and known.runs):
            self.began.append((self.hours, check.id))
            known = record(check.id, Phase.RUNNING, self.hours, runs=0)
        self.work(check.id, known.model_copy(update={"phase": Phase.RUNNING, "runs": known.runs + 1}), steps, passes)

    def work(self, name, known, steps, passes):
        self.records[name] = known
        for step in ("label_set", "version")[:steps]:
            if not getattr(known, step):
                self.paid.append((name, step))
                known = self.records[name] = known.model_copy(update={step: "2"})
        if steps >= 3 and passes:
            self.champion, self.moved = self.champion + 1, stamp(self.hours)
        if steps >= 4:
            self.records[name] = known.model_copy(update={"phase": Phase.ANSWERED, "created": stamp(self.hours)})


@given(STEPS)
def test_whatever_happens_to_events_and_runs_nothing_is_paid_twice(steps):
    loop = Loop()
    for kind, *values in steps:
        if kind == "check":
            loop.check(*values)
        elif kind == "wait":
            loop.hours += values[0]
        elif kind == "sweep":
            for number in range(len(loop.checks)):
                loop.answer(number, passes=values[0])
        else:
            loop.answer(*values)
    assert len(loop.paid) == len(set(loop.paid)), "each step of a decision once"
    # Only one that was given up needs no time to cool down.
    gaps = [(later[0] - hours, name) for (hours, name), later in pairwise(loop.began)]
    assert [name for gap, name in gaps if gap < 5 and loop.records[name].phase is not Phase.REFUSED] == []
    running = [r for r in loop.records.values() if r.phase is Phase.RUNNING]
    assert len(running) <= 1, "one retraining at a time"
    # Whatever is open is closed by sweeps alone, once the clock has gone on.
    for hours in (30, 30, 30, 30):
        loop.hours += hours
        for number in range(len(loop.checks)):
            loop.answer(number)
    drifts = [check.id for check in loop.checks if check.verdict is Verdict.DRIFT]
    assert all(loop.records[name].phase.is_final for name in drifts)
