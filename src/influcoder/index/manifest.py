"""What an index is made of, and what it came from."""

import hashlib
import json
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError
from influcoder.core.provenance import now
from influcoder.samples.stamps import corpus_address
from influcoder.storage.folder import Objects
from influcoder.storage.object_store import sha256

FORMAT: Final = 2
_SWAP_ATTEMPTS = 8


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Embedder(_Record):
    """What decides about every vector.

    Args:
        files: digest of the encoder's files.
        precision: what the encoder computes with; another one in some older indexes.
        max_tokens: where a text encoder cuts a text off; None of a closed form, whose files say it.
        decoder: fingerprint of the decoder whose hidden states were an input of some older encoders; None else.
    """

    files: str
    precision: str = "float32"
    max_tokens: int | None = None
    decoder: str | None = None

    @property
    def id(self) -> str:
        """The first 20 hex digits of SHA-256 over it."""
        return _id(self)


class Identity(_Record):
    """What decides about the content of an index; the id is the hash of this.

    Args:
        format: of segments and samples.
        embedder: what decides about the vectors.
        corpus: digest of the samples' contents, see `Corpus.digest`.
        names: digest of their ids, sources and metadata.
    """

    format: Literal[2] = FORMAT
    embedder: Embedder
    corpus: str
    names: str

    @property
    def id(self) -> str:
        """The first 20 hex digits of SHA-256 over the identity."""
        return _id(self)


class Part(_Record):
    """An object of the index, which holds consecutive rows.

    Args:
        sha256: of its bytes; its key ends in it.
        bytes: its size.
        first: its first row.
        rows: how many it holds.
    """

    sha256: str
    bytes: int
    first: int
    rows: int


class Segment(Part):
    """Vectors that are searched together.

    Args:
        lists: how many lists they are divided into; one is searched as a whole.
        probes: lists that a search looks at.
        recall: share of the 100 best of an exact search that it then finds, measured when it was made, on samples of
            the segment and their opposites, whichever is less.
    """

    lists: int
    probes: int
    recall: float


class Origin(_Record):
    """What an encoder came from.

    Args:
        encoder_version: its number in the registry.
        label_set: id of the labels that it was distilled from.
        decoder: fingerprint of the decoder that it was distilled for.
        teacher: id of what labelled.
    """

    encoder_version: str
    label_set: str
    decoder: str
    teacher: str


class Manifest(_Record):
    """The one object that makes an index visible; it is written last.

    Args:
        identity: what the index holds.
        origin: what the encoder came from.
        corpus_uri: where the samples were read.
        rows: samples.
        duplicates: samples that were left out since their content stood there already.
        dimensions: of a vector, two bytes each.
        segments: vectors, ready to be searched.
        shards: the samples themselves, Parquet.
        code_commit: commit of this project that did the work.
        created: UTC time, ISO 8601.
    """

    identity: Identity
    origin: Origin
    corpus_uri: str
    rows: int
    duplicates: int
    dimensions: int
    segments: tuple[Segment, ...]
    shards: tuple[Part, ...]
    code_commit: str
    created: str

    @property
    def id(self) -> str:
        """The id of the index."""
        return self.identity.id

    @property
    def recall(self) -> float:
        """The least recall of a segment."""
        return min(segment.recall for segment in self.segments)

    @property
    def bytes(self) -> int:
        """Size of all objects."""
        return sum(part.bytes for part in (*self.segments, *self.shards))


class Pointer(_Record):
    """Which index answers for an encoder and a corpus now.

    Args:
        index: its id.
        corpus_uri: the corpus.
        stamp: the cheap sign of what the corpus held when the index was made; None where there was none.
        moved: UTC time, ISO 8601.
    """

    index: str
    corpus_uri: str
    stamp: str | None
    moved: str


def folder_of(index_id: str) -> str:
    """Where the objects of an index are."""
    return f"indexes/{index_id}"


def load_manifest(store: Objects, index_id: str) -> Manifest:
    """The manifest of a published index.

    Raises:
        IntegrityError: there is none, or it is not the one that the id stands for.
    """
    key = f"{folder_of(index_id)}/manifest.json"
    if not store.exists(key):
        raise IntegrityError(f"there is no index {index_id!r} in {store.uri('')}.", "Run: influcoder index")
    try:
        manifest = Manifest.model_validate_json(store.get(key))
    except ValidationError as error:
        raise IntegrityError(
            f"{store.uri(key)} is no manifest of format {FORMAT}.",
            f"Delete what lies below {folder_of(index_id)}/, then run: influcoder index",
        ) from error
    if manifest.id != index_id:
        raise IntegrityError(
            f"{store.uri(key)} was changed: it says what {manifest.id} would stand for.", "Restore it from a backup."
        )
    return manifest


def manifests(store: Objects) -> list[Manifest]:
    """Every published index, oldest first."""
    keys = [key for key in store.keys("indexes/") if key.endswith("/manifest.json")]
    return sorted((load_manifest(store, key.split("/")[1]) for key in keys), key=lambda found: found.created)


def pointer_of(store: Objects, embedder: Embedder, corpus_uri: str) -> Pointer | None:
    """Which index answers for an encoder and a corpus; None where there was never one."""
    data, _ = store.read_if_there(_pointer_key(embedder, corpus_uri))
    return _parsed(data)


def move_pointer(store: Objects, embedder: Embedder, corpus_uri: str, index_id: str, stamp: str | None) -> None:
    """Make an index the one that answers for an encoder and a corpus; those before it stay."""
    key = _pointer_key(embedder, corpus_uri)
    for _ in range(_SWAP_ATTEMPTS):
        data, version = store.read_if_there(key)
        known = _parsed(data)
        if known and (known.index, known.stamp) == (index_id, stamp):
            return
        pointer = Pointer(index=index_id, corpus_uri=corpus_uri, stamp=stamp, moved=now())
        try:
            store.swap(key, pointer.model_dump_json(indent=1).encode(), version)
        except ChangedMeanwhileError:
            continue
        return
    raise ChangedMeanwhileError(f"{store.uri(key)} is being moved by many writers.", "Try again.")


def _parsed(data: bytes | None) -> Pointer | None:
    try:
        return None if data is None else Pointer.model_validate_json(data)
    except ValidationError:
        # It holds nothing that `influcoder index` does not find again.
        return None


def _pointer_key(embedder: Embedder, corpus_uri: str) -> str:
    return f"indexes/at/{sha256(f'{embedder.id} {corpus_address(corpus_uri)}'.encode())[:20]}.json"


def _id(record: BaseModel) -> str:
    return hashlib.sha256(json.dumps(record.model_dump(), sort_keys=True).encode()).hexdigest()[:20]
