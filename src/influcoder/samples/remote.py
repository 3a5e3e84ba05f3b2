"""Samples of a file in an object store."""

from collections.abc import Iterator

from influcoder.errors import SampleError
from influcoder.samples.readers import read_jsonl, read_parquet
from influcoder.samples.sample import Sample
from influcoder.workspace import workspace


def read_object(address: str) -> Iterator[Sample]:
    """Samples of `//BUCKET/KEY`, a JSONL or Parquet file; it is fetched whole into a temporary file first.

    Raises:
        SampleError: it is of another kind, or holds what no sample is made of.
        StoreError: the store is out of reach, or holds no such object.
    """
    # The store's address is a setting, and settings stand above samples.
    from influcoder.sources import fetch_object

    uri = f"s3:{address}"
    if not uri.endswith((".jsonl", ".jsonl.gz", ".parquet")):
        raise SampleError(f"{uri} is no corpus that can be read.", "Name an object that ends in .jsonl or .parquet.")
    with workspace() as folder:
        path = str(fetch_object(uri, folder))
        yield from (read_parquet if path.endswith(".parquet") else read_jsonl)(path, uri)
