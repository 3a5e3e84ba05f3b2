"""The Evidently UI as checks fill it, and how long their reports stay."""

from datetime import UTC, datetime, timedelta

import pytest
from evidently.sdk.panels import text_panel
from evidently.ui.workspace import RemoteWorkspace

from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.buying import Batch, Ledger
from monitoring.checks.findings import Judgement, Verdict
from monitoring.checks.record import Check, checks, expire_reports, facts, save_check
from monitoring.reports import dashboard
from monitoring.reports.report import recorded_report, values_of

START = datetime(2026, 11, 1, 5, tzinfo=UTC)
VERDICTS = [Verdict.OK, Verdict.OK, Verdict.WARN, Verdict.DRIFT, Verdict.OK]


def check(day, verdict):
    batch = Batch(queries=20, candidates=30, labelled=40 + day, cached=10, seconds=3.5)
    figure = {"value": 0.5 - day / 20, "lo": 0.4, "hi": 0.6, "queries": 20}
    return Check(
        encoder_version="1",
        encoder_decoder="d" * 64,
        decoder="d" * 64,
        decoder_uri="tiny",
        corpus_uri="pool",
        spot_label_set="s" * 20,
        figures={"rho": figure, "tau": figure},
        untrained={"rho": figure},
        judgement=Judgement(verdict=verdict, reason="so", change=-0.1, lo=-0.2, hi=0.0, e_value=10.0 ** (day - 1)),
        created=(START + timedelta(days=day)).isoformat(),
        spent=Ledger(batches=(batch,), seconds=3.5, cost=None, stopped="clear"),
    )


@pytest.fixture
def project(evidently, monkeypatch):
    """A project of the test's own, and the client that sees it."""
    monkeypatch.setattr(dashboard, "PROJECT", "dashboard test")
    workspace = RemoteWorkspace(evidently)
    yield lambda: (workspace, workspace.search_project("dashboard test")[0])
    for found in workspace.search_project("dashboard test"):
        workspace.delete_project(found.id)


def shown(workspace, project, title):
    """What a panel of the project shows, as the page asks for it: values of each line, oldest first."""
    panel = next(panel for panel in project.dashboard.model().panels if panel.title == title)
    wanted = [value.dict(include={"tags", "metadata", "metric", "metric_labels"}) for value in panel.values]
    path = f"/api/v2/snapshots/{project.id}/data_series_batch"
    found = workspace._request(path, "POST", body={"series_filter": wanted}).json()
    order = sorted(range(len(found["sources"])), key=lambda place: found["sources"][place]["timestamp"])
    lines = {panel.values[line["filter_index"]].legend: line["values"] for line in found["series"]}
    padded = {name: values + [None] * (len(order) - len(values)) for name, values in lines.items()}
    return {name: [values[place] for place in order] for name, values in padded.items()}


def sent(evidently, keep, days):
    for day in days:
        found = check(day, VERDICTS[day])
        about = {"verdict": str(found.verdict)}
        values = values_of(found.figures, None, facts(found, 0.01))
        report = recorded_report(values, datetime.fromisoformat(found.created), about)
        dashboard.send(evidently, report, keep)


def test_the_newest_reports_stay_and_show_agreement_decisions_and_spend(evidently, project):
    # Not in the order of their days: what stays is told by the time of the check.
    sent(evidently, 3, [1, 0, 2, 4, 3])
    workspace, found = project()
    assert [panel.title for panel in found.dashboard.model().panels] == [p.title for p in dashboard.panels()]
    spend = {"samples labelled": [42, 43, 44], "samples from the cache": [10, 10, 10]}
    assert shown(workspace, found, "Label spend") == spend
    evidence = {"evidence since promotion": [1, 2, 3], "needed for drift": [2, 2, 2]}
    assert shown(workspace, found, "Evidence of a fall") == evidence
    decisions = {"warn": [0.4, None, None], "drift": [None, 0.35, None], "ok": [None, None, 0.3]}
    assert shown(workspace, found, "Decisions") == decisions
    assert shown(workspace, found, "Agreement with exact influence")["mean per-query ρ"] == [0.4, 0.35, 0.3]


def test_past_encoders_have_a_line_each(evidently, project, monkeypatch):
    monkeypatch.setattr(dashboard, "PAST", "dashboard test, past")
    when = [START + timedelta(days=day) for day in (0, 1)]
    past = {
        name: [recorded_report({"rho": rho, "rho_lo": 0.1, "rho_hi": 0.9}, at, {}, encoder=name) for at in when]
        for name, rho in (("1", 0.2), ("2", 0.4))
    }
    assert dashboard.rebuild(evidently, [], past, keep=3) == (0, 4)
    workspace, _ = project()
    [found] = workspace.search_project("dashboard test, past")
    lines = shown(workspace, found, "Agreement of past encoders")
    workspace.delete_project(found.id)
    assert {name: {v for v in values if v is not None} for name, values in lines.items()} == {
        "version 1": {0.2},
        "version 2": {0.4},
    }


def test_a_dashboard_of_an_earlier_version_or_of_a_killed_run_is_mended(evidently, project):
    sent(evidently, 3, [0])
    _, found = project()
    found.dashboard.clear_dashboard()
    found.dashboard.add_panel(text_panel("an old one"))
    sent(evidently, 3, [1])
    workspace, found = project()
    assert [panel.title for panel in found.dashboard.model().panels] == [p.title for p in dashboard.panels()]
    assert len(shown(workspace, found, "Seconds of labelling")["seconds"]) == 2, "reports that are there stay"


def test_pages_of_old_checks_go_and_their_records_stay(stack):
    store = ObjectStore(load_settings().store.model_copy(update={"prefix": "tests/pages"}))
    days = [-200, -91, -2]
    today = datetime.now(UTC) - START
    kept = [save_check(store, check(today.days + day, Verdict.OK), b"<html>", b"{}") for day in days]
    assert expire_reports(store, kept, keep_days=90) == 4
    pages = [key for key in store.keys("checks/") if "/report." in key]
    assert sorted(pages) == [f"checks/{kept[-1].id}/report.{kind}" for kind in ("html", "json")]
    assert checks(store) == sorted(kept, key=lambda found: found.created)
    assert expire_reports(store, kept, keep_days=90) == 0
