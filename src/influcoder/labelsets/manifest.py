"""What a label set is made of, and what it came from."""

import hashlib
import importlib.metadata
import json
import platform

from pydantic import BaseModel, ConfigDict, ValidationError

from influcoder.core.errors import IntegrityError
from influcoder.influence.reliability_record import Reliability
from influcoder.influence.teacher import Teacher
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import unseal_if_sealed

SCHEMA = 2
LATEST = "labelsets/latest.json"
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
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:20]


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


def load_manifest(store: ObjectStore, label_set_id: str) -> Manifest:
    """The manifest of a published label set.

    Raises:
        IntegrityError: there is none, or it is not the one that the id stands for.
    """
    key = f"{folder_of(label_set_id)}/manifest.json"
    if not store.exists(key):
        raise IntegrityError(f"there is no label set {label_set_id!r} in {store.uri('')}.")
    try:
        manifest = Manifest.model_validate_json(store.get(key))
    except ValidationError as error:
        raise IntegrityError(f"{store.uri(key)} is no manifest.", "Restore it from a backup.") from error
    if manifest.identity.schema_version != SCHEMA:
        raise IntegrityError(
            f"label set {label_set_id} has version {manifest.identity.schema_version} of the format, not {SCHEMA}.",
            "Label again with this version of influcoder, or read it with the one that wrote it.",
        )
    if manifest.id != label_set_id:
        raise IntegrityError(
            f"{store.uri(key)} was changed: it says what {manifest.id} would stand for.", "Restore it from a backup."
        )
    return manifest


def latest(store: ObjectStore) -> str | None:
    """The id of the newest training label set, None where there is none.

    Raises:
        IntegrityError: the pointer was damaged.
    """
    return named_by(store, store.read_if_there(LATEST)[0])


def named_by(store: ObjectStore, pointer: bytes | None) -> str | None:
    """The id in what the pointer to the newest label set holds."""
    try:
        return None if pointer is None else str(json.loads(unseal_if_sealed(pointer) or b"")["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{store.uri(LATEST)} was damaged.",
            "Delete it, then label again: features are cached, and the pointer is written anew.",
        ) from error


def folder_of(label_set_id: str) -> str:
    """Where a label set is kept."""
    return f"labelsets/{label_set_id}"


def library_versions() -> dict[str, str]:
    """Versions of what computes labels."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **versions}
