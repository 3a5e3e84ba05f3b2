"""Influence features that were paid for once: keyed by teacher and by the hash of the sample's content."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import AbsentError, IntegrityError
from influcoder.influence.features.vectors import Rows, Vectors, on_disk
from influcoder.storage.object_store import READERS, ObjectStore
from influcoder.storage.records import content_of, seal
from influcoder.storage.shards import Shards

_COLUMNS = ("vectors", "norms", "losses", "cuts")


@dataclass(frozen=True)
class FeatureTable:
    """Influence features of samples.

    Args:
        hashes: content hashes of the samples.
        vectors: unit features, shape (samples, dimensions), in the type that the teacher stores; of many samples
            they are in a file, and rows are read when they are asked for.
        norms: gradient lengths, shape (samples,).
        losses: losses in nats, shape (samples,).
        cuts: share of each sample's tokens that the length limit cut away, shape (samples,).
    """

    hashes: tuple[str, ...]
    vectors: Vectors
    norms: np.ndarray
    losses: np.ndarray
    cuts: np.ndarray

    def select(self, hashes: Sequence[str]) -> "FeatureTable":
        """The rows of some samples, in the order asked for."""
        place = {value: row for row, value in enumerate(self.hashes)}
        return self.rows([place[value] for value in hashes])

    def rows(self, numbers: Sequence[int]) -> "FeatureTable":
        """Some rows, by their numbers."""
        chosen = list(numbers)
        hashes = tuple(self.hashes[row] for row in chosen)
        vectors = Rows.of(self.vectors, chosen)
        return FeatureTable(hashes, vectors, self.norms[chosen], self.losses[chosen], self.cuts[chosen])

    @staticmethod
    def gather(tables: Iterable["FeatureTable"], order: Sequence[str]) -> "FeatureTable":
        """The rows of all tables in the order of some hashes; the tables are let go one by one."""
        gathering = Gathering(order)
        for table in tables:
            gathering.add(table)
        return gathering.table()

    @staticmethod
    def concatenate(tables: Sequence["FeatureTable"]) -> "FeatureTable":
        """The rows of all tables, one after the other."""
        hashes = tuple(value for table in tables for value in table.hashes)
        return FeatureTable(hashes, *(np.concatenate([getattr(t, name) for t in tables]) for name in _COLUMNS))


class Gathering:
    """Rows of many tables put in order, their vectors in a file.

    Args:
        order: hashes of samples; those that get no row are left out.
    """

    def __init__(self, order: Sequence[str]) -> None:
        self._order = tuple(order)
        self._place = {value: row for row, value in enumerate(self._order)}
        self._numbers = np.zeros((3, len(self._order)), np.float32)
        self._there = np.zeros(len(self._order), bool)
        self._vectors = np.zeros((0, 0), np.float32)

    def add(self, table: FeatureTable) -> None:
        """Take over the rows of a table."""
        if not len(self._vectors):
            self._vectors = on_disk(len(self._order), table.vectors.shape[1], table.vectors.dtype)
        rows = [self._place[value] for value in table.hashes]
        self._vectors[rows], self._there[rows] = table.vectors[:], True
        self._numbers[:, rows] = table.norms, table.losses, table.cuts

    def table(self) -> FeatureTable:
        """All rows so far."""
        whole = FeatureTable(self._order, self._vectors, *self._numbers)
        return whole.rows(np.flatnonzero(self._there).tolist())


class FeatureCache:
    """The features that one teacher has computed so far.

    Args:
        store: where the shards are.
        teacher_id: whose features; no other teacher's are ever seen.
    """

    def __init__(self, store: ObjectStore, teacher_id: str) -> None:
        self._store, self._teacher_id = store, teacher_id
        self._shards = Shards(store, f"features/{teacher_id}/", "Delete it; its samples will be labelled again.")

    def known(self) -> dict[str, str]:
        """The shard that holds each cached sample, by the sample's hash."""
        found, read, complete = dict[str, str](), set[str](), False
        while not complete:
            keys = [key for key in self._shards.listed() if key not in read]
            with ThreadPoolExecutor(READERS) as pool:
                headers = dict(zip(keys, pool.map(self._shards.hashes, keys), strict=True))
            # Another run has merged a shard without a header into a larger one since it was listed: read that too.
            complete = all(hashes is not None for hashes in headers.values())
            for key, hashes in headers.items():
                if hashes is not None:
                    found.update(dict.fromkeys(hashes, key))
                    read.add(key)
        return found

    def add(self, table: FeatureTable) -> str:
        """Write a shard; a shard that is there already is left alone."""
        return self._shards.add(table.hashes, {name: getattr(table, name) for name in _COLUMNS})

    def merge(self, keys: Sequence[str], tables: Sequence[FeatureTable]) -> str:
        """Put small shards into one: the whole is written before its parts go, so a kill loses nothing."""
        whole = self.add(FeatureTable.concatenate(tables))
        for key in keys:
            if key != whole:
                self._store.delete(key)
        return whole

    def note(self, name: str) -> bytes | None:
        """Something small that was measured under this teacher, None where it was not.

        Raises:
            IntegrityError: it was changed or cut off since.
        """
        data, _ = self._store.read_if_there(self._note(name))
        if data is None:
            return None
        content = content_of(data)
        if content is None:
            raise IntegrityError(
                f"{self._store.uri(self._note(name))} was changed or cut off.", "Delete it; it will be measured again."
            )
        return content

    def keep_note(self, name: str, data: bytes) -> None:
        """Keep something small that was measured under this teacher, as JSON."""
        self._store.put(self._note(name), seal(data))

    def _note(self, name: str) -> str:
        return f"notes/{self._teacher_id}/{name}.sealed"

    def load(self, hashes: Iterable[str], known: dict[str, str]) -> Iterator[FeatureTable]:
        """The cached features of some samples, shard by shard.

        Raises:
            IntegrityError: a shard's bytes are not the ones it is named by.
        """
        wanted: dict[str, list[str]] = {}
        for value in hashes:
            wanted.setdefault(known[value], []).append(value)
        for key, values in wanted.items():
            try:
                table = self._read(key)
            except AbsentError:
                # Another run has merged the shard into a larger one since it was listed.
                yield from self.load(values, self.known())
            else:
                yield table.select(values)

    def _read(self, key: str) -> FeatureTable:
        hashes, columns = self._shards.read(key)
        return FeatureTable(tuple(hashes), *(columns[name] for name in _COLUMNS))
