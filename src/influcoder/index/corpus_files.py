"""A corpus as Parquet files on this machine's disk: read once, each content once, whatever its source."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from influcoder.core.progress import progress
from influcoder.samples import Sample, Stream
from influcoder.samples.stream import Seen

# A hit is read by its group of rows.
GROUP = 256
SHARD_BYTES = 16 * 2**20
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "hash", "source", "context", "target", "text", "metadata")])


@dataclass(frozen=True)
class Shard:
    """A Parquet file of samples.

    Args:
        path: the file.
        first: the row of its first sample.
        rows: how many it holds.
    """

    path: Path
    first: int
    rows: int


@dataclass(frozen=True)
class CorpusFiles:
    """A corpus on disk.

    Args:
        uri: where it was read from.
        shards: its samples, in the order of the source.
        seen: rows by content, and what all of it hashes to.
        duplicates: samples that were left out since their content stood there already.
    """

    uri: str
    shards: tuple[Shard, ...]
    seen: Seen
    duplicates: int

    @property
    def rows(self) -> int:
        """Number of samples."""
        return self.seen.rows

    def groups(self) -> Iterator[tuple[int, list[Sample]]]:
        """Samples by groups of 256 at most, and the row of each group's first."""
        for shard in self.shards:
            yield from groups_of(shard.path, shard.first)


def write_corpus_files(uri: str, folder: Path) -> CorpusFiles:
    """Read a corpus into a folder.

    Args:
        uri: see `read_corpus`.
        folder: where the files go; nothing else may be in it.
    Raises:
        SampleError: see `read_corpus`.
    """
    stream, writing = Stream(uri), _Writing(folder)
    with progress(f"reading {uri}", None) as ticker, closing(writing):
        for group in _groups(stream):
            writing.add(group)
            ticker.advance(len(group))
    return CorpusFiles(uri, tuple(writing.shards), stream.seen, stream.duplicates)


class _Writing:
    """Parquet files of some megabytes each, one open at a time."""

    def __init__(self, folder: Path) -> None:
        self.shards: list[Shard] = []
        self._folder = folder
        self._rows = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, group: Sequence[Sample]) -> None:
        if self._writer is None:
            path = self._folder / f"samples-{len(self.shards):06d}.parquet"
            self.shards.append(Shard(path, self._rows, 0))
            self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist([_row(sample) for sample in group], SCHEMA))
        last = self.shards.pop()
        self.shards.append(replace(last, rows=last.rows + len(group)))
        self._rows += len(group)
        if last.path.stat().st_size > SHARD_BYTES:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def groups_of(path: Path, first: int) -> Iterator[tuple[int, list[Sample]]]:
    """The samples of a shard's file by groups, and the row of each group's first.

    Args:
        path: the file.
        first: the row of its first sample.
    """
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            samples = samples_of(file.read_row_group(number))
            yield first, samples
            first += len(samples)


def samples_of(table: pa.Table) -> list[Sample]:
    """The samples of a part of a shard."""
    return [
        Sample(
            row["id"],
            row["context"],
            row["target"],
            row["text"] or "",
            row["source"],
            json.loads(row["metadata"]) if row["metadata"] else {},
        )
        for row in table.to_pylist()
    ]


def _groups(stream: Stream) -> Iterator[Sequence[Sample]]:
    group: list[Sample] = []
    for sample in stream:
        group.append(sample)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def _row(sample: Sample) -> dict[str, Any]:
    derived = sample.text == f"{sample.context}\n{sample.target}".strip()
    return {
        "id": sample.id,
        "hash": sample.hash,
        "source": sample.source,
        "context": sample.context,
        "target": sample.target,
        # Most texts follow from context and target, and would be kept twice.
        "text": None if derived else sample.text,
        "metadata": json.dumps(dict(sample.metadata), sort_keys=True) if sample.metadata else None,
    }
