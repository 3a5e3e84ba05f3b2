"""The samples that drove an output most, by an encoder, and by exact influence on request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from influcoder.encoder import Encoder
from influcoder.labelsets import Block
from influcoder.samples import Sample


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


def attribute(encoder: Encoder, output: Sample, pool: Sequence[Sample], k: int = 10) -> list[Attribution]:
    """Rank a pool by estimated influence on one output.

    Args:
        encoder: the champion.
        output: what the decoder said, as a sample: prompt as context, answer as target.
        pool: the samples to rank.
        k: how many of the most influential to give.
    """
    scores = encoder.scores([output], pool)[0]
    order = np.argsort(-scores, kind="stable")[:k]
    return [
        Attribution(rank, pool[row], float(scores[row]), 100 * float((scores <= scores[row]).mean()))
        for rank, row in enumerate(order, 1)
    ]


def verify(found: Sequence[Attribution], exact: Block) -> list[Attribution]:
    """The same attributions with exact influence beside the estimate.

    Args:
        found: the attributions.
        exact: exact influence of their samples on the output, which is its one query.
    """
    if not exact.queries:
        return list(found)
    known = {sample.hash: value for sample, value in zip(exact.candidates, exact.labels[0].tolist(), strict=True)}
    return [replace(item, exact=known.get(item.sample.hash)) for item in found]
