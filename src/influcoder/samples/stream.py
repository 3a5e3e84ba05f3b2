"""A corpus read once from end to end, with every check of `read_corpus` and no text kept in memory."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator

from influcoder.core.errors import SampleError
from influcoder.samples.documentation import read_documentation
from influcoder.samples.readers import read_hub, read_jsonl, read_object, read_parquet
from influcoder.samples.sample import Sample

_READERS: dict[str, Callable[[str], Iterator[Sample]]] = {
    "docs": read_documentation,
    "hf": read_hub,
    "s3": read_object,
}
# Pages that SQLite holds in memory before it writes them to a temporary file, in KiB.
_CACHE_KIB = 32 * 1024


class Seen:
    """What a corpus held so far: contents, ids, and in which row each content stands.

    It is a private temporary database of SQLite, which is in memory while it is small, on disk beyond 32 MB, and gone
    with the process however that ends.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for line in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE contents (hash BLOB PRIMARY KEY, line INTEGER, about BLOB) WITHOUT ROWID",
            "CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(line)
        self.rows = 0

    def add(self, sample: Sample, uri: str) -> bool:
        """Note a sample; False where its content stood there already.

        Raises:
            SampleError: its id stands for another content.
        """
        row = (bytes.fromhex(sample.hash), self.rows, _about(sample))
        if not self._database.execute("INSERT OR IGNORE INTO contents VALUES (?, ?, ?)", row).rowcount:
            return False
        name = hashlib.sha256(sample.id.encode("utf-8", "surrogatepass")).digest()[:16]
        if not self._database.execute("INSERT OR IGNORE INTO ids VALUES (?)", (name,)).rowcount:
            raise SampleError(
                f"{uri}: id {sample.id!r} stands for two different samples.",
                "Make the ids unique, or leave them out to have them derived from the content.",
            )
        self.rows += 1
        return True

    def row_of(self, content: str) -> int | None:
        """In which row a content stands, by its hash; None where it is not there."""
        query = "SELECT line FROM contents WHERE hash = ?"
        found = self._database.execute(query, (bytes.fromhex(content),)).fetchone()
        return None if found is None else int(found[0])

    def digest(self) -> str:
        """The same as `Corpus.digest`: SHA-256 over the sorted hashes of all contents."""
        whole = hashlib.sha256()
        for (content,) in self._database.execute("SELECT hash FROM contents ORDER BY hash"):
            whole.update(content.hex().encode())
        return whole.hexdigest()

    def names_digest(self) -> str:
        """SHA-256 over id, source and metadata of all samples, in the order of their contents' hashes."""
        whole = hashlib.sha256()
        for (about,) in self._database.execute("SELECT about FROM contents ORDER BY hash"):
            whole.update(about)
        return whole.hexdigest()


class Stream:
    """Iterates over the samples of a corpus, each content once, in the order of its source.

    Args:
        uri: as for `read_corpus`.
    Attributes:
        seen: what was read so far.
        duplicates: how many samples were left out since their content stood there already.
    Raises, while it is read:
        SampleError: see `read_corpus`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.seen = Seen()
        self.duplicates = 0
        self._source = reader_of(uri)(uri.partition(":")[2] if _scheme(uri) in _READERS else uri)

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._source:
            if self.seen.add(sample, self.uri):
                yield sample
            else:
                self.duplicates += 1
        if not self.seen.rows:
            raise SampleError(f"{self.uri} holds no sample.", "Check the path, the package names or the filter.")


def reader_of(uri: str) -> Callable[[str], Iterator[Sample]]:
    """What reads a corpus.

    Raises:
        SampleError: the URI is of no known kind.
    """
    if _scheme(uri) in _READERS:
        return _READERS[_scheme(uri)]
    if uri.endswith((".jsonl", ".jsonl.gz")):
        return read_jsonl
    if uri.endswith(".parquet"):
        return read_parquet
    raise SampleError(
        f"{uri!r} is no corpus that can be read.",
        "Use docs:PACKAGES, hf:NAME, or a path or s3:// address that ends in .jsonl or .parquet.",
    )


def _scheme(uri: str) -> str:
    return uri.partition(":")[0]


def _about(sample: Sample) -> bytes:
    content = json.dumps([sample.id, sample.source, sorted(sample.metadata.items())])
    return hashlib.sha256(content.encode()).digest()
