"""Which samples are influenced like a handful of harmful ones: a score for each sample of a pool.

Pools come as batches of samples and vectors, so that memory does not grow with them: what is kept of a sample is 17
bytes (see `Scored`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import EncoderError, SampleError, SettingsError, ShapeError
from influcoder.encoder import Encoder
from influcoder.samples import Sample

Array = np.ndarray
Batch = tuple[Sequence[Sample], Array]
# What validation chooses from. Without validation it is the first, which the benchmark's validation splits preferred.
RULES = ("top3", "mean", "max")
EMBEDDED_AT_ONCE = 2048
COHORT = 128
# Influence that is all alike has no deviation to be told in.
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Rule:
    """How influence on several examples becomes one score.

    Args:
        name: `mean`, `max`, or `topM`: the mean of the M largest.
    Raises:
        SettingsError: it is none of them.
    """

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"mean|max|top[1-9]\d*", self.name):
            raise SettingsError(f"{self.name!r} is no way to score.", "Use mean, max, or topM such as top3.")

    def __call__(self, influence: Array) -> Array:
        """Scores, shape (samples,), of influence of shape (samples, examples)."""
        if self.name == "mean":
            return influence.mean(1)
        count = 1 if self.name == "max" else min(int(self.name[3:]), influence.shape[1])
        return np.partition(influence, -count, axis=1)[:, -count:].mean(1)


@dataclass(frozen=True)
class Scored:
    """Scores of samples, in their order.

    Args:
        scores: shape (samples,), float64.
        nearest: the harmful example that each is influenced most like, as a row of the examples, shape (samples,).
        influence: estimated influence on that example, shape (samples,), float32.
        copies: whether a sample is an example itself, word for word, shape (samples,).
    """

    scores: Array
    nearest: Array
    influence: Array
    copies: Array

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def joined(parts: Sequence["Scored"]) -> "Scored":
        """All parts, one after the other."""
        columns = (np.concatenate([getattr(p, name) for p in parts]) for name in Scored.__dataclass_fields__)
        return Scored(*columns)

    def order(self) -> Array:
        """Rows, the most harmful first: copies, then by score; equal ones in the order of the pool."""
        return np.lexsort((np.arange(len(self)), -self.scores, ~self.copies))


@dataclass(frozen=True)
class Probe:
    """What a pool is held against.

    What a sample shares with everything, such as its length, is no sign of harm, and some samples are like everything.
    So each sample's influence with the examples is told in deviations of its own influence with a cohort: samples that
    are harmless, or that are as the pool is (the test normalisation of Auckenthaler, Carey and Lloyd-Thomas 2000,
    section 3.2).

    Args:
        examples: the harmful examples.
        harmful: their vectors, shape (examples, dimensions).
        cohort: the cohort; without one, scores are influence.
        others: its vectors, shape (cohort, dimensions).
        rule: how influence on several examples becomes one score.
    Raises:
        SampleError: there is no harmful example, or the cohort is of one sample.
    """

    examples: Sequence[Sample]
    harmful: Array
    cohort: Sequence[Sample]
    others: Array
    rule: Rule

    def __post_init__(self) -> None:
        if not len(self.examples):
            raise SampleError("there is no harmful example.", "Give one at least; a handful is better.")
        if len(self.cohort) == 1:
            raise SampleError("one harmless example has no deviation.", "Give two at least, or none.")
        _check(self.harmful, self.harmful.shape[1], self.examples)
        _check(self.others, self.harmful.shape[1], self.cohort)

    def score(self, samples: Sequence[Sample], vectors: Array, rule: Rule | None = None) -> Scored:
        """Scores of a batch.

        Args:
            samples: the samples.
            vectors: their vectors, shape (samples, dimensions).
            rule: instead of the probe's.
        Raises:
            ShapeError: the vectors do not fit the samples or the examples.
            EncoderError: a vector is not finite.
        """
        _check(vectors, self.harmful.shape[1], samples)
        influence = _influence(vectors, self.harmful)
        scores = (rule or self.rule)(influence).astype(np.float64)
        if len(self.cohort):
            scores = standardised(scores, _influence(vectors, self.others), self._itself(samples))
        nearest = influence.argmax(1)
        known = {example.hash for example in self.examples}
        copies = np.array([sample.hash in known for sample in samples], bool)
        return Scored(scores, nearest.astype(np.int32), influence[np.arange(len(nearest)), nearest], copies)

    def _itself(self, samples: Sequence[Sample]) -> Array:
        """Where the cohort holds a sample itself, shape (samples, cohort)."""
        places = {sample.hash: place for place, sample in enumerate(self.cohort)}
        found = np.zeros((len(samples), len(places)), bool)
        for row, sample in enumerate(samples):
            if sample.hash in places:
                found[row, places[sample.hash]] = True
        return found


def standardised(scores: Array, cohort: Array, itself: Array) -> Array:
    """Scores in deviations of the influence with a cohort, in which no sample counts for itself.

    Args:
        scores: shape (samples,).
        cohort: influence with the cohort, shape (samples, cohort).
        itself: where the cohort holds the sample, same shape.
    """
    values = cohort.astype(np.float64)
    counts = np.maximum((~itself).sum(1), 1)
    means = np.where(itself, 0, values).sum(1) / counts
    squares = (np.where(itself, 0, values - means[:, None]) ** 2).sum(1) / counts
    return (scores - means) / np.sqrt(squares).clip(LEAST_DEVIATION)


def probe_of(encoder: Encoder, examples: Sequence[Sample], cohort: Sequence[Sample], rule: Rule) -> Probe:
    """Embed the examples and the cohort.

    Raises:
        SampleError: there is no harmful example, or one is called harmless too.
    """
    if not examples:
        raise SampleError("there is no harmful example.", "Give one at least; a handful is better.")
    both = {sample.hash for sample in examples} & {sample.hash for sample in cohort}
    if both:
        name = next(sample.id for sample in examples if sample.hash in both)
        raise SampleError(f"example {name!r} is called both harmful and harmless.", "Take it out of one of the files.")
    return Probe(examples, vectors_of(encoder, examples), cohort, vectors_of(encoder, cohort), rule)


def cohort_rows(size: int, known: int, seed: int = 0) -> list[int]:
    """Rows of a pool that a cohort is taken from: enough, even where as many of them as are known are in the draw."""
    return [int(row) for row in np.random.default_rng(seed).permutation(size)[: COHORT + known]]


def cohort_of(drawn: Sequence[Sample], examples: Sequence[Sample], benign: Sequence[Sample] = ()) -> list[Sample]:
    """Harmless examples, filled up to 128 samples by a draw of the pool that holds no example.

    A handful alone gives poor deviations, and a pool is harmless for the most part.

    Args:
        drawn: samples of the pool, see `cohort_rows`.
        examples: the harmful examples.
        benign: harmless ones.
    Returns:
        nothing where there are fewer than two.
    """
    known = {sample.hash for sample in (*examples, *benign)}
    drawn = [sample for sample in drawn if sample.hash not in known][: max(COHORT - len(benign), 0)]
    return [*benign, *drawn] if len(benign) + len(drawn) > 1 else []


def batches_of(encoder: Encoder, samples: Sequence[Sample], size: int = EMBEDDED_AT_ONCE) -> Iterator[Batch]:
    """A pool with its vectors, batch by batch."""
    for start in range(0, len(samples), size):
        chosen = samples[start : start + size]
        yield chosen, vectors_of(encoder, chosen)


def vectors_of(encoder: Encoder, samples: Sequence[Sample]) -> Array:
    """Vectors of samples, shape (samples, dimensions)."""
    if not samples:
        return np.zeros((0, encoder.dimensions), np.float32)
    return encoder.embed([encoder.view(sample) for sample in samples])


def _influence(vectors: Array, examples: Array) -> Array:
    return np.clip(vectors.astype(np.float32) @ examples.astype(np.float32).T, -1, 1)


def _check(vectors: Array, dimensions: int, samples: Sequence[Sample]) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dimensions or len(samples) != len(vectors):
        raise ShapeError(
            f"vectors of shape {vectors.shape} do not fit {len(samples)} samples and {dimensions} dimensions."
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        raise EncoderError(
            f"the vectors of {len(bad)} samples are not finite, the first is that of {samples[bad[0]].id!r}.",
            "Nothing was written. Check the encoder: influcoder check",
        )
