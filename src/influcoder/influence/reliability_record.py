"""What labels are worth, as it is kept with them: reading it takes none of what measures it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Numerics(BaseModel):
    """A teacher against itself where only rounding differs, as older label sets measured it.

    Args:
        queries: number of queries that it was measured on.
        candidates: number of candidates.
        batches: mean per-query ρ with features computed beside samples of other lengths than in the labels' batches.
        batches_error: largest absolute difference of a cosine then.
        dtype: the other floating-point type: `bfloat16`, of which only the rounding is taken, or `float32`.
        dtypes: mean per-query ρ with features of the same decoder in that type; None where memory was too short.
        dtypes_error: largest absolute difference of a cosine then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int
    candidates: int
    batches: float
    batches_error: float
    dtype: str
    dtypes: float | None = None
    dtypes_error: float | None = None

    def __str__(self) -> str:
        moved = f"in other batches they keep ρ {self.batches:.4f} (cosines move by {self.batches_error:.1e} at most)"
        if self.dtypes is not None:
            how = "rounded to" if self.dtype == "bfloat16" else "in"
            moved += f", with the decoder {how} {self.dtype} ρ {self.dtypes:.4f} ({self.dtypes_error:.1e})"
        return f"Arithmetic alone moves them too: {moved}; {self.queries} queries × {self.candidates} candidates."


class Reliability(BaseModel):
    """How far a teacher's labels can be trusted, measured on a few samples.

    Args:
        queries: number of queries that it was measured on.
        candidates: number of candidates; where pairs are missing, the most that one query ranks.
        ceiling: mean per-query ρ between the teacher and itself under a second opinion.
        ceiling_lo: lower end of its 95 % interval over queries and candidates.
        ceiling_hi: upper end.
        ceiling_aggregated: ρ of the candidates' means between the two; None where one of them is constant.
        against: the second opinion: other adapter and sketch `seeds`, a curvature of another draw of `reference`
            samples, or another `run` of what computed imported scores.
        reference: samples of that other draw.
        shared: how many of them are those of the teacher, since the corpus has no more.
        fidelity: mean per-query ρ between the projected cosines and those of the whole adapter gradient; None for a
            teacher that projects nothing.
        largest_error: largest absolute difference between these two cosines; None likewise.
        numerics: how far arithmetic alone moves the ranking, as older label sets measured it; None else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int
    candidates: int
    ceiling: float
    ceiling_lo: float
    ceiling_hi: float
    ceiling_aggregated: float | None
    against: Literal["seeds", "reference", "run"] = "seeds"
    reference: int = 0
    shared: int = 0
    fidelity: float | None = None
    largest_error: float | None = None
    numerics: Numerics | None = None

    def __str__(self) -> str:
        said = [
            f"{self._second_opinion()} at ρ {self.ceiling:.3f} [{self.ceiling_lo:.3f}, {self.ceiling_hi:.3f}] "
            f"({self.queries} queries × {self.candidates} candidates): no encoder can honestly do better."
        ]
        if self.fidelity is not None and self.largest_error is not None:
            said.append(
                f"The projection keeps the whole gradient's ranking at ρ {self.fidelity:.3f}, with errors of a cosine "
                f"up to {self.largest_error:.3f}."
            )
        return " ".join([*said, *([str(self.numerics)] if self.numerics else [])])

    def _second_opinion(self) -> str:
        if self.against == "run":
            return "Another run of the method that computed these scores agrees with them"
        if self.against == "reference":
            same = f" ({self.shared} of them the same)" if self.shared else ""
            return (
                f"With the curvature of another draw of {self.reference} samples{same} the labels agree with themselves"
            )
        return "Under other seeds the labels agree with themselves"
