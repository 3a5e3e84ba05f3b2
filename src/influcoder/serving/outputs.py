"""Outputs in a file, and answers into one."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from influcoder.core.errors import SampleError, SettingsError
from influcoder.core.files import whole
from influcoder.samples import Sample
from influcoder.samples.readers import jsonl_records, parquet_records, sample_of
from influcoder.samples.sample import content_id

_TEXT, _NUMBER = ("output", "end", "source", "id", "text"), ("score", "percentile", "exact")
_ABOUT = ("encoder", "label_set", "decoder", "index", "corpus")
_AGREEMENT = tuple(f"agreement{part}" for part in ("", "_lo", "_hi", "_floor", "_lift", "_ceiling"))


@dataclass(frozen=True)
class Exchange:
    """What is to be attributed: a prompt with its answer, which the decoder gives where there is none, or a sample."""

    id: str = ""
    prompt: str = ""
    answer: str = ""
    sample: Sample | None = None


class Sink(Protocol):
    """Takes rows of answers."""

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Take some rows."""


def read_outputs(path: Path) -> Iterator[Exchange]:
    """The outputs of a JSONL or Parquet file: `prompt` and `answer`, or `context` and `target`; `id` if any.

    Raises:
        SampleError: a record holds neither or is of the wrong kind, or an id stands for two outputs; the message names
            the place.
    """
    if path.suffix not in (".jsonl", ".gz", ".parquet"):
        raise SampleError(f"{path} is no file of outputs.", "Give one that ends in .jsonl or .parquet.")
    if not path.is_file():
        raise SampleError(f"{path} is not there.", "Check the path.")
    return _read(path)


def _read(path: Path) -> Iterator[Exchange]:
    records = (parquet_records if path.suffix == ".parquet" else jsonl_records)(str(path))
    known: dict[str, str] = {}
    empty = True
    for record, where in records:
        empty = False
        exchange = _exchange(record, where)
        name = exchange.sample.id if exchange.sample else exchange.id
        content = exchange.sample.hash if exchange.sample else content_id(exchange.prompt, exchange.answer)
        if name and known.setdefault(name, content) != content:
            raise SampleError(f"{where}: id {name!r} stands for two different outputs.", "Make the ids unique.")
        yield exchange
    if empty:
        raise SampleError(f"{path} holds no output.", "Give records with prompt and answer, or context and target.")


@contextmanager
def written(path: Path) -> Iterator[Sink]:
    """A `.jsonl` or `.parquet` file of answers, which appears under its name when all of it is written.

    Raises:
        SettingsError: it has another ending, or its folder is not there.
    """
    kinds: dict[str, type[_Lines] | type[_Parquet]] = {".jsonl": _Lines, ".parquet": _Parquet}
    if path.suffix not in kinds:
        raise SettingsError(f"answers can't be written to {path}.", "Name a file that ends in .jsonl or .parquet.")
    if not path.parent.is_dir():
        raise SettingsError(f"{path.parent} is not there.", "Make the folder first.")
    with whole(path) as part:
        sink = kinds[path.suffix](part)
        yield sink
        sink.close()


class _Lines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text, number = pa.string(), pa.float64()
        kinds = {
            **{name: text for name in (*_TEXT, *_ABOUT)},
            **{name: number for name in (*_NUMBER, *_AGREEMENT)},
            "rank": pa.int64(),
            "metadata": pa.map_(text, text),
            "warnings": pa.list_(text),
        }
        self._schema = pa.schema(list(kinds.items()))
        self._table = pa.Table.from_pylist
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: list[dict[str, Any]]) -> None:
        mapped = [{**row, "metadata": list(row["metadata"].items())} for row in rows]
        self._writer.write_table(self._table(mapped, self._schema))

    def close(self) -> None:
        self._writer.close()


def _exchange(record: Mapping[str, Any], where: str) -> Exchange:
    if record.get("target"):
        return Exchange(sample=sample_of({**record, "source": record.get("source") or "output"}, where))
    parts = {name: record.get(name) or "" for name in ("id", "prompt", "answer")}
    if not all(isinstance(value, str) for value in parts.values()):
        raise SampleError(f"{where}: id, prompt and answer are texts.")
    if not (parts["prompt"].strip() or parts["answer"].strip()):
        raise SampleError(f"{where} holds nothing to attribute.", "Give prompt and answer, or context and target.")
    return Exchange(parts["id"], parts["prompt"], parts["answer"])
