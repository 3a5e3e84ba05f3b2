"""The drift decision: what all checks of an encoder version since its promotion say about it."""

from collections.abc import Sequence

import numpy as np

from influcoder.settings.loop import DriftSettings
from monitoring.checks.findings import Judgement, Shift, Verdict
from monitoring.checks.sequential_test import Observation, SequentialTest

LEVEL = 0.95


def judge_drift(promoted: Observation, looks: Sequence[Observation], settings: DriftSettings) -> Judgement:
    """What the checks since promotion say, the last of them being the one that is judged.

    `drift` needs evidence of a fall of 1 / alpha, which a version that never falls reaches with probability alpha at
    most over all its checks, and an estimated present fall of the margin or more. A fall beyond chance but within the
    margin is a `warn`, and so is one of the margin or more at the weaker level 1 / warn_alpha. A drift lasts until the
    checks after it give evidence of 1 / recovery_alpha against a fall of the margin or more. A check whose labels could
    not show the loss of all agreement is `insufficient`.

    Args:
        promoted: agreement on the report split when the version was made.
        looks: its checks, oldest first, each on a draw of its own.
        settings: margin and levels.
    """
    for look in (promoted, looks[-1]):
        if not look.usable(settings.min_queries):
            return _undecided(look, looks[-1].mean - promoted.mean, settings)
    usable = [look for look in looks if look.usable(settings.min_queries)]
    test = SequentialTest.of(promoted, usable, settings)
    verdict, words = _verdict(test, settings)
    lo, hi = test.interval(LEVEL)
    e_value, recovery = _plain(test.log_evidence), test.log_recovery
    figures = f"mean per-query ρ changed by {test.change:+.3f} [{lo:+.3f}, {hi:+.3f}] since promotion"
    many = f"{len(usable)} check{'' if len(usable) == 1 else 's'}"
    return Judgement(
        verdict=verdict,
        reason=f"{figures}, e-value of a fall {e_value:.3g} over {many}: {words}",
        change=test.change,
        lo=lo,
        hi=hi,
        e_value=e_value,
        recovery=None if recovery is None else _plain(recovery),
        checks=len(usable),
        since=test.fallen.created if test.fallen else None,
    )


def with_probe(found: Judgement, probe: Shift | None, margin: float) -> Judgement:
    """The same judgement, but that a fall on the fixed probe of the margin or more, beyond chance, is worth a `warn`.

    A probe's samples are the same at every check, so it is no evidence that adds up over checks, and no `drift`.

    Args:
        found: the judgement from fresh labels.
        probe: agreement on the probe under both decoders; None where it was not measured.
        margin: the smallest fall that matters.
    """
    if found.verdict is not Verdict.OK or probe is None or not probe.fell(margin):
        return found
    reason = f"{found.reason} on fresh labels, but on the fixed probe a fall beyond chance and the margin"
    return found.model_copy(update={"verdict": Verdict.WARN, "reason": reason})


def _verdict(test: SequentialTest, settings: DriftSettings) -> tuple[Verdict, str]:
    if test.fallen is not None:
        return Verdict.DRIFT, _drift(test, settings)
    if test.recovered:
        return Verdict.OK, "the drift is over"
    if test.log_evidence >= -np.log(settings.alpha):
        return Verdict.WARN, "a fall beyond chance, but within the margin"
    if test.log_evidence >= -np.log(settings.warn_alpha) and test.change <= -settings.margin:
        return Verdict.WARN, "a fall beyond the margin, but chance may still explain it"
    everything = max(test.reference[0].mean, 0.0)
    if test.found.information[-1] * everything**2 / 2 < -np.log(settings.alpha):
        return (
            Verdict.INSUFFICIENT,
            f"labels as few as these could not show the loss of all agreement ({everything:.2f})",
        )
    return Verdict.OK, "no fall that matters"


def _drift(test: SequentialTest, settings: DriftSettings) -> str:
    if not test.looks:
        return "a fall beyond chance and the margin"
    found, needed = _plain(test.log_recovery or 0.0), 1 / settings.recovery_alpha
    return f"the drift lasts, evidence of recovery is {found:.3g} of the {needed:.3g} that would end it"


def _undecided(look: Observation, change: float, settings: DriftSettings) -> Judgement:
    reason = f"{look.queries} usable queries are fewer than the {settings.min_queries} that a decision needs"
    if look.queries >= settings.min_queries:
        reason = "agreement has no standard error, so nothing can be decided"
    return Judgement(verdict=Verdict.INSUFFICIENT, reason=reason, change=change, lo=float("nan"), hi=float("nan"))


def _plain(logarithm: float) -> float:
    """An e-value from its logarithm, kept finite for JSON."""
    return float(np.exp(min(logarithm, 700.0)))
