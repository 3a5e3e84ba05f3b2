"""Exact influence of some of what a filter drops, beside some of what it keeps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from influcoder.attribution.filter.run import Filtered
from influcoder.labelsets import Block
from influcoder.samples import Sample


@dataclass(frozen=True)
class Verified:
    """What exact influence says of a filter's choice.

    Args:
        dropped: how many of the highest that are dropped have an exact score.
        kept: how many that are kept, drawn at random, have one.
        mean_dropped: mean exact influence of the former.
        mean_kept: mean exact influence of the latter; NaN where nothing is kept.
        higher: share of pairs in which the dropped sample has the higher exact score; NaN where nothing is kept.
    """

    dropped: int
    kept: int
    mean_dropped: float
    mean_kept: float
    higher: float


def to_verify(filtered: Filtered, k: int, seed: int = 0) -> list[int]:
    """Rows of the pool: the k highest that are dropped, and as many that are kept, at random; no copy of an example."""
    found, order = filtered.found, filtered.found.order()
    dropped = filtered.cut.dropped(found)
    highest = order[(dropped & ~found.copies)[order]][:k]
    rest = np.flatnonzero(~dropped)
    drawn = np.random.default_rng(seed).choice(rest, min(k, len(rest)), replace=False)
    return [*highest.tolist(), *drawn.tolist()]


def exact_scores(filtered: Filtered, chosen: Mapping[int, Sample], exact: Block) -> dict[int, float]:
    """Exact influence of samples with the examples by their row, by the rule of the filter, against no cohort.

    Args:
        filtered: the filter's choice.
        chosen: samples by their row.
        exact: exact influence of each on the examples, which are its queries.
    Returns:
        what has a label; nothing where no example has one.
    """
    if not exact.queries or not exact.candidates:
        return {}
    scores = filtered.probe.rule(exact.labels.T)
    known = dict(zip((sample.hash for sample in exact.candidates), scores.tolist(), strict=True))
    return {row: known[sample.hash] for row, sample in chosen.items() if sample.hash in known}


def verified(filtered: Filtered, exact: Mapping[int, float]) -> Verified:
    """What exact scores by row say."""
    dropped = filtered.cut.dropped(filtered.found)
    high, low = (np.array([s for row, s in exact.items() if dropped[row] == kind]) for kind in (True, False))
    higher = (high[:, None] > low[None]).mean() if len(high) and len(low) else float("nan")
    means = [float(values.mean()) if len(values) else float("nan") for values in (high, low)]
    return Verified(len(high), len(low), means[0], means[1], float(higher))
