"""The Evidently report of a check, and the dashboard that shows agreement over time."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
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
from monitoring.metrics import BOUNDS, FIGURES, RECORDED, RankAgreement

PROJECT = "Influcoder: agreement of the champion"
PAST = "Influcoder: past encoders on newer labels"


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


def recorded_report(
    figures: Mapping[str, Mapping[str, float]],
    created: datetime,
    metadata: dict[str, str],
    bounds: Bounds | None = None,
) -> Snapshot:
    """A report of figures that were computed before, as of then.

    Args:
        figures: value, lo and hi by figure, as a record keeps them.
        created: when they were computed.
        metadata: what the report is about.
        bounds: floor, ceiling and lift; None where they were not measured.
    """
    rho, values = figures["rho"], {name: figure["value"] for name, figure in figures.items()}
    values |= {"rho_lo": rho["lo"], "rho_hi": rho["hi"]}
    if bounds is not None:
        lift = bounds.lift
        values |= {"floor": bounds.height, "lift": lift["value"], "lift_lo": lift["lo"], "lift_hi": lift["hi"]}
        values |= {"ceiling": bounds.ceiling["value"]} if bounds.ceiling else {}
    kept = [name for name in (*FIGURES, *BOUNDS) if name in values and np.isfinite(values[name])]
    frame = pd.DataFrame({RECORDED: kept, "value": [values[name] for name in kept]})
    report = Report([RankAgreement(figure=name, tests=[]) for name in kept], metadata=dict(metadata))
    return report.run(Dataset.from_pandas(frame), None, timestamp=created)


def rebuild(url: str, snapshots: Sequence[Snapshot], past: Mapping[str, Sequence[Snapshot]]) -> tuple[int, int]:
    """Make the Evidently UI's projects anew; how many reports each has then.

    Args:
        url: the Evidently UI.
        snapshots: reports of checks, for the chart of the champion.
        past: reports of backfills by encoder version, for a chart of their own.
    Raises:
        ServiceError: the UI does not answer.
    """
    try:
        workspace = RemoteWorkspace(url)
        for name in (PROJECT, PAST):
            for project in workspace.search_project(name):
                workspace.delete_project(project.id)
        project = _create(workspace)
        for snapshot in snapshots:
            workspace.add_run(project.id, snapshot)
        if past:
            project = workspace.create_project(PAST, "Past encoders on spot labels that are newer than they are.")
            lines = [_series(f"version {version}", "rho", {"encoder": version}) for version in past]
            project.dashboard.add_panel(line_plot_panel("Agreement of past encoders", lines, "Mean per-query ρ"))
            for snapshot in (snapshot for group in past.values() for snapshot in group):
                workspace.add_run(project.id, snapshot)
        return len(snapshots), sum(map(len, past.values()))
    except Exception as error:
        # The client lets errors of several HTTP libraries through.
        raise ServiceError(f"the Evidently UI at {url} could not be rebuilt: {error}") from error


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


def _series(legend: str, figure: str, metadata: Mapping[str, str] | None = None) -> PanelMetric:
    labels, kept = {"figure": figure}, dict(metadata or {})
    return PanelMetric(legend=legend, metric="RankAgreement", metric_labels=labels, metadata=kept)
