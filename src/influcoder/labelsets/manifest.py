"""What a label set is made of, and what it came from."""

import importlib.metadata
import platform

from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import IntegrityError
from influcoder.core.provenance import now
from influcoder.influence.reliability_record import Reliability
from influcoder.influence.teacher import Teacher
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import id_of, move, read, refuse_other

SCHEMA = 2
LATEST = "labelsets/latest.json"
_LABEL_AGAIN = "Delete it, then label again: features are cached, and the pointer is written anew."
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "safetensors", "pyarrow", "influcoder")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleRef(_Record):
    """A sample of the label set; its text stands in `samples.parquet`, bound by the hash."""

    hash: str
    role: str
    split: str


class Source(_Record):
    """A corpus that samples were drawn from."""

    uri: str
    digest: str


class FileRef(_Record):
    """An object of the label set."""

    sha256: str
    bytes: int


class Identity(_Record):
    """What decides about every label; the id is the hash of this."""

    schema_version: int = SCHEMA
    kind: str
    teacher: Teacher
    samples: tuple[SampleRef, ...]
    sources: tuple[Source, ...]
    parent: str | None = None

    @property
    def id(self) -> str:
        """The first 20 hex digits of SHA-256 over the identity."""
        return id_of(self.model_dump())


class Manifest(_Record):
    """The one object that makes a label set visible; it is written last.

    Args:
        identity: what the labels are.
        decoder_uri: where the decoder was loaded from; its content is bound by the teacher.
        files: every other object of the label set.
        quarantined: samples that were planned and have no label, with the reason.
        asked: how many of the queries were drawn from the log of what the encoder was asked.
        cut_share: share of the samples' tokens that the length limit cut away; None where it is not known.
        reliability: the teacher's ceiling and projection fidelity; None where nothing is known of it.
        code_commit: commit of this project that did the work.
        libraries: versions that did the work.
        created: UTC time, ISO 8601.
    """

    identity: Identity
    decoder_uri: str
    files: dict[str, FileRef]
    quarantined: dict[str, str]
    asked: int = 0
    cut_share: float | None
    reliability: Reliability | None = None
    code_commit: str
    libraries: dict[str, str]
    created: str

    @property
    def id(self) -> str:
        """The id of the label set."""
        return self.identity.id

    @property
    def worth(self) -> str:
        """What the labels are worth, in words, or that it is unknown and what to do about it."""
        if self.reliability is not None:
            return str(self.reliability)
        if self.identity.teacher.spec.method == "imported":
            return (
                "The ceiling of these labels is unknown: nothing says how well the method that computed these scores "
                "agrees with itself. Give the scores of another run of it, under other seeds: "
                "`influcoder import-scores TABLE --second-opinion TABLE2`."
            )
        return "The ceiling of these labels is unknown: it was not measured, or too few samples could be compared."

    def count(self, split: str, role: str) -> int:
        """Number of samples in a role of a split."""
        return sum(ref.split == split and ref.role == role for ref in self.identity.samples)


class Latest(_Record):
    """The id of the newest training label set, and since when it is, UTC, ISO 8601."""

    id: str
    moved: str


def load_manifest(store: ObjectStore, label_set_id: str) -> Manifest:
    """The manifest of a published label set.

    Raises:
        IntegrityError: there is none, or it is not the one that the id stands for.
    """
    key = f"{folder_of(label_set_id)}/manifest.json"
    manifest = read(store, key, Manifest)
    if manifest is None:
        raise IntegrityError(f"there is no label set {label_set_id!r} in {store.uri('')}.")
    if manifest.identity.schema_version != SCHEMA:
        raise IntegrityError(
            f"label set {label_set_id} has version {manifest.identity.schema_version} of the format, not {SCHEMA}.",
            "Label again with this version of influcoder, or read it with the one that wrote it.",
        )
    refuse_other(store, key, manifest.id, label_set_id)
    return manifest


def latest(store: ObjectStore) -> str | None:
    """The id of the newest training label set, None where there is none.

    Raises:
        IntegrityError: the pointer was damaged.
    """
    pointer = read(store, LATEST, Latest, _LABEL_AGAIN)
    return pointer.id if pointer else None


def move_latest(store: ObjectStore, label_set_id: str) -> None:
    """Make a training label set the newest.

    Raises:
        IntegrityError: the pointer was damaged.
    """

    def newer(pointer: Latest | None) -> Latest | None:
        return None if pointer and pointer.id == label_set_id else Latest(id=label_set_id, moved=now())

    move(store, LATEST, Latest, newer, _LABEL_AGAIN)


def folder_of(label_set_id: str) -> str:
    """Where a label set is kept."""
    return f"labelsets/{label_set_id}"


def library_versions() -> dict[str, str]:
    """Versions of what computes labels."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **versions}
