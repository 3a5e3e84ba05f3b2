"""Rank agreement as Evidently metrics, over a table of one row: a column for each figure, which was measured before."""

from typing import Any

from evidently import Dataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric

from monitoring.checks.findings import Verdict

FIGURES = {
    "rho": "Agreement: mean per-query Spearman ρ",
    "rho_lo": "Agreement: lower end of the 95 % interval",
    "rho_hi": "Agreement: upper end of the 95 % interval",
    "aggregated_rho": "Spearman ρ of the candidates' means over queries",
    "tau": "Mean per-query Kendall τ-b",
    "precision": "Precision of the most influential candidates",
    "ndcg": "NDCG of the most influential candidates",
}
BOUNDS = {
    "floor": "Floor: ρ of the best ranking that learns nothing",
    "lift": "Lift of ρ over the floor, paired",
    "lift_lo": "Lift: lower end of the 95 % interval",
    "lift_hi": "Lift: upper end of the 95 % interval",
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
NAMES = FIGURES | BOUNDS | FACTS


class RankAgreement(SingleValueMetric):
    """A figure of rank agreement between scores and exact influence.

    Args:
        figure: a key of `NAMES`, such as `rho`.
        encoder: the version, where one panel shows several.
    """

    figure: str = "rho"
    encoder: str = ""


class RankAgreementCalculation(SingleValueCalculation[RankAgreement]):
    """Reads `RankAgreement`."""

    def display_name(self) -> str:
        """The figure's name in words."""
        return NAMES[self.metric.figure]

    def calculate(
        self, context: Any, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[SingleValue, SingleValue | None]:
        """The figure now, and that of the reference; floor, ceiling and facts are those of now alone."""
        alone = reference_data is None or self.metric.figure not in FIGURES
        return self._value(current_data), None if alone else self._value(reference_data)

    def _value(self, data: Dataset) -> SingleValue:
        return self.result(float(data.as_dataframe()[self.metric.figure].iloc[0]))
