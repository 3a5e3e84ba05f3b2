"""Vectors that were computed once: kept in the store by embedder and by the hash of the sample's content.

A shard holds `vectors`, shape (samples, dimensions), half precision. It is written as soon as its samples are embedded,
so a build that was killed goes on where it was, and a corpus that grew pays for its new samples alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from influcoder.core.errors import EncoderError, IntegrityError
from influcoder.core.progress import progress
from influcoder.index.corpus_files import CorpusFiles
from influcoder.index.manifest import Embedder
from influcoder.samples import Sample
from influcoder.storage.objects import Objects
from influcoder.storage.shards import Shards

if TYPE_CHECKING:
    from influcoder.encoder import Encoder

# Some seconds of embedding: what a kill costs.
SHARD = 2048
Array = np.ndarray


class VectorCache:
    """The vectors of one embedder in the store; a shard that is damaged is deleted, and embedded again."""

    def __init__(self, store: Objects, embedder: Embedder) -> None:
        self._store = store
        self._shards = Shards(store, f"vectors/{embedder.id}/", "Delete it; its samples will be embedded again.")

    def add(self, hashes: list[str], vectors: Array) -> None:
        """Keep some vectors, shape (samples, dimensions), half precision."""
        self._shards.add(hashes, {"vectors": vectors})

    def shards(self) -> Iterator[tuple[str, list[str]]]:
        """Key and hashes of every shard."""
        for key in self._shards.listed():
            try:
                hashes = self._shards.hashes(key)
            except IntegrityError:
                # The same vectors have the same name, and must not find these in their place.
                self._store.delete(key)
                continue
            yield key, hashes or []

    def read(self, key: str) -> Array | None:
        """The vectors of a shard; None where its bytes are not those that it is named by."""
        try:
            return self._shards.read(key)[1]["vectors"]
        except IntegrityError:
            self._store.delete(key)
            return None


class Embedded:
    """Vectors of a corpus in a file, in the order of its rows.

    Args:
        path: the file, which is made.
        rows: samples of the corpus.
        dimensions: of a vector.
    Attributes:
        vectors: shape (rows, dimensions), half precision, on disk.
        computed: how many were computed now.
    """

    def __init__(self, path: Path, rows: int, dimensions: int) -> None:
        self.vectors: Array = np.memmap(path, np.float16, "w+", shape=(rows, dimensions))
        self.computed = 0
        self._there = np.zeros(rows, bool)

    @property
    def done(self) -> int:
        """How many rows are there."""
        return int(self._there.sum())

    def missing(self, row: int) -> bool:
        """Whether a row is not there yet."""
        return not self._there[row]

    def fill(self, rows: list[int], vectors: Array) -> None:
        """Take over some rows."""
        self.vectors[rows] = vectors
        self._there[rows] = True


def embed(pool: CorpusFiles, encoder: "Encoder", cache: VectorCache, path: Path) -> Embedded:
    """The vectors of a corpus: those that are cached, and the others computed and cached.

    Args:
        pool: the corpus.
        encoder: computes them.
        cache: of its embedder.
        path: a file for them.
    Raises:
        EncoderError: a vector is not finite.
    """
    found = Embedded(path, pool.rows, encoder.dimensions)
    _take_cached(pool, cache, found)
    waiting: list[tuple[int, Sample]] = []
    with progress(f"embedding {pool.uri}", pool.rows, found.done) as ticker:
        for first, samples in pool.groups():
            waiting += [(row, s) for row, s in enumerate(samples, first) if found.missing(row)]
            if len(waiting) >= SHARD:
                ticker.advance(_compute(waiting, encoder, cache, found))
                waiting = []
        if waiting:
            ticker.advance(_compute(waiting, encoder, cache, found))
    return found


def _take_cached(pool: CorpusFiles, cache: VectorCache, found: Embedded) -> None:
    for key, hashes in cache.shards():
        places = [(number, pool.seen.row_of(value)) for number, value in enumerate(hashes)]
        wanted = [(number, row) for number, row in places if row is not None and found.missing(row)]
        vectors = cache.read(key) if wanted else None
        if vectors is not None and vectors.shape == (len(hashes), found.vectors.shape[1]):
            found.fill([row for _, row in wanted], vectors[[number for number, _ in wanted]])


def _compute(waiting: list[tuple[int, Sample]], encoder: "Encoder", cache: VectorCache, found: Embedded) -> int:
    samples = [sample for _, sample in waiting]
    vectors = halved(encoder.embed([encoder.view(sample) for sample in samples]), samples, encoder.uri)
    cache.add([sample.hash for sample in samples], vectors)
    found.fill([row for row, _ in waiting], vectors)
    found.computed += len(waiting)
    return len(waiting)


def halved(vectors: Array, samples: list[Sample], uri: str) -> Array:
    """Vectors in half precision.

    Raises:
        EncoderError: one is not finite, or too long for it.
    """
    # What is too long becomes infinite, and is refused below.
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    wrong = ~np.isfinite(half).all(axis=1)
    if wrong.any():
        sample = samples[int(np.argmax(wrong))]
        raise EncoderError(
            f"encoder {uri!r} gives sample {sample.id!r} no finite vector ({int(wrong.sum())} of {len(samples)}).",
            "Go back to another version: influcoder rollback",
        )
    return half
