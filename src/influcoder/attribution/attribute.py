"""The samples that drove an output most, by an encoder, and by exact influence on request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from influcoder.decoder import Decoder
from influcoder.encoder import Encoder
from influcoder.influence.cache import FeatureCache
from influcoder.influence.labeller import label_samples
from influcoder.influence.scores import exact_influence
from influcoder.influence.teacher import Teacher
from influcoder.samples import Sample


@dataclass(frozen=True)
class Attribution:
    """One sample's part in an output.

    Args:
        rank: 1 for the most influential.
        sample: the sample.
        score: cosine of the encoder's embeddings, -1 to 1.
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


def verify(
    found: Sequence[Attribution], output: Sample, decoder: Decoder, teacher: Teacher, cache: FeatureCache
) -> list[Attribution]:
    """The same attributions with exact influence beside the estimate.

    Raises:
        WrongDecoderError: the decoder is not the teacher's.
    """
    samples = [output, *(item.sample for item in found if item.sample.hash != output.hash)]
    table = label_samples(decoder, teacher, samples, cache, token_budget=768, shard_samples=32).table
    if output.hash not in table.hashes:
        return list(found)
    query = table.select([output.hash])
    exact = dict(zip(table.hashes, exact_influence(teacher.spec, query, table)[0], strict=True))
    return [replace(item, exact=_number(exact.get(item.sample.hash))) for item in found]


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
