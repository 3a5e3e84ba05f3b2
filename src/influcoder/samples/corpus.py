"""A corpus by its URI: JSONL, Parquet, a Hugging Face data set, or the documentation of packages."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from influcoder.samples.sample import Sample
from influcoder.samples.stream import Stream


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
    """Read a corpus into memory; `Stream` gives one sample after the other.

    Args:
        uri: `docs:numpy,scipy` (documentation of installed packages), `hf:name[@revision][#split]`
            (a Hugging Face data set), or a path or an address `s3://BUCKET/KEY` that ends in `.jsonl` or `.parquet`.
    Raises:
        SampleError: the URI is of no known kind, the source can't be read, it is empty, or two
            different contents carry one id.
    """
    stream = Stream(uri)
    return Corpus(uri, tuple(stream), stream.duplicates)
