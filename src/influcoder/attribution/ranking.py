"""The samples that drove an output most and least, by an encoder, and by exact influence on request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from influcoder.index.reader import Index
from influcoder.samples import Sample

if TYPE_CHECKING:
    from influcoder.encoder import Encoder
    from influcoder.labelsets import Block


class Embeds(Protocol):
    """What gives vectors of samples: an `Encoder`, or a `BareEncoder`."""

    def view(self, sample: Sample) -> Any:
        """What it sees of a sample."""

    def embed(self, views: Sequence[Any]) -> np.ndarray:
        """Vectors of what it sees, shape (samples, dimensions)."""


@dataclass(frozen=True)
class Attribution:
    """One sample's part in an output.

    Args:
        rank: 1 for the most influential.
        sample: the sample.
        score: estimated influence, -1 to 1.
        percentile: share of the pool that is ranked at or below it, 0 to 100.
        exact: exact influence, None where it was not asked for or the sample has none.
    """

    rank: int
    sample: Sample
    score: float
    percentile: float
    exact: float | None = None


@dataclass(frozen=True)
class Ranking:
    """Both ends of a pool that is ranked by influence on one output.

    Args:
        most: the most influential samples, rank 1 first.
        least: the least influential ones, the last rank first.
    """

    most: tuple[Attribution, ...]
    least: tuple[Attribution, ...] = ()

    @property
    def ends(self) -> list[tuple[str, Attribution]]:
        """All of both ends, the most influential first, each with the name of its end."""
        return [("most", item) for item in self.most] + [("least", item) for item in self.least]

    @property
    def samples(self) -> list[Sample]:
        """The samples of both ends, each once."""
        return list({item.sample.hash: item.sample for _, item in self.ends}.values())


def attribute(encoder: "Encoder", output: Sample, pool: Sequence[Sample], k: int = 10, least: int = 0) -> Ranking:
    """Rank a pool in memory by estimated influence on one output; no server and no index is needed.

    Args:
        encoder: the champion.
        output: what the decoder said, as a sample: prompt as context, answer as target.
        pool: the samples to rank.
        k: how many of the most influential to give.
        least: how many of the least influential to give.
    """
    return ranked(encoder.scores([output], pool)[0], pool, k, least)


def ranked(scores: np.ndarray, pool: Sequence[Sample], k: int, least: int = 0) -> Ranking:
    """Both ends of a pool by scores that are there already.

    Args:
        scores: of each sample, shape (samples,).
        pool: the samples.
        k: how many of the highest.
        least: how many of the lowest.
    """
    order = np.argsort(-scores, kind="stable")
    lowest = np.argsort(scores, kind="stable")[:least]
    samples = dict(enumerate(pool))
    return _ranking(scores[order[:k]], order[:k], scores[lowest], lowest, samples, len(pool))


def attribute_from(
    index: Index, encoder: Embeds, outputs: Sequence[Sample], k: int = 10, least: int = 0
) -> list[Ranking]:
    """Rank an index by estimated influence on each output; the outputs alone are embedded.

    Args:
        index: of the pool, made with the same encoder.
        encoder: the champion.
        outputs: what the decoder said, as samples.
        k: how many of the most influential to give.
        least: how many of the least influential to give.
    """
    return attribute_by(index, encoder.embed([encoder.view(output) for output in outputs]), k, least)


def attribute_by(index: Index, vectors: np.ndarray, k: int = 10, least: int = 0) -> list[Ranking]:
    """The same for outputs that are embedded already.

    Args:
        index: of the pool.
        vectors: of the outputs, by the same encoder, shape (outputs, dimensions).
        k: how many of the most influential to give.
        least: how many of the least influential to give.
    Raises:
        ShapeError: vectors have another length.
    """
    top, low = index.most(vectors, k), index.least(vectors, least)
    samples = index.samples({int(row) for _, rows in (top, low) for row in rows.flat})
    return [
        _ranking(top[0][place], top[1][place], low[0][place], low[1][place], samples, len(index))
        for place in range(len(vectors))
    ]


def verify(found: Ranking, exact: "Block") -> Ranking:
    """The same ranking with exact influence beside the estimate.

    Args:
        found: the ranking.
        exact: exact influence of its samples on the output, which is its one query.
    """
    if not exact.queries:
        return found
    known = {sample.hash: value for sample, value in zip(exact.candidates, exact.labels[0].tolist(), strict=True)}
    ends = [
        tuple(replace(item, exact=known.get(item.sample.hash)) for item in end) for end in (found.most, found.least)
    ]
    return Ranking(*ends)


def _ranking(
    high: np.ndarray, top: np.ndarray, low: np.ndarray, bottom: np.ndarray, samples: dict[int, Sample], size: int
) -> Ranking:
    most = [(place + 1, row, score) for place, (row, score) in enumerate(zip(top, high, strict=True))]
    least = [(size - place, row, score) for place, (row, score) in enumerate(zip(bottom, low, strict=True))]
    ends = [
        tuple(
            Attribution(rank, samples[int(row)], float(np.clip(score, -1, 1)), 100 * (size - rank + 1) / size)
            for rank, row, score in end
        )
        for end in (most, least)
    ]
    return Ranking(*ends)


def excerpt(text: str, length: int) -> str:
    """A text on one line, cut off after so many characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"
