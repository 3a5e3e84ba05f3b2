"""The Evidently report of a check."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from evidently import Dataset, Report
from evidently.core.report import Snapshot
from evidently.tests import gte

from monitoring.checks.findings import Bounds
from monitoring.reports.metrics import NAMES, RankAgreement


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


def values_of(
    figures: Mapping[str, Mapping[str, float]], bounds: Bounds | None = None, facts: Mapping[str, float] | None = None
) -> dict[str, float]:
    """What a report shows, by names in `NAMES`; NaN where a figure was not to be had.

    Args:
        figures: value, lo and hi by figure, as a record keeps them.
        bounds: floor, ceiling and lift; None where they were not measured.
        facts: of the decision and of what was spent; None where there was none.
    """
    rho, values = figures["rho"], {name: figure["value"] for name, figure in figures.items()}
    values |= {"rho_lo": rho["lo"], "rho_hi": rho["hi"], **(facts or {})}
    if bounds is not None:
        lift = bounds.lift
        values |= {"floor": bounds.height, "lift": lift["value"], "lift_lo": lift["lo"], "lift_hi": lift["hi"]}
        values |= {"ceiling": bounds.ceiling["value"]} if bounds.ceiling else {}
    return {name: values[name] for name in NAMES if name in values}


def agreement_report(
    current: Mapping[str, float], reference: Mapping[str, float], floor: str, least: float, metadata: dict[str, str]
) -> RenderedReport:
    """An Evidently report with tests on the mean per-query ρ and on its lift over the floor.

    Args:
        current: what was measured on spot labels, see `values_of`; the champion must be above the floor.
        reference: what was measured when the encoder was made.
        floor: name of the ranking that is the floor.
        least: the ρ below which the fall exceeds the margin.
        metadata: what the report is about.
    """
    tests = {
        "rho": [gte(round(least, 4), alias="within the margin")],
        "lift": [gte(0.0, alias=f"above the floor ({floor})")],
        "lift_lo": [gte(0.0, alias="above the floor beyond chance")],
    }
    metrics: list[Any] = [RankAgreement(figure=name, tests=tests.get(name, [])) for name in current]
    report = Report(metrics, metadata=dict(metadata), include_tests=True)
    snapshot = report.run(_table(current), _table(reference))
    return RenderedReport(snapshot.get_html_str(as_iframe=False).encode(), snapshot.json().encode(), snapshot)


def recorded_report(
    values: Mapping[str, float], created: datetime, metadata: dict[str, str], encoder: str = ""
) -> Snapshot:
    """A report of what was measured before, as of then.

    Args:
        values: see `values_of`; what is not finite is left out.
        created: when they were measured.
        metadata: what the report is about.
        encoder: the version, for a panel that shows several.
    """
    kept = {name: value for name, value in values.items() if np.isfinite(value)}
    metrics: list[Any] = [RankAgreement(figure=name, encoder=encoder, tests=[]) for name in kept]
    return Report(metrics, metadata=dict(metadata)).run(_table(kept), None, timestamp=created)


def _table(values: Mapping[str, float]) -> Dataset:
    return Dataset.from_pandas(pd.DataFrame([dict(values)]))
