"""What the checks of one encoder version say together, look by look: fallen, recovered, or neither."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from influcoder.settings.loop import DriftSettings
from influcoder.statistics import sequential
from influcoder.statistics.agreement import Agreement
from influcoder.statistics.sequential import Contrasts


@dataclass(frozen=True)
class Observation:
    """One measurement of an encoder, as the decision sees it.

    Args:
        mean: mean per-query ρ.
        error: its standard error, from the bootstrap over queries and candidates.
        queries: usable queries.
        candidates: how many each ranked, at most.
        created: when.
    """

    mean: float
    error: float
    queries: int
    candidates: int
    created: str = ""

    @staticmethod
    def of(found: Agreement, created: str = "") -> "Observation":
        """What an agreement gives."""
        return Observation(found.rho.value, found.rho.error, found.rho.queries, found.candidates, created)

    def variance(self, between: float) -> float:
        """Variance of the mean: the one of Student's t, since its error is estimated, and what differs between checks.

        Args:
            between: standard deviation from check to check that the bootstrap of one does not see.
        """
        freedom = max(min(self.queries, self.candidates) - 1, 3)
        return max(self.error, 1e-6) ** 2 * freedom / (freedom - 2) + between**2

    def usable(self, least: int) -> bool:
        """Whether it says anything, given the least number of queries."""
        return self.queries >= least and bool(np.isfinite(self.mean) and np.isfinite(self.error))


@dataclass
class SequentialTest:
    """Where an encoder version stands after some looks; every one of them must be usable.

    Args:
        settings: margin and levels.
        reference: looks from before any change, the one at promotion first.
        looks: those that are tested: since promotion, since the drift was found, or since it was over.
        fallen: the look from which on agreement is likeliest to be lower; None without a drift.
        recovered: whether the last look ended a drift.
        clear: whether more labels of the last look would change little: a drift or its end was found, or a fall of the
            margin is excluded (in a drift, a recovery).
        log_evidence: of a fall.
        log_recovery: of the end of the last drift; None where there was none.
    """

    settings: DriftSettings
    reference: list[Observation]
    looks: list[Observation] = field(default_factory=list)
    fallen: Observation | None = None
    recovered: bool = False
    clear: bool = False
    log_evidence: float = 0.0
    log_recovery: float | None = None
    found: Contrasts = field(init=False)

    @staticmethod
    def of(promoted: Observation, looks: Sequence[Observation], settings: DriftSettings) -> "SequentialTest":
        """The course of a version, look by look, oldest first."""
        course = SequentialTest(settings, [promoted])
        for look in looks:
            course.follow(look)
        return course

    def follow(self, look: Observation) -> None:
        """Go on by one look."""
        self.looks.append(look)
        self.recovered = self.clear = False
        known = [*self.reference, *self.looks]
        values = np.array([item.mean for item in known])
        variances = np.array([item.variance(self.settings.between) for item in known])
        self.found = sequential.contrasts(values, variances, len(self.reference))
        if self.fallen is None:
            self._watch()
        else:
            self._wait(sequential.against_reference(values, variances, len(self.reference)))

    @property
    def change(self) -> float:
        """Estimated present change of mean per-query ρ since promotion."""
        return float(sequential.change_now(self.found, self.settings.scale))

    def interval(self, level: float) -> tuple[float, float]:
        """Confidence sequence of the present change."""
        least, most = sequential.confidence_sequence(self.found, self.settings.scale, level)
        return -float(most), -float(least)

    def _watch(self) -> None:
        self.log_evidence = float(sequential.log_evidence(self.found, self.settings.scale))
        self.clear = bool(sequential.excluded(self.found, self.settings.margin, self.settings.miss))
        if self.log_evidence < -np.log(self.settings.alpha) or self.change > -self.settings.margin:
            return
        place = sequential.likeliest_change(self.found, self.settings.scale)
        self.fallen, self.log_recovery, self.clear = self.looks[place], 0.0, True
        # What was looked at to find the fall is no evidence for or against its end.
        self.reference, self.looks = [*self.reference, *self.looks[:place]], []

    def _wait(self, apart: Contrasts) -> None:
        margin = self.settings.margin
        self.log_recovery = float(sequential.log_recovery(apart, margin, self.settings.scale))
        self.clear = bool(sequential.excluded(apart.below(margin), margin, self.settings.miss))
        if self.log_recovery < -np.log(self.settings.recovery_alpha):
            return
        self.fallen, self.looks, self.log_evidence = None, [], 0.0
        self.recovered = self.clear = True
