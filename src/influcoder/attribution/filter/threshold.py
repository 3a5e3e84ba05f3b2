"""Where the line is drawn between what is kept and what is dropped: by labelled validation, by budget, or by hand."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from influcoder.attribution.filter.curve import Aim, Curve
from influcoder.attribution.filter.scoring import Scored
from influcoder.core.errors import SampleError, SettingsError

Array = np.ndarray
RESAMPLES = 500
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure of a choice, less what it owes to having been chosen on the same samples, and its 95 % interval.

    With few harmful samples the interval is somewhat too narrow. NaN where too few draws hold both kinds of samples.
    """

    value: float
    lo: float
    hi: float

    @staticmethod
    def of(apparent: float, drawn: Array, again: Array) -> "Estimate":
        """The bootstrap's correction for optimism (Harrell, Lee and Mark 1996, section 5).

        Args:
            apparent: the figure of the choice on the samples that it was made on.
            drawn: the same in each draw of samples, whose choice is its own, shape (draws,).
            again: the figure of that choice on all samples, shape (draws,).
        """
        if len(drawn) < 2:
            return Estimate(float("nan"), float("nan"), float("nan"))
        value = apparent - float((drawn - again).mean())
        ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - drawn.mean() + value
        return Estimate(*(float(number) for number in np.clip([value, *ends], 0, 1)))

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.lo:.2f}, {self.hi:.2f}]"


@dataclass(frozen=True)
class Validated:
    """What labelled samples say of a threshold.

    Args:
        harmful: number of harmful samples.
        harmless: number of the others.
        rule: the way to score that was chosen.
        tried: average precision of each way to score, on all labelled samples.
        average_precision: of the chosen way.
        precision: share of what the threshold drops that is harmful.
        recall: share of what is harmful that it drops.
        f1: their harmonic mean.
    """

    harmful: int
    harmless: int
    rule: str
    tried: Mapping[str, float]
    average_precision: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Cut:
    """The line.

    Args:
        why: how it was chosen, in words.
        threshold: samples that score so much or more are dropped; None where a budget counts.
        count: so many of the highest are dropped; None where a threshold counts.
        validated: what labelled samples say of it.
    """

    why: str
    threshold: float | None = None
    count: int | None = None
    validated: Validated | None = None

    def dropped(self, found: Scored) -> Array:
        """Whether each sample is dropped, shape (samples,); copies of harmful examples always come first."""
        if self.count is None:
            return found.copies | (found.scores >= (self.threshold or 0.0))
        mask = np.zeros(len(found), bool)
        mask[found.order()[: self.count]] = True
        return mask

    def line(self, found: Scored) -> float:
        """The score from which on samples are dropped, on this pool."""
        if self.threshold is not None:
            return self.threshold
        return float(found.scores[self.dropped(found) & ~found.copies].min(initial=np.inf))


def by_budget(text: str, pool: int) -> Cut:
    """A budget: `200` samples, or `5%` of the pool, rounded down.

    Raises:
        SettingsError: it is no budget, or none or more samples than there are.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if not match or (not match[2] and "." in match[1]):
        raise SettingsError(f"--drop {text!r} is no budget.", "Give a number of samples, or a share such as 5%.")
    # The margin keeps 29 % of 100 from being 28.
    count = int(float(match[1]) / 100 * pool + 1e-9) if match[2] else int(match[1])
    if not 0 < count <= pool or (match[2] and float(match[1]) > 100):
        raise SettingsError(f"--drop {text} is {count} of {pool} samples.", f"Ask for 1 to {pool}.")
    return Cut(f"a budget of {text.strip()}: {count} of {pool} samples", count=count)


def by_threshold(threshold: float) -> Cut:
    """A threshold that somebody chose.

    Raises:
        SettingsError: it is not finite.
    """
    if not np.isfinite(threshold):
        raise SettingsError("a threshold is a number.", "Give one, or use --drop or --validation.")
    return Cut(f"given: {threshold:g}", threshold=threshold)


def by_validation(scores: Mapping[str, Array], labels: Array, aim: Aim, seed: int = 0) -> Cut:
    """The way to score and the threshold that labelled samples prefer.

    Its figures are corrected for having been chosen on the same samples: 500 draws with replacement choose anew.

    Args:
        scores: of the labelled samples by way to score, each of shape (samples,).
        labels: whether each is harmful, shape (samples,).
        aim: what the threshold is chosen for.
        seed: of the draws.
    Raises:
        SampleError: a kind of samples is missing.
        SettingsError: no threshold reaches the aim.
    """
    labels = np.asarray(labels, bool)
    for kind, count in (("harmful", labels.sum()), ("harmless", (~labels).sum())):
        if count < 2:
            raise SampleError(
                f"the validation holds {count} {kind} samples.", "A threshold needs two of each at least."
            )
    curves = {name: Curve.of(values, labels) for name, values in scores.items()}
    rule = _closest(curves)
    curve, place = curves[rule], curves[rule].best(aim)
    if place is None:
        best = curve.precision.max()
        raise SettingsError(
            f"no threshold has a {aim} on the validation; the highest precision is {best:.3f}.",
            "Ask for less, give other examples, or set a budget with --drop.",
        )
    counts = int(labels.sum()), int((~labels).sum())
    estimates = _corrected(scores, labels, aim, np.random.default_rng(seed))
    tried = {name: one.average_precision for name, one in curves.items()}
    validated = Validated(*counts, rule, tried, *estimates)
    why = f"{aim} on {len(labels)} labelled samples, {counts[0]} of them harmful"
    return Cut(why, threshold=curve.threshold(place), validated=validated)


def _closest(curves: Mapping[str, Curve]) -> str:
    return max(curves, key=lambda name: curves[name].average_precision)


def _corrected(scores: Mapping[str, Array], labels: Array, aim: Aim, generator: np.random.Generator) -> list[Estimate]:
    """Average precision, precision, recall and F1 of a choice."""
    apparent, _ = _figures(scores, labels, scores, labels, aim)
    pairs = []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(labels), len(labels))
        if 0 < labels[rows].sum() < len(rows):
            drawn = {name: values[rows] for name, values in scores.items()}
            pairs.append(_figures(drawn, labels[rows], scores, labels, aim))
    kept = np.array([pair for pair in pairs if np.isfinite(pair).all()]).reshape(-1, 2, len(apparent))
    return [Estimate.of(value, kept[:, 0, row], kept[:, 1, row]) for row, value in enumerate(apparent)]


def _figures(
    drawn: Mapping[str, Array], labels: Array, scores: Mapping[str, Array], everyone: Array, aim: Aim
) -> tuple[list[float], list[float]]:
    """Figures of what a draw chooses, on the draw and on all samples; NaN where it can choose nothing."""
    curves = {name: Curve.of(values, labels) for name, values in drawn.items()}
    name = _closest(curves)
    place = curves[name].best(aim)
    if place is None:
        return [float("nan")] * 4, [float("nan")] * 4
    threshold = curves[name].threshold(place)
    return _judged(drawn[name], labels, threshold), _judged(scores[name], everyone, threshold)


def _judged(scores: Array, labels: Array, threshold: float) -> list[float]:
    dropped = scores >= threshold
    hits = float((dropped & labels).sum())
    # Nothing is dropped wrongly where nothing is dropped.
    precision = hits / dropped.sum() if dropped.any() else 1.0
    recall = hits / labels.sum()
    harmonic = 2 * hits / (labels.sum() + dropped.sum())
    return [Curve.of(scores, labels).average_precision, float(precision), float(recall), float(harmonic)]
