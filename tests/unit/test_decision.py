import json
from dataclasses import replace

import numpy as np
import pytest

from influcoder.settings.loop import DriftSettings
from influcoder.statistics.agreement import agreement
from monitoring.checks.decision import judge_drift, with_probe
from monitoring.checks.findings import Judgement, Shift, Verdict
from monitoring.checks.sequential_test import Observation, SequentialTest

SETTINGS = DriftSettings()
PROMOTED = Observation(0.40, 0.03, 250, 249, "promotion")


def look(mean, error=0.035, queries=150, day=0):
    return Observation(mean, error, queries, queries - 1, f"day {day}")


def verdicts(looks, settings=SETTINGS, promoted=PROMOTED):
    return [judge_drift(promoted, looks[: n + 1], settings) for n in range(len(looks))]


@pytest.mark.parametrize(
    ("looks", "verdict", "reason"),
    [
        ([look(0.39)], Verdict.OK, "no fall that matters"),
        ([look(0.55)], Verdict.OK, "no fall that matters"),
        ([look(0.10)], Verdict.DRIFT, "beyond chance and the margin"),
        ([look(0.26)], Verdict.WARN, "chance may still explain it"),
        ([*[look(0.4, 0.02)] * 60, *[look(0.37, 0.01)] * 40], Verdict.WARN, "but within the margin"),
        ([look(0.10, queries=14)], Verdict.INSUFFICIENT, "14 usable queries are fewer than the 15"),
        ([look(0.30, error=0.15)], Verdict.INSUFFICIENT, "could not show the loss of all agreement (0.40)"),
        ([look(0.30, error=float("nan"))], Verdict.INSUFFICIENT, "no standard error"),
        ([look(float("nan"), queries=0)], Verdict.INSUFFICIENT, "0 usable queries"),
    ],
    ids=["equal", "better", "fallen", "fallen perhaps", "fallen a little", "few queries", "wide", "no error", "none"],
)
def test_verdict_follows_the_evidence(looks, verdict, reason):
    found = judge_drift(PROMOTED, looks, SETTINGS)
    assert found.verdict is verdict, found
    assert reason in found.reason


def test_a_judgement_carries_its_evidence():
    found = judge_drift(PROMOTED, [look(0.4), look(0.10, day=1)], SETTINGS)
    assert found.verdict is Verdict.DRIFT
    assert found.e_value > 100
    assert found.lo <= found.change <= found.hi < 0
    assert found.change == pytest.approx(-0.3, abs=0.06)
    assert (found.checks, found.since, found.recovery) == (2, "day 1", 1.0)
    assert f"{found.change:+.3f}" in found.reason
    assert "over 2 checks" in found.reason


def test_small_falls_add_up_where_no_single_check_shows_them():
    looks = [look(0.4, day=day) for day in range(10)] + [look(0.31, day=day) for day in range(10, 22)]
    alone = [judge_drift(PROMOTED, [item], SETTINGS).verdict for item in looks]
    assert set(alone) == {Verdict.OK}
    together = verdicts(looks)
    assert {found.verdict for found in together[:10]} == {Verdict.OK}
    assert together[-1].verdict is Verdict.DRIFT
    assert together[-1].since in ("day 9", "day 10", "day 11")


def test_a_drift_lasts_until_there_is_evidence_of_recovery():
    looks = [*[look(0.4)] * 5, look(0.1), look(0.1), look(0.37), *[look(0.42, 0.02)] * 30]
    found = verdicts(looks)
    assert [item.verdict for item in found[5:8]] == [Verdict.DRIFT] * 3
    assert "the drift lasts" in found[7].reason
    assert max(found[6].recovery, found[7].recovery) < 1, "one check that is nearly back is no evidence yet"
    assert found[8].recovery > found[7].recovery
    over = next(n for n, item in enumerate(found) if n > 7 and item.verdict is not Verdict.DRIFT)
    assert found[over].verdict is Verdict.OK
    assert "the drift is over" in found[over].reason
    assert found[over].recovery >= 20
    assert {item.verdict for item in found[over:]} == {Verdict.OK}
    again = judge_drift(PROMOTED, [*looks, look(0.1)], SETTINGS)
    assert again.verdict is Verdict.DRIFT, "a second fall is found as the first was"


def test_a_lasting_fall_never_recovers():
    found = verdicts([look(0.1), *[look(0.12)] * 30])
    assert {item.verdict for item in found} == {Verdict.DRIFT}
    assert found[-1].recovery < 1


def test_the_margin_decides_what_matters():
    looks = [*[look(0.4)] * 20, *[look(0.30, 0.01)] * 10]
    assert judge_drift(PROMOTED, looks, SETTINGS).verdict is Verdict.DRIFT
    assert judge_drift(PROMOTED, looks, replace_settings(margin=0.15)).verdict is Verdict.WARN


def test_checks_that_say_nothing_change_nothing():
    looks = [look(0.4), look(0.05, queries=3), look(float("nan"), queries=0), look(0.39)]
    with_them, without = judge_drift(PROMOTED, looks, SETTINGS), judge_drift(PROMOTED, [looks[0], looks[3]], SETTINGS)
    assert with_them == without


def test_more_error_is_less_evidence():
    values = [judge_drift(PROMOTED, [look(0.2, error)], SETTINGS).e_value for error in (0.02, 0.04, 0.06)]
    assert values == sorted(values, reverse=True)
    few = replace(look(0.2), queries=16, candidates=16)
    assert judge_drift(PROMOTED, [few], SETTINGS).e_value < judge_drift(PROMOTED, [look(0.2)], SETTINGS).e_value


def test_a_look_rests_on_the_bootstrap():
    generator = np.random.default_rng(0)
    labels = generator.normal(size=(60, 90))
    found = agreement(labels + generator.normal(size=labels.shape), labels)
    taken = Observation.of(found)
    assert (taken.mean, taken.queries, taken.candidates) == (found.rho.value, 60, 90)
    assert 3.6 < (found.rho.hi - found.rho.lo) / taken.error < 4.2
    scores = np.ones_like(labels)
    assert not Observation.of(agreement(scores, labels)).usable(15)


def test_the_course_is_the_same_told_at_once_or_look_by_look():
    looks = [look(0.4), look(0.15), look(0.1), look(0.42), look(0.4)]
    course = SequentialTest.of(PROMOTED, looks[:2], SETTINGS)
    for item in looks[2:]:
        course.follow(item)
    whole = SequentialTest.of(PROMOTED, looks, SETTINGS)
    assert (course.log_evidence, course.log_recovery, course.fallen) == (
        whole.log_evidence,
        whole.log_recovery,
        whole.fallen,
    )


def test_a_judgement_of_an_earlier_version_can_be_read():
    old = {"verdict": "ok", "reason": "no fall that matters", "change": 0.01, "lo": -0.1, "hi": 0.1}
    found = Judgement.model_validate_json(json.dumps(old))
    assert (found.e_value, found.checks, found.since) == (None, None, None)


def replace_settings(**changes):
    return SETTINGS.model_copy(update=changes)


def probe(value, hi):
    figure = {"value": value, "lo": 2 * value - hi, "hi": hi, "queries": 24}
    return Shift(then=figure, now=figure, change=figure, samples=0, seconds=0.0)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (probe(-0.12, -0.03), Verdict.WARN),
        (probe(-0.12, 0.01), Verdict.OK),
        (probe(-0.03, -0.01), Verdict.OK),
        (probe(0.12, 0.20), Verdict.OK),
        (probe(float("nan"), float("nan")), Verdict.OK),
        (None, Verdict.OK),
    ],
    ids=["fell", "fell perhaps", "fell within the margin", "rose", "unknown", "not measured"],
)
def test_a_fall_on_the_fixed_probe_is_worth_a_warning(found, verdict):
    sound = judge_drift(PROMOTED, [look(0.4)], SETTINGS)
    assert with_probe(sound, found, SETTINGS.margin).verdict is verdict


@pytest.mark.parametrize("looks", [[look(0.10)], [look(0.26)], [look(0.10, queries=14)]])
def test_a_probe_changes_no_other_verdict(looks):
    found = judge_drift(PROMOTED, looks, SETTINGS)
    assert with_probe(found, probe(-0.5, -0.4), SETTINGS.margin) is found
