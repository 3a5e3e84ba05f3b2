"""The part of a teacher that a user chooses."""

from pydantic import BaseModel, ConfigDict, Field

WHITENED = "whitened-cosine"
METHODS = (WHITENED, "gradient-cosine", "gradient-dot", "less", "fisher", "ekfac", "imported")


# The methods whose scores are cosines, between -1 and 1.
COSINES = (WHITENED, "gradient-cosine", "less")


# The methods whose curvature is taken on samples that are neither queries nor candidates of the evidence.
CURVED = ("fisher", "ekfac")


# The methods that give scores of pairs alone, no feature of a sample.
PAIRWISE = ("ekfac", "imported")


# What a feature does not depend on, so that teachers that differ in these alone share what was paid for.
OUTSIDE_FEATURES = {"method", "damping", "reference", "origin"}


class TeacherSpec(BaseModel):
    """The part of a teacher that a user chooses.

    Args:
        method: how gradients become an influence, see `exact_influence`; the cosine is the published default.
        rank: rank of the LoRA adapter; a whitened teacher has none.
        adapter_seed: seed of the adapter's A matrices.
        projection: the kind of random projection.
        projection_dim: its dimensions; 0 keeps the gradient whole. Of a whitened teacher the most numbers of a feature.
        projection_seed: seed of the sketch.
        last_layers: only the last so many transformer blocks carry an adapter, and the backward pass stops
            there; 0 means all.
        storage: floating-point type that features are kept in.
        max_tokens: the longest sequence that the decoder is shown; of a longer one the target is kept.
        dtype: the decoder's floating-point type.
        attention: the decoder's attention implementation.
        reduction: `mean` or `sum` over a sample's own target tokens; never over a batch.
        damping: of `whitened-cosine`, `fisher` and `ekfac`, relative to the mean eigenvalue of the curvature.
        reference: number of samples of the train split that their curvature is taken on.
        origin: where `imported` scores come from, such as `bergson 2.5.1`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field("gradient-cosine", pattern=f"^({'|'.join(METHODS)})$")
    rank: int = Field(16, ge=1)
    adapter_seed: int = 0
    projection: str = Field("countsketch", pattern="^countsketch$")
    projection_dim: int = Field(32768, ge=0)
    projection_seed: int = 0
    last_layers: int = Field(0, ge=0)
    storage: str = Field("float16", pattern="^(float16|float32)$")
    max_tokens: int = Field(192, ge=8)
    dtype: str = "float32"
    attention: str = "sdpa"
    reduction: str = Field("mean", pattern="^(mean|sum)$")
    damping: float = Field(0.1, gt=0)
    reference: int = Field(128, ge=2)
    origin: str = ""

    @property
    def width(self) -> int:
        """Numbers in one stored feature: LESS keeps the gradient and the optimiser's step side by side."""
        return self.projection_dim * (2 if self.method == "less" else 1)

    @property
    def curved_on(self) -> int:
        """Number of samples that a curvature is taken on; 0 for methods that have none."""
        return self.reference if self.method in CURVED else 0

    @property
    def whitened(self) -> bool:
        """Whether features are seen through second moments, which are measured before them."""
        return self.method == WHITENED

    @property
    def pairwise(self) -> bool:
        """Whether the method scores pairs and has no feature of a single sample."""
        return self.method in PAIRWISE
