"""Which regions of a pool drive the answers to some queries: shares, near-duplicates and a map."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from influcoder.attribution.regions.atlas import LEAST, Points, project
from influcoder.attribution.regions.duplicates import groups_of_duplicates
from influcoder.attribution.regions.grouping import Regions, by_cluster, by_source
from influcoder.attribution.regions.shares import Share, mean_vector, shares, totals
from influcoder.core.errors import SampleError
from influcoder.samples import Sample

Array = np.ndarray
By = Literal["auto", "source", "cluster"]


class Pool(Protocol):
    """A pool with vectors, such as an index."""

    def __len__(self) -> int: ...

    def vectors(self) -> Iterator[tuple[Array, Array]]:
        """Rows and their vectors, a part at a time."""
        ...

    def samples(self, rows: Iterable[int]) -> dict[int, Sample]:
        """The samples of some rows."""
        ...

    def sources(self) -> list[str]:
        """The source of each row."""
        ...


@dataclass(frozen=True)
class Scope:
    """How a pool is surveyed.

    Args:
        by: regions are sources, or clusters; `auto` takes sources where the pool names two or more.
        regions: how many at most, and how many clusters.
        points: samples on the map and in the search for near-duplicates, drawn where the pool has more.
        map: whether to draw the map, which takes most of the time.
        seed: of draws, clusters and map.
    """

    by: By = "auto"
    regions: int = 20
    points: int = 20_000
    map: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates of one region.

    Args:
        region: its name.
        looked_at: samples of it that were compared.
        repeated: those of them that nearly repeat an earlier one.
        example: the ids of its largest group, five at most.
    """

    region: str
    looked_at: int
    repeated: int
    example: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """What was found.

    Args:
        regions: the division.
        shares: of influence, see `shares`.
        duplicates: the regions that repeat themselves most, first.
        points: what the map shows; None where none is drawn.
        samples: size of the pool.
        queries: how many queries.
    """

    regions: Regions
    shares: list[Share]
    duplicates: list[Duplicates]
    points: Points | None
    samples: int
    queries: int

    @property
    def overall(self) -> list[Share]:
        """Shares on all queries together."""
        return [share for share in self.shares if share.queries == "all"]


def survey(pool: Pool, vectors: Array, groups: Sequence[str], scope: Scope) -> Survey:
    """Survey a pool.

    Args:
        pool: samples and their vectors.
        vectors: of the queries, shape (queries, dimensions).
        groups: of each query, such as its source.
        scope: how.
    Raises:
        SampleError: the pool can't be divided as was asked.
    """
    regions = _divided(pool, scope)
    centre = mean_vector(pool.vectors())
    found = totals(vectors, pool.vectors(), regions.of_row, len(regions.names), centre)
    rows = drawn(len(pool), scope.points, scope.seed)
    samples = pool.samples(rows.tolist())
    chosen = [samples[row] for row in rows.tolist()]
    drawing = scope.map and len(rows) >= LEAST
    points = _points(pool, vectors, groups, regions, rows, chosen, centre, scope.seed) if drawing else None
    return Survey(
        regions,
        shares(found, regions.names, groups, scope.seed),
        _duplicates(chosen, regions, regions.of_row[rows]),
        points,
        len(pool),
        len(vectors),
    )


def _divided(pool: Pool, scope: Scope) -> Regions:
    if scope.by != "cluster":
        try:
            return by_source(pool.sources(), scope.regions)
        except SampleError:
            if scope.by == "source":
                raise
    count = min(scope.regions, max(len(pool) // 5, 1))
    return by_cluster(pool.vectors, len(pool), count, pool.samples, scope.seed)


def drawn(size: int, most: int, seed: int) -> Array:
    """Places of a seeded draw without replacement, in order; all of them where there are no more than wanted."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, most, replace=False))


def _points(
    pool: Pool,
    queries: Array,
    groups: Sequence[str],
    regions: Regions,
    rows: Array,
    samples: Sequence[Sample],
    centre: Array,
    seed: int,
) -> Points:
    place = np.full(len(pool), -1)
    place[rows] = np.arange(len(rows))
    vectors = np.zeros((len(rows), queries.shape[1]), np.float32)
    for some, values in pool.vectors():
        here = place[some] >= 0
        vectors[place[some[here]]] = values[here]
    scores = queries @ (vectors - centre).T
    kinds = sorted(set(groups)) if len(set(groups)) > 1 else []
    influence = [scores.mean(0), *(scores[[group == kind for group in groups]].mean(0) for kind in kinds)]
    places = project(vectors, seed)
    return Points(samples, places, regions.of_row[rows], np.array(influence), ["all", *kinds])


def _duplicates(samples: Sequence[Sample], regions: Regions, of_sample: Array) -> list[Duplicates]:
    groups = groups_of_duplicates([sample.text for sample in samples])
    repeated = np.zeros(len(regions.names), int)
    example: dict[int, list[int]] = {}
    for group in groups:
        np.add.at(repeated, of_sample[group[1:]], 1)
        example.setdefault(int(of_sample[group[0]]), group)
    looked_at = np.bincount(of_sample, minlength=len(regions.names))
    found = [
        Duplicates(
            regions.names[region],
            int(looked_at[region]),
            int(repeated[region]),
            tuple(samples[place].id for place in example.get(region, [])[:5]),
        )
        for region in np.flatnonzero(repeated).tolist()
    ]
    return sorted(found, key=lambda item: (-item.repeated / item.looked_at, item.region))
