"""Settings of checks, the gate, and of what the loop may do by itself."""

from typing import Literal

from pydantic import Field, model_validator

from influcoder.settings.labels import SplitBudget
from influcoder.settings.section import Section


class DriftSettings(Section):
    """When a fall of agreement counts.

    Args:
        margin: the smallest fall of mean per-query ρ that matters to anybody.
        min_queries: below this a check is `insufficient`.
        alpha: probability, at most, that a version whose agreement never falls is ever called drifted.
        warn_alpha: the same for a `warn`.
        recovery_alpha: probability, at most, that a drift which lasts is ever called recovered.
        miss: probability, at most, that a fall of the margin ever passes for excluded, which ends a check's buying.
        between: standard deviation of agreement from check to check that is no change, beyond what the bootstrap of
            one check sees.
        scale: size of the falls that are looked for; others are found too, somewhat later.
        fresh_for_hours: a decision that is older starts no retraining.
    """

    margin: float = Field(0.05, gt=0, lt=1)
    min_queries: int = Field(15, ge=4)
    alpha: float = Field(0.01, gt=0, lt=1)
    warn_alpha: float = Field(0.1, gt=0, lt=1)
    recovery_alpha: float = Field(0.05, gt=0, lt=1)
    miss: float = Field(0.5, gt=0, lt=1)
    between: float = Field(0.01, ge=0, lt=1)
    scale: float = Field(0.15, gt=0, lt=1)
    fresh_for_hours: float = Field(24.0, gt=0)


class BuyingSettings(Section):
    """How a check buys its spot labels: in batches, until the decision is clear or a budget ends.

    Args:
        first: share of `labels.spot`, the budget of samples, that the first batch takes.
        step: share that each further one adds.
        seconds: budget of time; without one, samples alone count.
        money: budget of money, at the price.
        price_per_hour: of the machine that labels, in whatever currency.
    """

    first: float = Field(0.4, gt=0, le=1)
    step: float = Field(0.2, gt=0, le=1)
    seconds: float | None = Field(None, gt=0)
    money: float | None = Field(None, gt=0)
    price_per_hour: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _money_needs_a_price(self) -> "BuyingSettings":
        if self.money is not None and not self.price_per_hour:
            raise ValueError("buying.money needs buying.price_per_hour")
        return self


class GateSettings(Section):
    """What a challenger must show: not worse than the champion by more than the margin, and above the floor.

    Args:
        margin: how much worse than the champion, in mean per-query ρ, is still accepted.
        min_queries: below this there is no evidence, and nothing is promoted.
        spot: fresh samples that champion and challenger are held against each other on; as many as a check's
            (`labels.spot`) unless given.
        evidence_hours: how long what was measured counts; after that it is measured again, on other samples.
        approval: `tag` lets a challenger that passed wait until somebody approves of it: `influcoder approve`, or the
            tag `approval = approved` on its version in MLflow.
    """

    margin: float = Field(0.02, ge=0, lt=1)
    min_queries: int = Field(15, ge=2)
    spot: SplitBudget | None = None
    evidence_hours: float = Field(72.0, gt=0)
    approval: Literal["none", "tag"] = "none"


class CauseSettings(Section):
    """How the cause of a fall is looked for.

    Args:
        probe: samples that are labelled under the other decoder, of a version's report split and of the spot labels.
        least_ceiling: spot labels that agree with themselves less than this, beyond chance, are noise.
    """

    probe: SplitBudget = SplitBudget(queries=24, candidates=36)
    least_ceiling: float = Field(0.5, ge=0, le=1)


class RetrainingSettings(Section):
    """How often the loop may retrain by itself, and when it has to stop.

    Args:
        cooldown_hours: from the end of one retraining to the start of the next.
        per_week: retrainings that may start within seven days.
        hours_per_week: hours of work within seven days after which none starts any more.
        attempts: runs of one retraining, killed and failed ones included, before its decision is given up.
        failures: challengers in a row that fail the gate before the breaker opens.
        lease_seconds: a run that gave no sign of life for so long is taken to be dead, and another goes on with its
            work; it is measured by the store's clock alone.
    """

    cooldown_hours: float = Field(6.0, ge=0)
    per_week: int = Field(7, ge=1)
    hours_per_week: float = Field(48.0, gt=0)
    attempts: int = Field(5, ge=1)
    failures: int = Field(3, ge=1)
    lease_seconds: float = Field(300.0, ge=3)


class ReportSettings(Section):
    """How long reports of checks are kept; the records that decisions are made from are kept for ever.

    Args:
        keep: reports in the Evidently UI, which reads all of them for each page, and slows with thousands.
        keep_days: days that a check's page stays in the store, 4 MB each.
    """

    keep: int = Field(500, ge=1)
    keep_days: int = Field(90, ge=1)
