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
from monitoring.reports.metrics import BOUNDS, FACTS, FIGURES, RECORDED, RankAgreement


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
    current: pd.DataFrame,
    reference: pd.DataFrame | None,
    bounds: Bounds,
    least: float,
    facts: Mapping[str, float],
    metadata: dict[str, str],
) -> RenderedReport:
    """An Evidently report with tests on the mean per-query ρ and on its lift over the floor.

    Args:
        current: pairs of the spot labels with what the floor scores, see `pairs_frame`.
        reference: pairs of the label set that the encoder was promoted on, None where there is none.
        bounds: floor and ceiling on the same spot labels; the champion must be above the floor.
        least: the ρ below which the fall exceeds the margin.
        facts: of the decision and of what was spent, by names in `FACTS`.
        metadata: what the report is about.
    """
    tests = {
        "rho": [gte(round(least, 4), alias="within the margin")],
        "lift": [gte(0.0, alias=f"above the floor ({bounds.floor})")],
        "lift_lo": [gte(0.0, alias="above the floor beyond chance")],
    }
    given = dict(facts) | ({"ceiling": bounds.ceiling["value"]} if bounds.ceiling else {})
    known = [*FIGURES, *BOUNDS, *(name for name in FACTS if name in given)]
    metrics: list[Any] = [RankAgreement(figure=name, tests=tests.get(name, [])) for name in known]
    current = current.assign(**given)
    report = Report(metrics, metadata=dict(metadata), include_tests=True)
    snapshot = report.run(Dataset.from_pandas(current), None if reference is None else Dataset.from_pandas(reference))
    return RenderedReport(snapshot.get_html_str(as_iframe=False).encode(), snapshot.json().encode(), snapshot)


def recorded_report(
    figures: Mapping[str, Mapping[str, float]],
    created: datetime,
    metadata: dict[str, str],
    bounds: Bounds | None = None,
    facts: Mapping[str, float] | None = None,
    encoder: str = "",
) -> Snapshot:
    """A report of figures that were computed before, as of then.

    Args:
        figures: value, lo and hi by figure, as a record keeps them.
        created: when they were computed.
        metadata: what the report is about.
        bounds: floor, ceiling and lift; None where they were not measured.
        facts: of the decision and of what was spent; None where there was none.
        encoder: the version, for a panel that shows several.
    """
    rho, values = figures["rho"], {name: figure["value"] for name, figure in figures.items()}
    values |= {"rho_lo": rho["lo"], "rho_hi": rho["hi"], **(facts or {})}
    if bounds is not None:
        lift = bounds.lift
        values |= {"floor": bounds.height, "lift": lift["value"], "lift_lo": lift["lo"], "lift_hi": lift["hi"]}
        values |= {"ceiling": bounds.ceiling["value"]} if bounds.ceiling else {}
    kept = [name for name in (*FIGURES, *BOUNDS, *FACTS) if name in values and np.isfinite(values[name])]
    frame = pd.DataFrame({RECORDED: kept, "value": [values[name] for name in kept]})
    metrics: list[Any] = [RankAgreement(figure=name, encoder=encoder, tests=[]) for name in kept]
    report = Report(metrics, metadata=dict(metadata))
    return report.run(Dataset.from_pandas(frame), None, timestamp=created)
