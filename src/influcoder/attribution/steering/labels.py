"""Exact influence under the decoder as it is now, labelled in memory: no server and no store."""

import logging
import time
from collections.abc import Collection, Sequence

import numpy as np

from influcoder.core.errors import EncoderError
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import TrainingSamples, solve
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.labeller import computed
from influcoder.influence.features.vectors import Vectors
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import influence
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec

logger = logging.getLogger(__name__)
Array = np.ndarray
LEAST_LESSONS = 20


def features(decoder: Decoder, spec: TeacherSpec, samples: Sequence[Sample]) -> FeatureTable:
    """Influence features of samples, in their order; those without a usable gradient are left out.

    Args:
        decoder: the decoder as it is now.
        spec: adapter, projection, length limit and loss reduction.
        samples: those of the same content are one.
    """
    unique = list({sample.hash: sample for sample in samples}.values())
    # Features stay in this process, so nothing is keyed by what the weights are.
    teacher = Teacher(decoder_fingerprint=decoder.uri, spec=spec)
    tables = []
    with progress("exact influence", len(unique)) as ticker:
        for table, bad in computed(decoder, teacher, unique, Batching()):
            tables.append(table)
            ticker.advance(len(table.hashes) + len(bad))
    return FeatureTable.gather(tables, [sample.hash for sample in unique])


def exact(decoder: Decoder, spec: TeacherSpec, queries: Sequence[Sample], candidates: Sequence[Sample]) -> Array:
    """Exact influence, shape (queries, candidates); NaN where a sample has no usable gradient, or meets itself."""
    table = features(decoder, spec, [*queries, *candidates])
    place = {value: row for row, value in enumerate(table.hashes)}
    found = np.full((len(queries), len(candidates)), np.nan)
    if not place:
        return found
    cosines = influence(table.vectors, table.vectors)
    for row, query in enumerate(queries):
        for column, candidate in enumerate(candidates):
            if query.hash in place and candidate.hash in place and query.hash != candidate.hash:
                found[row, column] = cosines[place[query.hash], place[candidate.hash]]
    return found


def distil_now(decoder: Decoder, spec: TeacherSpec, queries: Sequence[Sample], candidates: Sequence[Sample]) -> Encoder:
    """A closed form from fresh exact labels of the decoder as it is now.

    Args:
        decoder: the decoder.
        spec: the teacher, a gradient cosine.
        queries: the validation queries.
        candidates: training samples to label.
    Raises:
        EncoderError: too few samples have a usable gradient.
    """
    start = time.monotonic()
    known = {sample.hash: sample for sample in (*candidates, *queries)}
    table = features(decoder, spec, [*queries, *candidates])
    samples = [known[value] for value in table.hashes]
    encoder = solved(decoder, spec, samples, table.vectors, {sample.hash for sample in queries})
    logger.info("an encoder from %d labels in %.0f s", len(samples), time.monotonic() - start)
    return encoder


def solved(
    decoder: Decoder,
    spec: TeacherSpec,
    samples: Sequence[Sample],
    vectors: Vectors,
    queries: Collection[str],
) -> Encoder:
    """The closed form from influence features that are there.

    Args:
        decoder: whose features they are.
        spec: the teacher, a gradient cosine.
        samples: labelled samples.
        vectors: their features, shape (samples, dimensions).
        queries: hashes of those that are queries.
    Raises:
        EncoderError: they are too few.
    """
    is_query = np.array([sample.hash in queries for sample in samples], bool)
    if len(samples) < LEAST_LESSONS or is_query.sum() < 2 or (~is_query).sum() < 3:
        raise EncoderError(
            f"{len(samples)} samples have a usable gradient, {is_query.sum()} of them queries: too few to learn from.",
            "Label more samples, or look at the training: its loss may no longer be finite.",
        )
    cosines = influence(vectors, vectors)
    np.fill_diagonal(cosines, np.nan)
    training = TrainingSamples(samples, cosines, np.flatnonzero(is_query), np.flatnonzero(~is_query))
    kernel, attempts = solve(training, decoder, spec.max_tokens, seed=0)
    logger.info("left-out ρ %.3f of %d labelled samples", attempts[0].left_out, len(samples))
    return Encoder.of(kernel)
