"""What a report of a check shows, and what a version's evidence tells a check, new or as older runs hold it."""

import json

import numpy as np
import pytest

from influcoder.registry.encoder_version import Evidence
from influcoder.statistics.agreement import agreement
from monitoring.checks.baselines import BM25, SURFACE, UNTRAINED, Floor, bounds_of
from monitoring.checks.history import recorded_observation
from monitoring.checks.record import figures
from monitoring.checks.sequential_test import Observation
from monitoring.reports.report import agreement_report, values_of

LABELS = np.random.default_rng(0).normal(size=(12, 20))


def ranking(noise):
    return agreement(LABELS + noise * np.random.default_rng(1).normal(size=LABELS.shape), LABELS)


@pytest.mark.parametrize(("least", "passed"), [(0.1, "SUCCESS"), (0.99, "FAIL")])
def test_a_report_shows_the_figures_of_the_record(least, passed):
    found, before = ranking(1.0), ranking(0.5)
    bounds = bounds_of(found, Floor({UNTRAINED: ranking(9.0), BM25: ranking(5.0), SURFACE: ranking(7.0)}), None)
    values = values_of(figures(found), bounds, {"labelled": 30.0})
    report = json.loads(agreement_report(values, values_of(figures(before)), bounds.floor, least, {}).json)
    shown = {
        item["metric_name"].split("figure=")[1].split(",")[0].rstrip(")"): item["value"] for item in report["metrics"]
    }
    assert shown == pytest.approx(values)
    assert shown["rho_lo"] == pytest.approx(found.rho.lo)
    tests = {item["description"]: item["status"] for item in report["tests"]}
    assert len(tests) == 3
    assert next(iter(tests.values())) == passed


def test_evidence_is_the_look_that_checks_compare_with():
    found = ranking(1.0)
    kept = Evidence({"encoder": figures(found), "untrained": figures(ranking(9.0))}, found.candidates)
    assert recorded_observation(kept.figures["encoder"]["rho"], kept.candidates) == Observation.of(found)


def test_evidence_of_older_runs_holds_pairs():
    found = ranking(1.0)
    pairs = {"query": ["a"] * 20 + ["b"] * 19, "candidate": [], "score": [], "label": []}
    older = {"figures": {"encoder": figures(found)}, "per_query": [0.1, None], "pairs": pairs}
    assert Evidence.read(older) == Evidence(older["figures"], 20)
