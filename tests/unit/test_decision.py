import numpy as np
import pytest

from monitoring.decision import Verdict, judge_drift

MARGIN = 0.05


def rhos(mean, spread, queries, seed=0):
    """Per-query ρ whose mean and spread are exact, so that a verdict does not hang on the draw."""
    values = np.random.default_rng(seed).normal(size=queries)
    return mean + spread * (values - values.mean()) / values.std()


@pytest.mark.parametrize(
    ("now", "verdict", "reason"),
    [
        (rhos(0.60, 0.1, 60), Verdict.OK, "no fall that matters"),
        (rhos(0.80, 0.1, 60), Verdict.OK, "no fall that matters"),
        (rhos(0.58, 0.2, 60), Verdict.OK, "no fall that matters"),
        (rhos(0.40, 0.1, 60), Verdict.DRIFT, "beyond chance and the margin"),
        (rhos(0.50, 0.4, 15), Verdict.WARN, "chance may explain it"),
        (rhos(0.57, 0.01, 400), Verdict.WARN, "within the margin"),
        (rhos(-0.9, 0.01, 14), Verdict.INSUFFICIENT, "14 usable queries are fewer than the 15"),
    ],
    ids=["equal", "better", "slightly worse", "fallen", "fallen perhaps", "fallen a little", "few queries"],
)
def test_verdict_follows_the_evidence(now, verdict, reason):
    before = rhos(0.60, 0.02, 400, seed=1)
    judgement = judge_drift(now, before, MARGIN, min_queries=15)
    assert judgement.verdict is verdict
    assert reason in judgement.reason
    assert judgement.change == pytest.approx(now.mean() - before.mean())
    assert judgement.lo <= judgement.change <= judgement.hi


def test_undefined_queries_are_ignored():
    now, before = rhos(0.4, 0.1, 30), rhos(0.6, 0.1, 40, seed=1)
    holes = np.full(100, np.nan)
    expected = judge_drift(now, before, MARGIN, 15)
    assert judge_drift(np.concatenate([holes, now]), np.concatenate([before, holes]), MARGIN, 15) == expected


@pytest.mark.parametrize("side", ["now", "before"])
def test_undefined_queries_do_not_count_as_evidence(side):
    evidence = {"now": rhos(0.4, 0.1, 30), "before": rhos(0.6, 0.1, 30, seed=1)}
    evidence[side][14:] = np.nan
    assert judge_drift(**evidence, margin=MARGIN, min_queries=15).verdict is Verdict.INSUFFICIENT
    assert judge_drift(**evidence, margin=MARGIN, min_queries=14).verdict is Verdict.DRIFT


def test_no_usable_query_at_all_is_insufficient():
    judgement = judge_drift(np.full(30, np.nan), rhos(0.6, 0.1, 30), MARGIN, 15)
    assert judgement.verdict is Verdict.INSUFFICIENT


def test_margin_decides_what_matters():
    now, before = rhos(0.5, 0.02, 60), rhos(0.6, 0.02, 60, seed=1)
    assert judge_drift(now, before, 0.09, 15).verdict is Verdict.DRIFT
    assert judge_drift(now, before, 0.11, 15).verdict is Verdict.WARN
