"""What a label set is made of, and what it came from."""

import hashlib
import importlib.metadata
import json
import platform

from pydantic import BaseModel, ConfigDict

from influcoder.influence.reliability import Reliability
from influcoder.influence.teacher import Teacher

SCHEMA = 2
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
        reliability: the teacher's ceiling, projection fidelity and numerics; None where nothing is known of it.
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


def library_versions() -> dict[str, str]:
    """Versions of what computes labels."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **versions}
