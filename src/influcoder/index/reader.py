"""A published index: the samples with the largest and with the smallest influence on a vector."""

from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from influcoder.index.corpus_files import groups_of, samples_of
from influcoder.index.download import local_copy
from influcoder.index.manifest import Manifest, load_manifest
from influcoder.index.search import Searcher
from influcoder.samples import Sample
from influcoder.storage.objects import Objects

Array = np.ndarray
SEGMENT, SHARD = ".faiss", ".parquet"
# Groups of 256 samples at most that stay in memory.
_GROUPS = 64


class Index:
    """An index of the store; what is needed of it is copied to this machine when it is first needed.

    Args:
        store: holds it.
        manifest: says what it is made of.
    """

    def __init__(self, store: Objects, manifest: Manifest) -> None:
        self._store = store
        self.manifest = manifest
        self._shards: dict[int, Path] = {}
        # What drives one output often drives the next.
        self._group = lru_cache(_GROUPS)(self._load)

    @classmethod
    def open(cls, store: Objects, index_id: str) -> "Index":
        """A published index by its id.

        Raises:
            IntegrityError: there is none, or it was changed.
        """
        return cls(store, load_manifest(store, index_id))

    def __len__(self) -> int:
        return self.manifest.rows

    def most(self, queries: Array, k: int) -> tuple[Array, Array]:
        """The samples with the largest inner products with each query, the largest first.

        Args:
            queries: shape (queries, dimensions).
            k: how many.
        Returns:
            inner products and rows, both of shape (queries, the lesser of k and the index's size).
        """
        if k < 1:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        found = [
            (scores, rows + segment.first)
            for segment, searcher in zip(self.manifest.segments, self._searchers, strict=True)
            for scores, rows in [searcher.best(queries, k)]
        ]
        scores, rows = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
        # Equal scores in the order of the rows, so that an answer is the same every time.
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def least(self, queries: Array, k: int) -> tuple[Array, Array]:
        """The samples with the smallest inner products with each query, the smallest first; see `most`."""
        scores, rows = self.most(-np.asarray(queries), k)
        return -scores, rows

    def samples(self, rows: Iterable[int]) -> dict[int, Sample]:
        """The samples of some rows; only those parts of the index are read that hold them."""
        found: dict[int, Sample] = {}
        wanted = sorted(set(rows))
        for number, shard in enumerate(self.manifest.shards):
            inside = [row for row in wanted if shard.first <= row < shard.first + shard.rows]
            if inside:
                found |= self._read(number, shard.first, inside)
        return found

    def sources(self) -> list[str]:
        """The source of each row."""
        columns = [
            pq.read_table(self._shard(number), columns=["source"]).column("source").to_pylist()
            for number in range(len(self.manifest.shards))
        ]
        return [source or "" for column in columns for source in column]

    def vectors(self) -> Iterator[tuple[Array, Array]]:
        """Rows and their vectors in half precision, in no order, some thousand at a time."""
        for segment, searcher in zip(self.manifest.segments, self._searchers, strict=True):
            for rows, vectors in searcher.vectors():
                yield rows + segment.first, vectors

    def batches(self, folder: Path) -> Iterator[tuple[list[Sample], Array]]:
        """All samples with their vectors, float32, in the order of the rows, some hundred at a time.

        Args:
            folder: for the vectors in that order meanwhile, two bytes a number.
        """
        shape = (len(self), self.manifest.dimensions)
        ordered = np.memmap(folder / "ordered", np.float16, "w+", shape=shape)
        for rows, vectors in self.vectors():
            ordered[rows] = vectors
        for number, shard in enumerate(self.manifest.shards):
            for first, samples in groups_of(self._shard(number), shard.first):
                yield samples, np.asarray(ordered[first : first + len(samples)], np.float32)

    @cached_property
    def _searchers(self) -> list[Searcher]:
        parts = self.manifest.segments
        return [Searcher(local_copy(self._store, self.manifest.id, part, SEGMENT), part.probes) for part in parts]

    def _shard(self, number: int) -> Path:
        if number not in self._shards:
            part = self.manifest.shards[number]
            self._shards[number] = local_copy(self._store, self.manifest.id, part, SHARD)
        return self._shards[number]

    def _load(self, number: int, group: int) -> pa.Table:
        with pq.ParquetFile(self._shard(number)) as file:
            return file.read_row_group(group)

    def _read(self, number: int, first: int, rows: list[int]) -> dict[int, Sample]:
        found: dict[int, Sample] = {}
        with pq.ParquetFile(self._shard(number)) as file:
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                inside = [row - first for row in rows if first <= row < first + size]
                if inside:
                    samples = samples_of(self._group(number, group).take(inside))
                    found |= {first + place: sample for place, sample in zip(inside, samples, strict=True)}
                first += size
        return found
