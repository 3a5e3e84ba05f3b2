"""How much of the influence on some queries comes from each region of a pool, with intervals.

Influence is counted from the pool's mean: what every sample has in common tells no region from another, and an estimate
need not be zero where influence is. That of a region on a query is the sum over its samples, the parts above and below
the mean apart, as a share of the sum over the whole pool; a group of queries is the mean of its queries, so that none
outweighs the others. Both the queries and the samples are a draw, and both are resampled: samples by blocks
(delete-a-group in spirit; Owen, "The pigeonhole bootstrap", 2007, section 3), so that memory does not grow with the
pool.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import ShapeError
from influcoder.statistics.bootstrap import Interval, interval

Array = np.ndarray
BLOCKS = 64
RESAMPLES = 1000


@dataclass(frozen=True)
class Share:
    """A region's part in one group of queries.

    Args:
        region: its name.
        queries: the group's name.
        samples: how many samples it has.
        part: its share of all samples.
        positive: its share of the influence above the pool's mean.
        negative: its share of the influence below it.
        lift: `positive` over `part`: above 1, its samples count for more than their number.
    """

    region: str
    queries: str
    samples: int
    part: float
    positive: Interval
    negative: Interval
    lift: Interval

    @property
    def standing(self) -> str:
        """`over`, `under` or `even`: whether the lift is beyond 1 with its whole interval."""
        if self.lift.lo > 1:
            return "over"
        return "under" if self.lift.hi < 1 else "even"


@dataclass(frozen=True)
class Totals:
    """Sums of influence.

    Args:
        positive: above the pool's mean, shape (queries, regions, blocks).
        negative: below it, as positive numbers, same shape.
        counts: samples, shape (regions, blocks).
    """

    positive: Array
    negative: Array
    counts: Array


def mean_vector(batches: Iterable[tuple[Array, Array]]) -> Array:
    """The mean of a pool's vectors, shape (dimensions,), a batch in memory at a time.

    Raises:
        ShapeError: there is no sample.
    """
    total, count = np.float64(0.0), 0
    for _, vectors in batches:
        total = total + vectors.sum(0, dtype=np.float64)
        count += len(vectors)
    if not count:
        raise ShapeError("shares need at least one query and one sample.")
    return np.asarray(total / count, np.float32)


def totals(queries: Array, batches: Iterable[tuple[Array, Array]], regions: Array, count: int, centre: Array) -> Totals:
    """Sum influence over a pool, a batch in memory at a time.

    Args:
        queries: vectors, shape (queries, dimensions).
        batches: rows of the pool and their vectors, shapes (rows,) and (rows, dimensions).
        regions: the number of each row's region, shape (pool,).
        count: how many regions there are.
        centre: the mean of the pool's vectors, from which influence is counted.
    Raises:
        ShapeError: there is no query, or no sample.
    """
    if not len(queries) or not len(regions):
        raise ShapeError("shares need at least one query and one sample.")
    sums = np.zeros((2, len(queries), count * BLOCKS))
    counts = np.zeros(count * BLOCKS)
    for rows, vectors in batches:
        # Rows next to each other come from one place, so blocks take every 64th.
        places = regions[rows] * BLOCKS + rows % BLOCKS
        scores = queries.astype(np.float32) @ (vectors.astype(np.float32) - centre).T
        counts += np.bincount(places, minlength=count * BLOCKS)
        for part, values in enumerate((np.maximum(scores, 0), np.maximum(-scores, 0))):
            for row, line in enumerate(values):
                sums[part, row] += np.bincount(places, weights=line, minlength=count * BLOCKS)
    shape = (len(queries), count, BLOCKS)
    return Totals(sums[0].reshape(shape), sums[1].reshape(shape), counts.reshape(shape[1:]))


def shares(found: Totals, names: Sequence[str], groups: Sequence[str], seed: int = 0) -> list[Share]:
    """Each region's part in all queries together, under the name `all`, and in each group of them.

    Args:
        found: the sums.
        names: of the regions.
        groups: of each query.
        seed: of the draws.
    Returns:
        the largest share of influence above the mean on all queries first, then each group in the same order.
    """
    whole = _of_group(found, names, "all", np.arange(len(groups)), seed)
    order = sorted(range(len(names)), key=lambda region: -whole[region].positive.value)
    kinds = sorted(set(groups)) if len(set(groups)) > 1 else []
    each = [_of_group(found, names, kind, np.flatnonzero(np.asarray(groups) == kind), seed) for kind in kinds]
    return [part[region] for part in (whole, *each) for region in order]


def _of_group(found: Totals, names: Sequence[str], group: str, rows: Array, seed: int) -> list[Share]:
    generator = np.random.default_rng(seed)
    used = np.flatnonzero(found.counts.sum(0))
    blocks = generator.multinomial(len(used), np.full(len(used), 1 / len(used)), size=RESAMPLES).astype(float)
    draws = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES).astype(float)
    samples = found.counts.sum(1)
    part, drawn_part = samples / samples.sum(), _parts(found.counts[:, used] @ blocks.T)
    values = {}
    for name, sums in (("positive", found.positive), ("negative", found.negative)):
        mine = sums[rows][:, :, used]
        # A query that nothing has this influence on has nothing to share.
        some = np.flatnonzero(mine.sum((1, 2)) > 0)
        values[name] = _means(mine[some], draws.T[some], blocks)
    with np.errstate(invalid="ignore", divide="ignore"):
        values["lift"] = (values["positive"][0] / part, values["positive"][1] / drawn_part)
    return [
        Share(
            name,
            group,
            int(samples[region]),
            float(part[region]),
            **{kind: interval(float(v[region]), d[region], len(rows)) for kind, (v, d) in values.items()},
        )
        for region, name in enumerate(names)
    ]


def _means(sums: Array, draws: Array, blocks: Array) -> tuple[Array, Array]:
    """Mean over queries of the regions' shares, and the same under each draw; NaN where no query is left.

    Args:
        sums: of influence, shape (queries, regions, blocks).
        draws: how often each query is drawn, shape (queries, draws).
        blocks: how often each block is drawn, shape (draws, blocks).
    Returns:
        shapes (regions,) and (regions, draws).
    """
    total = draws.sum(0)
    weights = np.divide(draws, total, out=np.full(draws.shape, np.nan), where=total > 0)
    drawn = np.full((sums.shape[1], len(blocks)), 0.0 if len(sums) else np.nan)
    # Query by query, so that memory holds one table of regions × draws.
    for query, weight in zip(sums, weights, strict=True):
        drawn += _parts(query @ blocks.T) * weight
    mean = _parts(sums.sum(2), axis=1).mean(0) if len(sums) else np.full(sums.shape[1], np.nan)
    return mean, drawn


def _parts(values: Array, axis: int = 0) -> Array:
    """Shares along an axis; zero where there is nothing to share."""
    whole = values.sum(axis=axis, keepdims=True)
    return np.divide(values, whole, out=np.zeros_like(values, dtype=float), where=whole > 0)
