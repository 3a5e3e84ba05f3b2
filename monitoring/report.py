"""The Evidently report of a check, and the dashboard that shows agreement over time."""

import os
from dataclasses import dataclass
from typing import Any

import pandas as pd

os.environ.setdefault("DO_NOT_TRACK", "1")

from evidently import Dataset, Report
from evidently.core.report import Snapshot
from evidently.sdk.models import PanelMetric
from evidently.sdk.panels import bar_plot_panel, line_plot_panel
from evidently.tests import gte
from evidently.ui.workspace import RemoteWorkspace

from influcoder.errors import ServiceError
from monitoring.metrics import FIGURES, RankAgreement

PROJECT = "Influcoder: agreement of the champion"


@dataclass(frozen=True)
class RenderedReport:
    """A report in the forms that it is kept in.

    Args:
        html: a page that stands for itself.
        json: metrics and test results.
        snapshot: what a workspace takes.
    """

    html: bytes
    json: bytes
    snapshot: Snapshot


def agreement_report(
    current: pd.DataFrame, reference: pd.DataFrame | None, floor: float, least: float, metadata: dict[str, str]
) -> RenderedReport:
    """An Evidently report with two tests on the mean per-query ρ.

    Args:
        current: pairs of the spot labels, see `pairs_frame`.
        reference: pairs of the label set that the encoder was promoted on, None where there is none.
        floor: ρ of the untrained encoder on the same spot labels; the champion must be above it.
        least: the ρ below which the fall exceeds the margin.
        metadata: what the report is about.
    """
    tests = [gte(round(floor, 4), alias="above the untrained encoder"), gte(round(least, 4), alias="within the margin")]
    metrics: list[Any] = [RankAgreement(figure="rho", tests=tests)]
    metrics += [RankAgreement(figure=name, tests=[]) for name in FIGURES if name != "rho"]
    report = Report(metrics, metadata=dict(metadata), include_tests=True)
    snapshot = report.run(Dataset.from_pandas(current), None if reference is None else Dataset.from_pandas(reference))
    return RenderedReport(snapshot.get_html_str(as_iframe=False).encode(), snapshot.json().encode(), snapshot)


def send(url: str, report: RenderedReport) -> str:
    """Add a report to the Evidently UI, making project and dashboard on the first call.

    Returns:
        the report's page.
    Raises:
        ServiceError: the UI does not answer.
    """
    try:
        workspace = RemoteWorkspace(url)
        found = workspace.search_project(PROJECT)
        project = found[0] if found else _create(workspace)
        return str(workspace.add_run(project.id, report.snapshot).url)
    except Exception as error:
        # The client lets errors of several HTTP libraries through; a report must not stop a check.
        raise ServiceError(f"the Evidently UI at {url} did not take the report: {error}") from error


def _create(workspace: RemoteWorkspace) -> Any:
    project = workspace.create_project(PROJECT, "Spot checks against exact influence, one report each.")
    project.dashboard.add_panel(
        line_plot_panel(
            "Agreement with exact influence",
            [
                _series("95 % interval, high", "rho_hi"),
                _series("mean per-query ρ", "rho"),
                _series("95 % interval, low", "rho_lo"),
            ],
            "Mean per-query Spearman ρ of the champion on fresh spot labels",
        )
    )
    project.dashboard.add_panel(
        line_plot_panel(
            "The other figures",
            [
                _series("Kendall τ-b", "tau"),
                _series("precision of the top", "precision"),
                _series("NDCG of the top", "ndcg"),
            ],
            "On the same spot labels",
            size="half",
        )
    )
    project.dashboard.add_panel(
        bar_plot_panel(
            "Aggregated ρ", [_series("aggregated ρ", "aggregated_rho")], "It flatters: read it second", size="half"
        )
    )
    return project


def _series(legend: str, figure: str) -> PanelMetric:
    return PanelMetric(legend=legend, metric="RankAgreement", metric_labels={"figure": figure})
