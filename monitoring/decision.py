"""The drift decision: what a check's evidence says about the champion."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from influcoder.agreement import Agreement, unpaired_difference


class Verdict(StrEnum):
    """The four outcomes of a check."""

    OK = "ok"
    WARN = "warn"
    DRIFT = "drift"
    INSUFFICIENT = "insufficient"


class Judgement(BaseModel):
    """A verdict with its evidence.

    Args:
        verdict: the outcome.
        reason: one sentence that a person can read.
        change: mean per-query ρ now minus at promotion.
        lo: lower end of its 95 % bootstrap interval over queries and candidates.
        hi: upper end.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    verdict: Verdict
    reason: str
    change: float
    lo: float
    hi: float


def judge_drift(now: Agreement, before: Agreement, margin: float, min_queries: int) -> Judgement:
    """Compare agreement on fresh spot labels with agreement at promotion.

    `drift` needs both: a fall that matters (at least the margin) and one that chance does not explain (the
    interval of the change lies below zero). One of the two alone is a `warn`.

    Args:
        now: the encoder's agreement on spot labels.
        before: agreement of the same encoder on its report split when it was promoted.
        margin: the smallest fall that matters.
        min_queries: below this many usable queries on either side, nothing is decided.
    """
    usable = min(now.rho.queries, before.rho.queries)
    change = unpaired_difference(now, before)
    evidence = {"change": change.value, "lo": change.lo, "hi": change.hi}
    if usable < min_queries:
        reason = f"{usable} usable queries are fewer than the {min_queries} that a decision needs"
        return Judgement(verdict=Verdict.INSUFFICIENT, reason=reason, **evidence)
    falls, certain = change.value <= -margin, change.hi < 0
    words = f"mean per-query ρ changed by {change.value:+.3f} [{change.lo:+.3f}, {change.hi:+.3f}]"
    if falls and certain:
        return Judgement(verdict=Verdict.DRIFT, reason=f"{words}: a fall beyond chance and the margin", **evidence)
    if falls:
        return Judgement(
            verdict=Verdict.WARN, reason=f"{words}: beyond the margin, but chance may explain it", **evidence
        )
    if certain:
        return Judgement(verdict=Verdict.WARN, reason=f"{words}: beyond chance, but within the margin", **evidence)
    return Judgement(verdict=Verdict.OK, reason=f"{words}: no fall that matters", **evidence)
