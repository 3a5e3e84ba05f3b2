"""What an index is made of, and what it came from."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import IntegrityError
from influcoder.core.provenance import now
from influcoder.samples.stamps import corpus_address
from influcoder.storage.object_store import sha256
from influcoder.storage.objects import Objects
from influcoder.storage.records import Slot, id_of, move, read, refuse_other

FORMAT: Final = 2


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
        return id_of(self.model_dump())


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
        return id_of(self.model_dump())


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
    remedy = f"Delete what lies below {folder_of(index_id)}/, then run: influcoder index"
    manifest = read(store, key, Manifest, remedy)
    if manifest is None:
        raise IntegrityError(f"there is no index {index_id!r} in {store.uri('')}.", "Run: influcoder index")
    refuse_other(store, key, manifest.id, index_id, remedy)
    return manifest


def manifests(store: Objects) -> list[Manifest]:
    """Every published index, oldest first."""
    keys = [key for key in store.keys("indexes/") if key.endswith("/manifest.json")]
    return sorted((load_manifest(store, key.split("/")[1]) for key in keys), key=lambda found: found.created)


def pointer_of(store: Objects, embedder: Embedder, corpus_uri: str) -> Pointer | None:
    """Which index answers for an encoder and a corpus; None where there was never one, or the pointer is damaged.

    It holds nothing that `influcoder index` does not find again.
    """
    return Slot(store, _pointer_key(embedder, corpus_uri), Pointer, remedy=None).value


def move_pointer(store: Objects, embedder: Embedder, corpus_uri: str, index_id: str, stamp: str | None) -> None:
    """Make an index the one that answers for an encoder and a corpus; those before it stay."""

    def newer(known: Pointer | None) -> Pointer | None:
        if known and (known.index, known.stamp) == (index_id, stamp):
            return None
        return Pointer(index=index_id, corpus_uri=corpus_uri, stamp=stamp, moved=now())

    move(store, _pointer_key(embedder, corpus_uri), Pointer, newer, remedy=None)


def _pointer_key(embedder: Embedder, corpus_uri: str) -> str:
    return f"indexes/at/{sha256(f'{embedder.id} {corpus_address(corpus_uri)}'.encode())[:20]}.json"
