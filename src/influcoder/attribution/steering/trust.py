"""Whether estimates are still worth following: exact influence of a few pairs, under the decoder as it is now."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import SampleError, SettingsError
from influcoder.samples import Sample
from influcoder.samples.splits import split_of
from influcoder.statistics.agreement import Agreement, paired_difference

FALLBACKS = ("uniform", "warn", "stop", "relabel")
LEAST_QUERIES, LEAST_CANDIDATES = 2, 3


@dataclass(frozen=True)
class Limits:
    """When estimates are no longer trusted, and what follows.

    Args:
        floor: agreement (mean per-query ρ) that they must be above, with the whole of its 95 % interval.
        margin: a fall against the first measurement that is at least this large, and beyond chance, ends the trust.
        when_untrusted: `uniform` draws all samples alike from then on, `warn` goes on as before, `stop` ends the
            training, `relabel` solves for a new encoder from fresh exact labels, and draws alike if that is no better.
    Raises:
        SettingsError: a value is out of its range.
    """

    floor: float = 0.0
    margin: float = 0.1
    when_untrusted: str = "uniform"

    def __post_init__(self) -> None:
        if not -1 <= self.floor < 1:
            raise SettingsError(f"floor is {self.floor}.", "Give a correlation, -1 to below 1.")
        if not self.margin >= 0:
            raise SettingsError(f"margin is {self.margin}.", "Give a number of 0 or more.")
        if self.when_untrusted not in FALLBACKS:
            raise SettingsError(f"when_untrusted is {self.when_untrusted!r}.", f"Use one of {', '.join(FALLBACKS)}.")


@dataclass(frozen=True)
class Spot:
    """The pairs that agreement is measured on, the same each time, so that a fall is measured in pairs.

    Args:
        queries: validation queries.
        candidates: training samples; no encoder that is made during the training learns from them.
    """

    queries: tuple[Sample, ...]
    candidates: tuple[Sample, ...]

    @property
    def possibly_learnt(self) -> int:
        """How many candidates are not on the report side: an encoder from elsewhere may have been trained on them."""
        return sum(split_of(sample) != "report" for sample in self.candidates)


def draw_spot(
    queries: Sequence[Sample], samples: Sequence[Sample], sizes: tuple[int, int], seed: int
) -> tuple[Spot, list[Sample]]:
    """Draw the spot sample, and say what may be learnt from.

    Candidates come from the report side of the split by content, which no encoder of this package was trained on, as
    long as it holds enough of them.

    Args:
        queries: the validation queries.
        samples: the training samples.
        sizes: how many queries and candidates at most; of few training samples, a third of them.
        seed: of the draw.
    Returns:
        the spot sample, and the training samples outside it in random order, the report side's last.
    Raises:
        SampleError: there are too few.
    """
    generator = np.random.default_rng((seed, 1))
    unique = list({sample.hash: sample for sample in samples}.values())
    asked = list({sample.hash: sample for sample in queries}.values())
    most = min(sizes[1], len(unique) // 3)
    if min(sizes[0], len(asked)) < LEAST_QUERIES or most < LEAST_CANDIDATES:
        raise SampleError(
            f"{len(asked)} queries and {len(unique)} training samples are too few to measure agreement on.",
            f"Give {LEAST_QUERIES} queries and {3 * LEAST_CANDIDATES} training samples, or more.",
        )
    shuffled = [unique[row] for row in generator.permutation(len(unique))]
    shuffled.sort(key=lambda sample: split_of(sample) == "report")
    chosen = [asked[row] for row in generator.permutation(len(asked))[: sizes[0]]]
    return Spot(tuple(chosen), tuple(shuffled[-most:])), shuffled[:-most]


def doubt(now: Agreement, first: Agreement | None, limits: Limits) -> str:
    """Why estimates are not to be trusted; empty where they are.

    One look with a 95 % interval: of many looks at sound estimates a few come out wrong, which the margin makes rare.

    Args:
        now: agreement under the decoder as it is.
        first: agreement under the decoder that the estimates were made for, on the same pairs.
        limits: when to doubt.
    """
    rho = now.rho
    if not np.isfinite([rho.value, rho.lo, rho.hi]).all():
        return "agreement can't be measured: estimates or exact influence are constant or not finite"
    if rho.lo <= limits.floor:
        return f"agreement {rho} is not above {limits.floor:g} beyond chance"
    if first is None:
        return ""
    fall = paired_difference(now, first)
    if fall.value <= -limits.margin and fall.hi < 0:
        return f"agreement {rho} has fallen by {-fall.value:.3f} [{-fall.hi:.3f}, {-fall.lo:.3f}]"
    return ""
