"""Rank agreement as Evidently metrics, over a table of pairs: `query`, `candidate`, `score`, `label`.

The tables of a check also hold `floor`, what the floor scores, and a column of one number for each of `FACTS` that is
known.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pandas as pd
from evidently import Dataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric

from influcoder.statistics.agreement import Agreement, agreement, paired_difference
from influcoder.statistics.bootstrap import Interval
from monitoring.checks.findings import Verdict
from monitoring.checks.pairs import matrices

# A table with this column holds figures that were computed before, one a row, instead of pairs.
RECORDED = "figure"
FIGURES: dict[str, tuple[str, Callable[[Agreement], float]]] = {
    "rho": ("Agreement: mean per-query Spearman ρ", lambda found: found.rho.value),
    "rho_lo": ("Agreement: lower end of the 95 % interval", lambda found: found.rho.lo),
    "rho_hi": ("Agreement: upper end of the 95 % interval", lambda found: found.rho.hi),
    "aggregated_rho": ("Spearman ρ of the candidates' means over queries", lambda found: found.aggregated_rho.value),
    "tau": ("Mean per-query Kendall τ-b", lambda found: found.tau.value),
    "precision": ("Precision of the most influential candidates", lambda found: found.precision.value),
    "ndcg": ("NDCG of the most influential candidates", lambda found: found.ndcg.value),
}
BOUNDS: dict[str, tuple[str, Callable[[pd.DataFrame], float]]] = {
    "floor": ("Floor: ρ of the best ranking that learns nothing", lambda frame: _floor(frame).rho.value),
    "lift": ("Lift of ρ over the floor, paired", lambda frame: _lift(frame).value),
    "lift_lo": ("Lift: lower end of the 95 % interval", lambda frame: _lift(frame).lo),
    "lift_hi": ("Lift: upper end of the 95 % interval", lambda frame: _lift(frame).hi),
}
FACTS = {
    "ceiling": "Ceiling: ρ of the teacher with itself",
    "evidence": "Evidence of a fall: power of ten of the e-value",
    "evidence_needed": "Evidence that a drift needs",
    "labelled": "Spot samples that were labelled",
    "cached": "Spot samples whose labels were there already",
    "seconds": "Seconds of labelling",
    "probe": "ρ on the fixed probe, under another decoder than the encoder's own",
    # One of them a check: a panel tells series apart by their figure alone.
    **{str(verdict): f"ρ of a check that says {verdict}" for verdict in Verdict},
}


class RankAgreement(SingleValueMetric):
    """A figure of rank agreement between scores and exact influence.

    Args:
        figure: a key of `FIGURES`, `BOUNDS` or `FACTS`, such as `rho`.
        encoder: the version, where one panel shows several.
    """

    figure: str = "rho"
    encoder: str = ""


class RankAgreementCalculation(SingleValueCalculation[RankAgreement]):
    """Computes `RankAgreement`."""

    def display_name(self) -> str:
        """The figure's name in words."""
        name = self.metric.figure
        return FACTS[name] if name in FACTS else (FIGURES | BOUNDS)[name][0]

    def calculate(
        self, context: Any, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[SingleValue, SingleValue | None]:
        """The figure on the current pairs, and on the reference pairs where there are any."""
        current = self.result(self._value(current_data))
        # Floor, ceiling and facts are those of the current pairs alone.
        alone = reference_data is None or self.metric.figure not in FIGURES
        return current, None if alone else self.result(self._value(reference_data))

    def _value(self, data: Dataset) -> float:
        frame = data.as_dataframe()
        if RECORDED in frame:
            return float(frame.set_index(RECORDED)["value"][self.metric.figure])
        if self.metric.figure in FACTS:
            return float(frame[self.metric.figure].iloc[0])
        if self.metric.figure in BOUNDS:
            return float(BOUNDS[self.metric.figure][1](frame))
        return float(FIGURES[self.metric.figure][1](_ruler(_Table(frame), "score")))


class _Table:
    """A table that can be told from others by its content, so that one agreement serves all its figures."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._content = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and self._content == other._content


@lru_cache(maxsize=4)
def _ruler(table: _Table, score: str) -> Agreement:
    return agreement(*matrices(table.frame, score))


def _floor(frame: pd.DataFrame) -> Agreement:
    return _ruler(_Table(frame), "floor")


def _lift(frame: pd.DataFrame) -> Interval:
    return paired_difference(_ruler(_Table(frame), "score"), _floor(frame))
