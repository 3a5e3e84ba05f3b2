"""Largest and smallest inner products over many vectors, by an inverted file of FAISS in half precision.

Vectors are divided into lists around centres, a search looks at the lists whose centres have the largest inner product
with the query, and how many that have to be is measured on each segment when it is made. Vectors of many lengths would
nearly all lie in the lists of the longest centres, so each gets one more coordinate that makes them equally long, and a
query a zero there, which changes no inner product (Bachrach and others 2014, section 3). The same lists answer for the
smallest inner products, which are the largest with the opposite of the query; a graph (HNSW) that was built for
neighbours of its own samples does that badly. A segment is read by mapping its file into memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from influcoder.core.errors import IntegrityError, ShapeError

Array = np.ndarray
# Fewer than this are looked through as a whole, in less than a millisecond.
LEAST_DIVIDED = 10_000
SEGMENT_BYTES = 64 * 2**20
RECALL_AT, LEAST_RECALL = 100, 0.99
_PROBED_WITH = 64
# What FAISS learns centres from; it warns below 39 a centre.
_POINTS = 48
_BATCH = 16_384
_SEED = 1234


@dataclass(frozen=True)
class Made:
    """How a segment is searched; see `Segment`."""

    lists: int
    probes: int
    recall: float


def segment_rows(dimensions: int) -> int:
    """How many vectors a segment holds at most, so that making one takes the same memory however large the pool is."""
    return max(LEAST_DIVIDED, SEGMENT_BYTES // (2 * dimensions))


def make_segment(vectors: Array, path: Path) -> Made:
    """Write a segment.

    Args:
        vectors: shape (rows, dimensions), half precision; may be on disk.
        path: the file.
    Returns:
        in how many lists the vectors are, how many of them a search has to look at, and what it finds then.
    """
    import faiss

    rows, dimensions = vectors.shape
    lists = round(rows**0.5) if rows >= LEAST_DIVIDED else 1
    kind = faiss.ScalarQuantizer.QT_fp16
    # Codes are the vectors themselves, not what is left of them after their centre: a score is exact in any list.
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimensions + 1), dimensions + 1, lists, kind, faiss.METRIC_INNER_PRODUCT, False
    )
    index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = _SEED, 10, _POINTS
    index.cp.spherical = True
    batches = range(0, rows, _BATCH)
    longest = max((float(_squares(vectors[first : first + _BATCH]).max()) for first in batches), default=0.0)
    index.train(_levelled(_some(vectors, max(_POINTS * lists, 1)), longest))
    for first in batches:
        index.add(_levelled(vectors[first : first + _BATCH], longest))
    made = _probed(index, _some(vectors, _PROBED_WITH), lists)
    faiss.write_index(index, str(path))
    return made


class Searcher:
    """A segment that is ready to be searched; its file is mapped into memory, not read.

    Args:
        path: the file, whose checksum was verified.
        probes: lists that a search for at most 100 samples looks at; for more it looks at all.
    Raises:
        IntegrityError: it is no segment.
    """

    def __init__(self, path: Path, probes: int) -> None:
        import faiss

        try:
            self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            raise IntegrityError(f"{path} is no segment of an index.", "Delete it; it is fetched again.") from error
        self._probes = probes

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def best(self, queries: Array, k: int) -> tuple[Array, Array]:
        """The largest inner products with each query, the largest first.

        Args:
            queries: shape (queries, dimensions).
            k: how many.
        Returns:
            inner products and rows of the segment, both of shape (queries, the lesser of k and the segment's size).
        Raises:
            ShapeError: vectors have another length.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self._index.d - 1:
            raise ShapeError(f"an index of {self._index.d - 1} dimensions was asked with shape {queries.shape}.")
        queries = _asking(queries)
        k = min(k, len(self))
        self._index.nprobe = self._probes if k <= RECALL_AT else self._index.nlist
        scores, rows = self._index.search(queries, k)
        if (rows < 0).any():
            # The lists that were looked at hold fewer than were asked for.
            self._index.nprobe = self._index.nlist
            scores, rows = self._index.search(queries, k)
        return scores, rows

    def vectors(self) -> Iterator[tuple[Array, Array]]:
        """Rows of the segment and their vectors, list by list."""
        import faiss

        lists = self._index.invlists
        for number in range(self._index.nlist):
            size = lists.list_size(number)
            if size:
                rows = faiss.rev_swig_ptr(lists.get_ids(number), size).copy()
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * self._index.code_size)
                yield rows, codes.view(np.float16).reshape(size, self._index.d)[:, :-1].copy()


def _squares(vectors: Array) -> Array:
    return (np.asarray(vectors, np.float32) ** 2).sum(1)


def _levelled(vectors: Array, longest: float) -> Array:
    """Float32 vectors with a coordinate more, whose squared lengths are all that of the longest."""
    missing = np.sqrt(np.maximum(longest - _squares(vectors), 0))
    return np.ascontiguousarray(np.column_stack([vectors, missing]), np.float32)


def _asking(queries: Array) -> Array:
    return np.ascontiguousarray(np.pad(queries, ((0, 0), (0, 1))), np.float32)


def _some(vectors: Array, count: int) -> Array:
    """Vectors spread evenly over a seeded draw, float32."""
    if count < len(vectors):
        chosen = np.sort(np.random.default_rng(_SEED).choice(len(vectors), count, replace=False))
        vectors = vectors[chosen]
    return np.ascontiguousarray(vectors, np.float32)


def _probed(index: Any, queries: Array, lists: int) -> Made:
    """The least probes of 1, 2, 4, … that find enough of what a search of everything finds."""
    if lists == 1:
        return Made(1, 1, 1.0)
    both = _asking(np.concatenate([queries, -queries]))
    index.nprobe = lists
    exact = index.search(both, RECALL_AT)[1]
    probes = 1
    while probes < lists:
        index.nprobe = probes
        found = index.search(both, RECALL_AT)[1]
        shares = [len(set(a) & set(b)) / RECALL_AT for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        recall = min(np.mean(shares[: len(queries)]), np.mean(shares[len(queries) :]))
        if recall >= LEAST_RECALL:
            return Made(lists, probes, round(float(recall), 4))
        probes = min(2 * probes, lists)
    return Made(lists, lists, 1.0)
