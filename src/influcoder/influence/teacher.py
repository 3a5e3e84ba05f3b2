"""Everything that fixes an exact influence, and nothing else."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from influcoder.settings.teacher import OUTSIDE_FEATURES, TeacherSpec


class Teacher(BaseModel):
    """A specification bound to the one decoder checkpoint that it speaks for.

    Args:
        decoder_fingerprint: SHA-256 of the checkpoint's content.
        engine: raised with every change of this package that changes a feature.
        optimizer: SHA-256 of the optimiser state that `less` preconditions with; empty for other methods.
        whitening: hash of the samples that a whitened teacher's second moments are of; empty for other methods.
        spec: what the user chose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decoder_fingerprint: str
    engine: int = 1
    optimizer: str = ""
    whitening: str = ""
    spec: TeacherSpec = TeacherSpec()

    @property
    def id(self) -> str:
        """The first 16 hex digits of SHA-256 over all of the above."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def features_id(self) -> str:
        """The same over what a feature depends on: the cosine, the dot product and the damped Fisher share theirs."""
        content = self.model_dump(exclude=None if self.spec.whitened else {"spec": OUTSIDE_FEATURES})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @model_serializer(mode="wrap")
    def _as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Ids are hashes of this: teachers that have no whitening keep those that they had before there was any."""
        content: dict[str, Any] = write(self)
        return content if self.whitening else {name: value for name, value in content.items() if name != "whitening"}
