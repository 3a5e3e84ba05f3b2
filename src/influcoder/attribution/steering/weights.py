"""From estimated influence to how often each training sample is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from influcoder.core.errors import SettingsError, ShapeError
from influcoder.encoder import Encoder
from influcoder.samples import Sample

Array = np.ndarray
MODES = ("prioritise", "drop")
SCALES = ("rank", "value")


@dataclass(frozen=True)
class Weighting:
    """How estimates become weights.

    Args:
        mode: `prioritise` draws samples of high influence more often; `drop` never draws the lowest share, and all
            others alike.
        temperature: of `prioritise`: 1 gives about e times the weight to a sample that stands one standard deviation
            higher; large values come near to uniform.
        floor: of `prioritise`: share of the draws that goes to all samples alike, so that each keeps a chance.
        scale: of `prioritise`: `rank` turns ranks into a normal distribution, so that the weights do not depend on how
            the estimates are spread; `value` takes the estimates, standardised.
        share: of `drop`: share of the samples that is never drawn.
    Raises:
        SettingsError: a value is out of its range.
    """

    mode: str = "prioritise"
    temperature: float = 1.0
    floor: float = 0.1
    scale: str = "rank"
    share: float = 0.2

    def __post_init__(self) -> None:
        for value, known in ((self.mode, MODES), (self.scale, SCALES)):
            if value not in known:
                raise SettingsError(f"{value!r} is no way to weigh samples.", f"Use one of {', '.join(known)}.")
        if not self.temperature > 0:
            raise SettingsError(f"temperature is {self.temperature}.", "Give a number above 0.")
        if not 0 < self.floor <= 1:
            raise SettingsError(f"floor is {self.floor}.", "Give a share above 0, at most 1; to exclude samples, drop.")
        if not 0 <= self.share < 1:
            raise SettingsError(f"share is {self.share}.", "Give a share from 0 to below 1.")


def estimates(encoder: Encoder, queries: Sequence[Sample], samples: Sequence[Sample]) -> Array:
    """Estimated influence of each sample on all queries together, the mean over them, shape (samples,).

    Inner products are linear, so the pool is held against one pooled query and no matrix of pairs is made.

    Args:
        encoder: whose estimates.
        queries: the validation queries.
        samples: the training samples.
    """
    left, right = (encoder.embed([encoder.view(sample) for sample in role]) for role in (queries, samples))
    return (right @ left.mean(0)).astype(np.float64)


def weights_of(values: Array, weighting: Weighting) -> Array:
    """How likely each sample is to be drawn.

    Args:
        values: estimated influence, shape (samples,).
        weighting: how they become weights.
    Returns:
        probabilities, shape (samples,); their sum is 1.
    Raises:
        ShapeError: there is no estimate, or one is not finite.
    """
    if values.ndim != 1 or not len(values):
        raise ShapeError(f"estimates have the shape {values.shape}.", "Give one number for each training sample.")
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ShapeError(
            f"{len(wrong)} of {len(values)} estimates are not finite, the first that of row {wrong[0]}.",
            "Weights are left as they are; check the encoder and those samples.",
        )
    return _kept(values, weighting.share) if weighting.mode == "drop" else _prioritised(values, weighting)


def effective_samples(weights: Array) -> float:
    """How many samples drawn alike would spread as these do (Kish 1965): 1 over the sum of squares."""
    return float(1 / np.square(weights).sum())


def _kept(values: Array, share: float) -> Array:
    dropped = int(share * len(values))
    weights = np.full(len(values), 1 / (len(values) - dropped))
    weights[np.argsort(values, kind="stable")[:dropped]] = 0
    return weights


def _prioritised(values: Array, weighting: Weighting) -> Array:
    size = len(values)
    if weighting.scale == "rank":
        # Blom's scores: what a normal sample of this size would have at each rank; ties share theirs.
        heights = stats.norm.ppf((stats.rankdata(values) - 0.375) / (size + 0.25))
    else:
        spread = values.std()
        heights = (values - values.mean()) / spread if spread > 1e-12 else np.zeros(size)
    exponents = heights / weighting.temperature
    chosen = np.exp(exponents - exponents.max())
    return weighting.floor / size + (1 - weighting.floor) * chosen / chosen.sum()
