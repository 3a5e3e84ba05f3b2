"""A corpus by its URI: JSONL, Parquet, a Hugging Face data set, or the documentation of packages."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from influcoder.errors import SampleError
from influcoder.samples.documentation import read_documentation
from influcoder.samples.readers import read_hub, read_jsonl, read_parquet
from influcoder.samples.sample import Sample

_READERS: dict[str, Callable[[str], Iterator[Sample]]] = {
    "docs": read_documentation,
    "hf": read_hub,
}


@dataclass(frozen=True)
class Corpus:
    """A pool of samples, each content once, in the order of its source.

    Args:
        uri: where it was read from.
        samples: the samples, unique by id and by content.
        duplicates: how many samples were left out since their content stood there already.
    """

    uri: str
    samples: tuple[Sample, ...]
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the sorted hashes of the samples: equal for equal content in any order."""
        return hashlib.sha256("".join(sorted(s.hash for s in self.samples)).encode()).hexdigest()


def read_corpus(uri: str) -> Corpus:
    """Read a corpus.

    Args:
        uri: `docs:numpy,scipy` (documentation of installed packages), `hf:name[@revision][#split]`
            (a Hugging Face data set), or a path that ends in `.jsonl` or `.parquet`.
    Raises:
        SampleError: the URI is of no known kind, the source can't be read, it is empty, or two
            different contents carry one id.
    """
    samples: dict[str, Sample] = {}
    seen: set[str] = set()
    read = 0
    for sample in _reader(uri)(uri.partition(":")[2] if _scheme(uri) in _READERS else uri):
        read += 1
        if sample.hash in seen:
            continue
        if sample.id in samples:
            raise SampleError(
                f"{uri}: id {sample.id!r} stands for two different samples.",
                "Make the ids unique, or leave them out to have them derived from the content.",
            )
        seen.add(sample.hash)
        samples[sample.id] = sample
    if not samples:
        raise SampleError(f"{uri} holds no sample.", "Check the path, the package names or the filter.")
    return Corpus(uri, tuple(samples.values()), read - len(samples))


def _scheme(uri: str) -> str:
    return uri.partition(":")[0]


def _reader(uri: str) -> Callable[[str], Iterator[Sample]]:
    if _scheme(uri) in _READERS:
        return _READERS[_scheme(uri)]
    if uri.endswith((".jsonl", ".jsonl.gz")):
        return read_jsonl
    if uri.endswith(".parquet"):
        return read_parquet
    raise SampleError(
        f"{uri!r} is no corpus that can be read.",
        "Use docs:PACKAGES, hf:NAME, or a path that ends in .jsonl or .parquet.",
    )
