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
from monitoring.floor import Bounds
from monitoring.metrics import BOUNDS, FIGURES, RankAgreement

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
    current: pd.DataFrame, reference: pd.DataFrame | None, bounds: Bounds, least: float, metadata: dict[str, str]
) -> RenderedReport:
    """An Evidently report with tests on the mean per-query ρ and on its lift over the floor.

    Args:
        current: pairs of the spot labels with what the floor scores, see `pairs_frame`.
        reference: pairs of the label set that the encoder was promoted on, None where there is none.
        bounds: floor and ceiling on the same spot labels; the champion must be above the floor.
        least: the ρ below which the fall exceeds the margin.
        metadata: what the report is about.
    """
    tests = {
        "rho": [gte(round(least, 4), alias="within the margin")],
        "lift": [gte(0.0, alias=f"above the floor ({bounds.floor})")],
        "lift_lo": [gte(0.0, alias="above the floor beyond chance")],
    }
    known = [name for name in (*FIGURES, *BOUNDS) if name != "ceiling" or bounds.ceiling]
    metrics: list[Any] = [RankAgreement(figure=name, tests=tests.get(name, [])) for name in known]
    if bounds.ceiling:
        current = current.assign(ceiling=bounds.ceiling["value"])
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
                _series("ceiling of the labels", "ceiling"),
                _series("95 % interval, high", "rho_hi"),
                _series("mean per-query ρ", "rho"),
                _series("95 % interval, low", "rho_lo"),
                _series("floor", "floor"),
            ],
            "Mean per-query Spearman ρ of the champion on fresh spot labels, between floor and ceiling",
        )
    )
    project.dashboard.add_panel(
        line_plot_panel(
            "Lift over the floor",
            [
                _series("95 % interval, high", "lift_hi"),
                _series("lift of ρ", "lift"),
                _series("95 % interval, low", "lift_lo"),
            ],
            "ρ above the best of untrained encoder, BM25, and length and format, on the same pairs",
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
