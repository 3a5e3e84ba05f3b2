"""Rank agreement as Evidently metrics, over a table of pairs: `query`, `candidate`, `score`, `label`."""

from collections.abc import Callable
from typing import Any

from evidently import Dataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric

from influcoder.agreement import Agreement, agreement
from monitoring.pairs import matrices

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


class RankAgreement(SingleValueMetric):
    """A figure of rank agreement between scores and exact influence.

    Args:
        figure: a key of `FIGURES`, such as `rho`.
    """

    figure: str = "rho"


class RankAgreementCalculation(SingleValueCalculation[RankAgreement]):
    """Computes `RankAgreement`."""

    def display_name(self) -> str:
        """The figure's name in words."""
        return FIGURES[self.metric.figure][0]

    def calculate(
        self, context: Any, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[SingleValue, SingleValue | None]:
        """The figure on the current pairs, and on the reference pairs where there are any."""
        current = self.result(self._value(current_data))
        return current, None if reference_data is None else self.result(self._value(reference_data))

    def _value(self, data: Dataset) -> float:
        frame = data.as_dataframe()
        if RECORDED in frame:
            return float(frame.set_index(RECORDED)["value"][self.metric.figure])
        return float(FIGURES[self.metric.figure][1](agreement(*matrices(frame))))
