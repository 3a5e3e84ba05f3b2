"""Everything that fixes an exact influence, and nothing else."""

import hashlib

from pydantic import BaseModel, ConfigDict, Field


class TeacherSpec(BaseModel):
    """The part of a teacher that a user chooses.

    Args:
        method: how two gradients become an influence, see `exact_influence`; the cosine is the published default.
        rank: rank of the LoRA adapter.
        adapter_seed: seed of the adapter's A matrices.
        projection: the kind of random projection.
        projection_dim: its dimensions; 0 keeps the gradient whole.
        projection_seed: seed of the sketch.
        last_layers: only the last so many transformer blocks carry an adapter, and the backward pass stops
            there; 0 means all.
        storage: floating-point type that features are kept in.
        max_tokens: the longest sequence that the decoder is shown; of a longer one the target is kept.
        dtype: the decoder's floating-point type.
        attention: the decoder's attention implementation.
        reduction: `mean` or `sum` over a sample's own target tokens; never over a batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field("gradient-cosine", pattern="^gradient-(cosine|dot)$")
    rank: int = Field(16, ge=1)
    adapter_seed: int = 0
    projection: str = Field("countsketch", pattern="^countsketch$")
    projection_dim: int = Field(8192, ge=0)
    projection_seed: int = 0
    last_layers: int = Field(0, ge=0)
    storage: str = Field("float16", pattern="^(float16|float32)$")
    max_tokens: int = Field(192, ge=8)
    dtype: str = "float32"
    attention: str = "sdpa"
    reduction: str = Field("mean", pattern="^(mean|sum)$")


class Teacher(BaseModel):
    """A specification bound to the one decoder checkpoint that it speaks for.

    Args:
        decoder_fingerprint: SHA-256 of the checkpoint's content.
        engine: raised with every change of this package that changes a feature.
        spec: what the user chose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decoder_fingerprint: str
    engine: int = 1
    spec: TeacherSpec = TeacherSpec()

    @property
    def id(self) -> str:
        """The first 16 hex digits of SHA-256 over all of the above."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
