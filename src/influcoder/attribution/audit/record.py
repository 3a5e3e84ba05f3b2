"""What an audit found, as a record that both pages are made of, and what it says in plain words."""

import hashlib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(_Record):
    """A sample of the pool.

    Args:
        rank: 1 for the most influential.
        id: its id in the pool.
        source: where it comes from.
        sha256: of its content.
        text: what it says.
        estimate: influence by the encoder, -1 to 1.
        exact: influence by gradients of the decoder, -1 to 1; None where it was not computed.
    """

    rank: int
    id: str
    source: str
    sha256: str
    text: str
    estimate: float
    exact: float | None = None


class Ruler(_Record):
    """How well the estimates of this encoder rank, as it was measured.

    Args:
        rho: mean per-query Spearman ρ with exact influence.
        lo: lower end of its 95 % interval.
        hi: upper end.
        floor: ρ of the best ranking that learnt nothing; None where it is unknown.
        ceiling: ρ of exact influence with itself under another seed; None where it is unknown.
        measured: when and on what, in words.
    """

    rho: float
    lo: float
    hi: float
    floor: float | None = None
    ceiling: float | None = None
    measured: str


class Link(_Record):
    """One link of the chain of evidence.

    Args:
        what: its name.
        id: what identifies it.
        detail: what else there is to say.
    """

    what: str
    id: str
    detail: str = ""


class Audit(_Record):
    """What an audit found.

    Args:
        created: UTC time, ISO 8601.
        author: who asked for it.
        prompt: what the decoder was asked; may be empty.
        answer: what it said.
        pool: the pool, in words.
        samples: its size.
        most: the samples that drove the answer most, rank 1 first.
        least: those that drove it least.
        controls: exact influence of samples drawn at random from the pool.
        rulers: agreement, the latest first.
        warnings: what has to be known before believing it.
        chain: from this answer back to the bytes.
    """

    created: str
    author: str
    prompt: str
    answer: str
    pool: str
    samples: int
    most: tuple[Point, ...]
    least: tuple[Point, ...] = ()
    controls: tuple[float, ...] = ()
    rulers: tuple[Ruler, ...]
    warnings: tuple[str, ...] = ()
    chain: tuple[Link, ...]

    @property
    def id(self) -> str:
        """The first 20 hex digits of SHA-256 over all of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:20]

    @property
    def checked(self) -> list[float]:
        """Exact influence of the most influential samples, as far as it was computed."""
        return [point.exact for point in self.most if point.exact is not None]

    @property
    def findings(self) -> list[str]:
        """What was found, in sentences."""
        said = [
            f"Out of {self.samples:,} samples of training data, the {len(self.most)} listed below did most to make the "
            "model give this answer, as far as it is estimated."
        ]
        if self.checked:
            said.append(self._exact())
        if self.checked and self.controls:
            said.append(self._against_chance())
        if not self.checked:
            said.append("None of these estimates was checked against an exact computation for this report.")
        return said

    @property
    def trust(self) -> list[str]:
        """How far the estimates can be believed, in sentences."""
        ruler = self.rulers[0]
        said = [
            f"Estimated and exact rankings agree to {ruler.rho:.2f} (95 % interval {ruler.lo:.2f} to {ruler.hi:.2f}; "
            f"{ruler.measured}). On this scale 0 is no better than chance and 1 is perfect."
        ]
        if ruler.floor is not None:
            said.append(f"The best ranking that learnt nothing about this model reaches {ruler.floor:.2f}.")
        if ruler.ceiling is not None:
            said.append(f"Exact influence agrees with its own repetition to {ruler.ceiling:.2f}: no more is possible.")
        return said

    def _exact(self) -> str:
        found, toward = self.checked, sum(value > 0 for value in self.checked)
        return (
            f"For {len(found)} of them the influence was computed exactly from the model itself: {toward} of "
            f"{len(found)} push the model towards this answer, and the mean is {_mean(found):.3f} (1 would be a copy, "
            "0 nothing)."
        )

    def _against_chance(self) -> str:
        wins = [(value > other) + (value == other) / 2 for value in self.checked for other in self.controls]
        return (
            f"{len(self.controls)} samples drawn at random from the same data have {_mean(self.controls):.3f} on "
            f"average; a listed sample has the larger exact influence in {_mean(wins):.0%} of pairs; 50% would be "
            "chance."
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
