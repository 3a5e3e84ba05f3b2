"""Evidence that agreement fell since promotion, valid at every look: e-values for a change in a Gaussian mean.

A check gives a mean xₜ with a variance vₜ, and so does the report at promotion. Their common mean is not known; it is
integrated out with a flat prior, which leaves the likelihood ratio of the differences alone, the maximal invariant
under shifts (Pérez-Ortiz, Lardy, de Heide and Grünwald, "E-statistics, group invariance and anytime-valid testing",
Annals of Statistics 52(4), 2024, sections 2 and 4; the differences are the recursive residuals of Brown, Durbin and
Evans, JRSS B 37(2), 1975). For a fall by δ from check k on it depends on two numbers alone: D, the mean before k minus
the mean from k on, both weighted by 1/v, and its information I, one over the variance of D:

    log LR(k, δ) = I (δ D − δ²/2).

Change points are mixed with weights that sum to 1 over an unlimited horizon, and sizes with a half-normal, so the
mixture is a martingale that begins at 1 where nothing falls, and exceeds 1/α with probability α at most, however often
it is looked at (Ville 1939; Shin, Ramdas and Rinaldo, "E-detectors", New England Journal of Statistics in Data Science
2(2), 2024, section 2). All arrays may have leading axes, so that many runs are followed at once.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, logsumexp

Array = np.ndarray


@dataclass(frozen=True)
class Contrasts:
    """Means before a change point against means from it on.

    Args:
        fall: mean before minus mean after, shape (..., change points), oldest first.
        information: one over the variance of that, same shape.
    """

    fall: Array
    information: Array

    def log_ratio(self, size: float | Array) -> Array:
        """Log likelihood ratio of a fall by `size` from each change point on against no change."""
        return self.information * (size * self.fall - np.square(size) / 2)

    def below(self, margin: float) -> "Contrasts":
        """By how much the falls are below a margin: evidence of a fall turned into evidence against it."""
        return Contrasts(margin - self.fall, self.information)


def contrasts(values: Array, variances: Array, reference: int = 1) -> Contrasts:
    """Contrasts of every change point after the reference.

    Args:
        values: means, shape (..., looks); those at promotion come first.
        variances: theirs, same shape, greater than 0.
        reference: how many of the first values lie before any change.
    """
    weights, centred = 1 / variances, values - values[..., :1]
    after, total = (_from_end(part)[..., reference:] for part in (weights, weights * centred))
    before = weights.sum(-1, keepdims=True) - after
    whole = (weights * centred).sum(-1, keepdims=True)
    return Contrasts((whole - total) / before - total / after, before * after / (before + after))


def against_reference(values: Array, variances: Array, reference: int = 1) -> Contrasts:
    """Like `contrasts`, but the mean before is that of the reference alone; what lies between is left out."""
    weights, centred = 1 / variances, values - values[..., :1]
    after, total = (_from_end(part)[..., reference:] for part in (weights, weights * centred))
    before = weights[..., :reference].sum(-1, keepdims=True)
    level = (weights * centred)[..., :reference].sum(-1, keepdims=True) / before
    return Contrasts(level - total / after, before * after / (before + after))


def change_weights(looks: int) -> tuple[Array, float]:
    """Prior weights of a change at look 1, 2, …, and the weight of all later ones.

    The differences of ln 2 / ln(k + 1): they sum to 1 exactly, and fall as slowly as 1 / (k ln² k), so that a change
    after a year is still looked for.
    """
    remaining = np.log(2) / np.log(np.arange(1, looks + 2) + 1)
    return remaining[:-1] - remaining[1:], float(remaining[-1])


def log_evidence(found: Contrasts, scale: float) -> Array:
    """Log e-value for a fall since one of the change points, sizes mixed by a half-normal; shape (...).

    Args:
        found: contrasts of all looks after the reference.
        scale: of the half-normal.
    """
    return _mixed(_log_half_normal(found, scale))


def log_recovery(found: Contrasts, margin: float, scale: float) -> Array:
    """Log e-value against a fall of at least the margin, for a recovery at one of the looks; shape (...).

    The likelihood ratio of a fall by margin − r against one by the margin, r > 0 mixed by a half-normal. It is a
    supermartingale for every larger fall.

    Args:
        found: contrasts against the reference, see `against_reference`.
        margin: the smallest fall that matters.
        scale: of the half-normal.
    """
    return _mixed(_log_half_normal(found.below(margin), scale))


def change_now(found: Contrasts, scale: float) -> Array:
    """Posterior mean of the present change, a fall being negative; shape (...).

    Under the same change points, with sizes of either sign mixed by a normal, and no change yet as one of the cases.

    Args:
        found: contrasts of all looks after the reference.
        scale: standard deviation of the normal.
    """
    logs = _log_normal(found, scale)
    share = np.exp(np.log(change_weights(logs.shape[-1])[0]) + logs - _mixed(logs)[..., None])
    shrunk = 1 + scale**2 * found.information
    return -(share * scale**2 * found.information * found.fall / shrunk).sum(-1)


def likeliest_change(found: Contrasts, scale: float) -> int:
    """Which of the looks of one run is likeliest to be the first after the fall."""
    weights, _ = change_weights(len(found.fall))
    return int(np.argmax(np.log(weights) + _log_half_normal(found, scale)))


def confidence_sequence(found: Contrasts, scale: float, level: float) -> tuple[Array, Array]:
    """Smallest and largest present fall that the looks so far leave possible; shape (...) each.

    Every pair of a change point and a size (a rise has a negative one) is tested against the mixture of all, sizes
    by a normal (Robbins 1970). The true pair is left out at any look with probability 1 − level at most.

    Args:
        found: contrasts of all looks after the reference.
        scale: standard deviation of the normal.
        level: of confidence, over all looks together.
    """
    least = np.log1p(-level) + _mixed(_log_normal(found, scale))[..., None]
    room = np.square(found.fall) - 2 * least / found.information
    half = np.sqrt(np.where(room > 0, room, np.nan))
    unchanged = np.where(least < 0, 0.0, np.nan)
    lows, highs = (np.concatenate([found.fall + sign * half, unchanged], -1) for sign in (-1, 1))
    return np.nanmin(lows, -1), np.nanmax(highs, -1)


def excluded(found: Contrasts, size: float, level: float) -> Array:
    """Whether no fall of some size or more can have begun at any of the change points; shape (...).

    Such a fall began at one of them. Against it, the inverse likelihood ratio of a fall by `size` is a supermartingale
    from there on, so where all ratios must be below a level, that level bounds the probability of ever excluding it.
    """
    return found.log_ratio(size).max(-1) <= np.log(level)


def _mixed(logs: Array) -> Array:
    weights, later = change_weights(logs.shape[-1])
    return np.logaddexp(logsumexp(np.log(weights) + logs, axis=-1), np.log(later))


def _log_normal(found: Contrasts, scale: float) -> Array:
    """Log of the likelihood ratio of each change point, sizes mixed by a normal."""
    shrunk = 1 + scale**2 * found.information
    return np.square(found.information * found.fall * scale) / shrunk / 2 - np.log(shrunk) / 2


def _log_half_normal(found: Contrasts, scale: float) -> Array:
    """Log of the likelihood ratio of each change point, sizes mixed by a half-normal."""
    place = found.information * found.fall * scale / np.sqrt(1 + scale**2 * found.information)
    return np.log(2) + _log_normal(found, scale) + log_ndtr(place)


def _from_end(values: Array) -> Array:
    return np.cumsum(values[..., ::-1], axis=-1)[..., ::-1]
