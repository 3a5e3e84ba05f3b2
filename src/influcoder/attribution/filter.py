"""Which samples are influenced like a handful of harmful ones: a score for each sample of a pool.

Pools come as batches of samples and vectors, so that memory does not grow with them: what is kept of a sample is 17
bytes (see `Scored`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.encoder import Encoder
from influcoder.errors import EncoderError, SampleError, SettingsError, ShapeError
from influcoder.samples import Sample

Array = np.ndarray
Batch = tuple[Sequence[Sample], Array]
# What validation chooses from. Without validation it is the first, which the benchmark's validation splits preferred.
RULES = ("top3", "mean", "max")
EMBEDDED_AT_ONCE = 2048


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

    Args:
        examples: the harmful examples.
        harmful: their vectors, shape (examples, dimensions).
        benign: vectors of harmless examples, whose score is subtracted; shape (any number, dimensions).
        rule: how influence on several examples becomes one score.
    Raises:
        SampleError: there is no harmful example.
    """

    examples: Sequence[Sample]
    harmful: Array
    benign: Array
    rule: Rule

    def __post_init__(self) -> None:
        if not len(self.examples):
            raise SampleError("there is no harmful example.", "Give one at least; a handful is better.")
        for vectors in (self.harmful, self.benign):
            _check(vectors, self.harmful.shape[1])

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
        rule = rule or self.rule
        influence = _influence(vectors, self.harmful)
        scores = rule(influence).astype(np.float64)
        if len(self.benign):
            scores -= rule(_influence(vectors, self.benign))
        nearest = influence.argmax(1)
        known = {example.hash for example in self.examples}
        copies = np.array([sample.hash in known for sample in samples], bool)
        return Scored(scores, nearest.astype(np.int32), influence[np.arange(len(nearest)), nearest], copies)


def probe_of(encoder: Encoder, examples: Sequence[Sample], benign: Sequence[Sample], rule: Rule) -> Probe:
    """Embed the examples.

    Raises:
        SampleError: there is no harmful example, or one is called harmless too.
    """
    if not examples:
        raise SampleError("there is no harmful example.", "Give one at least; a handful is better.")
    both = {sample.hash for sample in examples} & {sample.hash for sample in benign}
    if both:
        name = next(sample.id for sample in examples if sample.hash in both)
        raise SampleError(f"example {name!r} is called both harmful and harmless.", "Take it out of one of the files.")
    return Probe(examples, vectors_of(encoder, examples), vectors_of(encoder, benign), rule)


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


def _check(vectors: Array, dimensions: int, samples: Sequence[Sample] | None = None) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dimensions or (samples is not None and len(samples) != len(vectors)):
        count = "" if samples is None else f"{len(samples)} samples and "
        raise ShapeError(f"vectors of shape {vectors.shape} do not fit {count}examples of {dimensions} dimensions.")
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        name = f"sample {samples[bad[0]].id!r}" if samples is not None else f"example {bad[0] + 1}"
        raise EncoderError(
            f"the vectors of {len(bad)} samples are not finite, the first is that of {name}.",
            "Nothing was written. Check the encoder: influcoder check",
        )
