"""The Evidently UI: agreement over time between floor and ceiling, decisions, and what was spent on labels.

It is a view: the records in the store are the truth, and `influcoder backfill --chart` makes it anew from them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evidently.core.report import Snapshot
from evidently.sdk.models import DashboardPanelPlot, PanelMetric
from evidently.sdk.panels import bar_plot_panel, counter_panel, line_plot_panel
from evidently.ui.workspace import RemoteWorkspace

from influcoder.core.errors import ServiceError
from monitoring.checks.findings import Verdict

PROJECT = "Influcoder: agreement of the champion"
PAST = "Influcoder: past encoders on newer labels"


def send(url: str, snapshot: Snapshot, keep: int) -> str:
    """Add a report to the Evidently UI, making project and dashboard where they are not as they should be.

    Args:
        url: the Evidently UI.
        snapshot: the report.
        keep: how many reports stay; the UI reads all of them for each page.
    Returns:
        the report's page.
    Raises:
        ServiceError: the UI does not answer.
    """
    try:
        workspace = RemoteWorkspace(url)
        found = workspace.search_project(PROJECT)
        project = found[0] if found else _create(workspace)
        _lay_out(project)
        page = str(workspace.add_run(project.id, snapshot).url)
        _thin_out(workspace, str(project.id), keep)
        return page
    except Exception as error:
        # The client lets errors of several HTTP libraries through; a report must not stop a check.
        raise ServiceError(f"the Evidently UI at {url} did not take the report: {error}") from error


def rebuild(
    url: str, snapshots: Sequence[Snapshot], past: Mapping[str, Sequence[Snapshot]], keep: int
) -> tuple[int, int]:
    """Make the Evidently UI's projects anew; how many reports each has then.

    Args:
        url: the Evidently UI.
        snapshots: reports of checks, oldest first, for the chart of the champion.
        past: reports of backfills by encoder version, for a chart of their own.
        keep: how many of the newest reports of checks are shown.
    Raises:
        ServiceError: the UI does not answer.
    """
    try:
        workspace, shown = RemoteWorkspace(url), snapshots[-keep:]
        for name in (PROJECT, PAST):
            for project in workspace.search_project(name):
                workspace.delete_project(project.id)
        project = _create(workspace)
        _lay_out(project)
        for snapshot in shown:
            workspace.add_run(project.id, snapshot)
        if past:
            project = workspace.create_project(PAST, "Past encoders on spot labels that are newer than they are.")
            lines = [_series(f"version {version}", "rho", version) for version in past]
            project.dashboard.add_panel(line_plot_panel("Agreement of past encoders", lines, "Mean per-query ρ"))
            for snapshot in (snapshot for group in past.values() for snapshot in group):
                workspace.add_run(project.id, snapshot)
        return len(shown), sum(map(len, past.values()))
    except Exception as error:
        # The client lets errors of several HTTP libraries through.
        raise ServiceError(f"the Evidently UI at {url} could not be rebuilt: {error}") from error


def panels() -> list[DashboardPanelPlot]:
    """The dashboard, from above."""
    return [
        counter_panel(
            "The newest check",
            [
                _series("agreement ρ", "rho"),
                _series("floor", "floor"),
                _series("lift over the floor", "lift"),
                _series("ceiling of the labels", "ceiling"),
            ],
        ),
        line_plot_panel(
            "Agreement with exact influence",
            [
                _series("ceiling of the labels", "ceiling"),
                _series("95 % interval, high", "rho_hi"),
                _series("mean per-query ρ", "rho"),
                _series("95 % interval, low", "rho_lo"),
                _series("floor", "floor"),
            ],
            "Mean per-query Spearman ρ of the champion on fresh spot labels, between floor and ceiling",
        ),
        bar_plot_panel(
            "Decisions",
            [_series(str(verdict), str(verdict)) for verdict in Verdict],
            "ρ of each check, in the colour of its verdict",
            size="half",
            stacked=True,
        ),
        line_plot_panel(
            "Evidence of a fall",
            [_series("needed for drift", "evidence_needed"), _series("evidence since promotion", "evidence")],
            "Powers of ten of the e-value; whoever looks each day may stop at any check",
            size="half",
        ),
        line_plot_panel(
            "Lift over the floor",
            [
                _series("95 % interval, high", "lift_hi"),
                _series("lift of ρ", "lift"),
                _series("95 % interval, low", "lift_lo"),
            ],
            "ρ above the best of untrained encoder, BM25, and length and format, on the same pairs",
            size="half",
        ),
        bar_plot_panel(
            "Label spend",
            [_series("samples labelled", "labelled"), _series("samples from the cache", "cached")],
            "Exact influence bought by each check, until the decision was clear or the budget used up",
            size="half",
            stacked=True,
        ),
        line_plot_panel(
            "The other figures",
            [
                _series("aggregated ρ (it flatters)", "aggregated_rho"),
                _series("Kendall τ-b", "tau"),
                _series("precision of the top", "precision"),
                _series("NDCG of the top", "ndcg"),
            ],
            "On the same spot labels",
            size="half",
        ),
        bar_plot_panel(
            "Seconds of labelling",
            [_series("seconds", "seconds")],
            "Time that the labels of each check took",
            size="half",
        ),
    ]


def _create(workspace: RemoteWorkspace) -> Any:
    return workspace.create_project(PROJECT, "Spot checks against exact influence, one report each.")


def _lay_out(project: Any) -> None:
    """Panels as they should be: an earlier version's are replaced, and so are those of a run that was killed."""
    wanted = panels()
    shown = [(panel.title, len(panel.values)) for panel in project.dashboard.model().panels]
    if shown != [(panel.title, len(panel.values)) for panel in wanted]:
        project.dashboard.clear_dashboard()
        for panel in wanted:
            project.dashboard.add_panel(panel)


def _thin_out(workspace: RemoteWorkspace, project: str, keep: int) -> None:
    """Delete the oldest reports; the client has no words for that yet, and the server has."""
    found = workspace._request(f"/api/projects/{project}/snapshots", "GET").json()
    oldest_first = sorted(found, key=lambda item: (item["timestamp"], item["id"]))
    for item in oldest_first[: max(0, len(oldest_first) - keep)]:
        workspace._request(f"/api/projects/{project}/{item['id']}", "DELETE")


def _series(legend: str, figure: str, encoder: str = "") -> PanelMetric:
    """A line of a panel. The server knows series of one panel by these labels, and not by what a report is about."""
    labels = {"figure": figure, **({"encoder": encoder} if encoder else {})}
    return PanelMetric(legend=legend, metric="RankAgreement", metric_labels=labels)
