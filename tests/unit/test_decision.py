import numpy as np
import pytest

from influcoder.agreement import agreement
from monitoring.decision import Verdict, judge_drift

MARGIN = 0.05


def ranked(noise, queries, candidates=200, seed=0):
    """Agreement of scores that follow the labels up to noise: ρ is about 0.86 at 0.5, 0.69 at 1, 0.43 at 2."""
    generator = np.random.default_rng(seed)
    labels = generator.normal(size=(queries, candidates))
    return agreement(labels + noise * generator.normal(size=labels.shape), labels, resamples=400)


def with_holes(found_queries, holes):
    """A ranking some of whose queries have no order at all."""
    generator = np.random.default_rng(5)
    labels = generator.normal(size=(found_queries + holes, 60))
    scores = labels + 2 * generator.normal(size=labels.shape)
    scores[found_queries:] = 1.0
    return agreement(scores, labels, resamples=400)


BEFORE = ranked(1.0, 200, seed=1)


@pytest.mark.parametrize(
    ("now", "verdict", "reason"),
    [
        (ranked(1.0, 60, seed=2), Verdict.OK, "no fall that matters"),
        (ranked(0.5, 60), Verdict.OK, "no fall that matters"),
        (ranked(2.0, 60), Verdict.DRIFT, "beyond chance and the margin"),
        (ranked(1.4, 15, candidates=6, seed=8), Verdict.WARN, "chance may explain it"),
        (ranked(1.08, 400, candidates=400), Verdict.WARN, "within the margin"),
        (ranked(9.0, 14), Verdict.INSUFFICIENT, "14 usable queries are fewer than the 15"),
    ],
    ids=["equal", "better", "fallen", "fallen perhaps", "fallen a little", "few queries"],
)
def test_verdict_follows_the_evidence(now, verdict, reason):
    judgement = judge_drift(now, BEFORE, MARGIN, min_queries=15)
    assert judgement.verdict is verdict, judgement
    assert reason in judgement.reason
    assert judgement.change == pytest.approx(now.rho.value - BEFORE.rho.value)
    assert judgement.lo <= judgement.change <= judgement.hi


@pytest.mark.parametrize("side", ["now", "before"])
def test_queries_without_order_are_no_evidence(side):
    few = with_holes(14, 30)
    evidence = {"now": ranked(2.0, 60), "before": BEFORE, side: few}
    assert judge_drift(**evidence, margin=MARGIN, min_queries=15).verdict is Verdict.INSUFFICIENT
    enough = {"now": with_holes(40, 30), "before": BEFORE}
    assert judge_drift(**enough, margin=MARGIN, min_queries=15).verdict is Verdict.DRIFT


def test_no_usable_query_at_all_is_insufficient():
    assert judge_drift(with_holes(0, 30), BEFORE, MARGIN, 15).verdict is Verdict.INSUFFICIENT


def test_margin_decides_what_matters():
    now = ranked(1.5, 100)
    fall = BEFORE.rho.value - now.rho.value
    assert judge_drift(now, BEFORE, fall - 0.01, 15).verdict is Verdict.DRIFT
    assert judge_drift(now, BEFORE, fall + 0.01, 15).verdict is Verdict.WARN
