"""Readers of samples in files and data sets. A record has `target`, and `context`, `id`, `text`, `source` if any."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from influcoder.core.errors import MissingPackageError, SampleError
from influcoder.core.files import workspace
from influcoder.samples.sample import Sample, content_id

_FIELDS = ("id", "context", "target", "text", "source")


def read_jsonl(path: str, name: str = "") -> Iterator[Sample]:
    """Samples of a JSON Lines file, plain or gzipped; an error names the line."""
    for record, where in jsonl_records(path, name):
        yield sample_of(record, where)


def read_parquet(path: str, name: str = "") -> Iterator[Sample]:
    """Samples of a Parquet file, a batch of rows in memory at a time."""
    for record, where in parquet_records(path, name):
        yield sample_of(record, where)


def read_labelled(path: str) -> Iterator[tuple[Sample, bool]]:
    """Samples of a JSON Lines file whose field `label` says whether each is harmful: true or false, 1 or 0.

    Raises:
        SampleError: the file can't be read, or a label is missing or says something else.
    """
    for record, where in jsonl_records(path):
        # 1.0 is 1 to Python, and what pandas makes of it where a label is missing elsewhere.
        if record.get("label") not in (True, False):
            raise SampleError(f"{where} has no label.", 'Write "label": true for harmful samples, false for others.')
        yield sample_of(record, where), bool(record["label"])


def jsonl_records(path: str, name: str = "") -> Iterator[tuple[Mapping[str, Any], str]]:
    """Objects of a JSON Lines file, plain or gzipped, and where each stands.

    Args:
        path: the file.
        name: what errors call it; its path unless given.
    """
    name = name or path
    opener = gzip.open if path.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parse(line, f"{name}, line {number}"), f"{name}, line {number}"
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SampleError(f"{name} can't be read: {_reason(error)}.", "Check the path and the file.") from error


def parquet_records(path: str, name: str = "") -> Iterator[tuple[Mapping[str, Any], str]]:
    """Rows of a Parquet file, and where each stands; a batch of rows is in memory at a time."""
    import pyarrow
    import pyarrow.parquet

    name = name or path
    if not Path(path).is_file():
        raise SampleError(f"{name} can't be read: there is no such file.", "Check the path.")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            row = 0
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    row += 1
                    yield record, f"{name}, row {row}"
    except (pyarrow.ArrowException, OSError) as error:
        raise SampleError(f"{name} is no Parquet file: {_reason(error)}.", "Check the file.") from error


def read_hub(name: str) -> Iterator[Sample]:
    """Samples of a Hugging Face data set: `name`, `name@revision`, `name#split` or both (`train` by default)."""
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(
            f"hf:{name} needs the package datasets.", "Install it: pip install 'influcoder[hub]'"
        ) from error
    address, _, split = name.partition("#")
    dataset, _, revision = address.partition("@")
    try:
        rows = datasets.load_dataset(dataset, split=split or "train", revision=revision or None, streaming=True)
        for number, record in enumerate(rows, 1):
            yield sample_of(record, f"hf:{name}, row {number}")
    except RuntimeError as error:
        # From version 4 on, datasets runs no script of a data set.
        hint = "Nothing of a data set is ever run. Save it as Parquet or JSON Lines."
        raise SampleError(f"hf:{name} can't be read: {_reason(error)}.", hint) from error
    except (OSError, ValueError, ConnectionError) as error:
        raise SampleError(f"hf:{name} can't be read: {_reason(error)}.", "Check the name and the network.") from error


def _parse(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SampleError(f"{where} is no JSON: {error}.", "Mend or drop that line.") from error
    if not isinstance(record, dict):
        raise SampleError(f"{where} is no JSON object.", "Write one object a line.")
    return record


def sample_of(record: Mapping[str, Any], where: str) -> Sample:
    """A record as a sample; an error says where it stands."""
    values = {name: record.get(name) or "" for name in _FIELDS}
    wrong = next((name for name, value in values.items() if not isinstance(value, str)), None)
    if wrong:
        raise SampleError(f"{where}: {wrong!r} is no text.", "Every field of a sample but metadata is text.")
    if not all(_is_unicode(value) for value in values.values()):
        raise SampleError(f"{where} holds half a surrogate pair.", "Mend or drop it; it is no text.")
    if not values["target"].strip():
        raise SampleError(f"{where} has an empty target.", "Give it a target, or drop it.")
    # A map of Parquet is read as pairs.
    metadata = record.get("metadata") or {}
    if isinstance(metadata, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in metadata):
        metadata = dict(metadata)
    if not isinstance(metadata, Mapping):
        raise SampleError(f"{where}: 'metadata' is no object.", "Write it as an object, or leave it out.")
    if not values["id"]:
        values["id"] = content_id(values["context"], values["target"], values["text"])
    return Sample(**values, metadata={str(key): str(value) for key, value in metadata.items()})


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def read_object(address: str) -> Iterator[Sample]:
    """Samples of `//BUCKET/KEY`, a JSONL or Parquet file; it is fetched whole into a temporary file first.

    Raises:
        SampleError: it is of another kind, or holds what no sample is made of.
        StoreError: the store is out of reach, or holds no such object.
    """
    # The store's address is a setting, and settings stand above samples.
    from influcoder.storage.download import fetch_object

    uri = f"s3:{address}"
    if not uri.endswith((".jsonl", ".jsonl.gz", ".parquet")):
        raise SampleError(f"{uri} is no corpus that can be read.", "Name an object that ends in .jsonl or .parquet.")
    with workspace() as folder:
        path = str(fetch_object(uri, folder))
        yield from (read_parquet if path.endswith(".parquet") else read_jsonl)(path, uri)
