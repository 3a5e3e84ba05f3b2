"""What a check found, as it is kept and shown: reading it takes none of what measures it."""

from enum import StrEnum
from math import isfinite

from pydantic import BaseModel, ConfigDict

from influcoder.core import tags

Figure = dict[str, float]
_ENDS = {"value": tags.LIFT, "lo": tags.LIFT_LO, "hi": tags.LIFT_HI}


class Bounds(BaseModel):
    """An agreement's place between its floor and its ceiling, as it is kept and shown.

    Args:
        floors: mean per-query ρ of each untrained ranking: value, lo, hi and queries; NaN where it ranks none.
        floor: the name of the highest.
        lift: mean per-query ρ minus the floor's, paired on queries and candidates: value, lo, hi and queries.
        ceiling: ρ of the teacher with itself: value, lo and hi; None where it is unknown.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    floors: dict[str, Figure]
    floor: str
    lift: Figure
    ceiling: Figure | None

    @property
    def height(self) -> float:
        """ρ of the floor."""
        return self.floors[self.floor]["value"]

    def __str__(self) -> str:
        lift = self.lift
        top = "ceiling unknown" if self.ceiling is None else f"ceiling {self.ceiling['value']:.3f}"
        return (
            f"floor {self.height:.3f} ({self.floor}), {top}, lift over the floor {lift['value']:+.3f} "
            f"[{lift['lo']:+.3f}, {lift['hi']:+.3f}]"
        )

    @property
    def paragraph(self) -> str:
        """The same for a card, in markdown."""
        floors = ", ".join(f"{name} {value['value']:.3f}" for name, value in self.floors.items())
        return f"Mean per-query ρ between {self}. Rankings that learn nothing: {floors}."

    def rows(self, name: str, rho: Figure) -> list[dict[str, str | float]]:
        """A row for the encoder, the lift, each floor and the ceiling, for a table."""
        floors = {f"{key}{' (the floor)' if key == self.floor else ''}": value for key, value in self.floors.items()}
        unknown = {"value": float("nan"), "lo": float("nan"), "hi": float("nan")}
        shown = {
            name: rho,
            "lift over the floor": self.lift,
            **floors,
            "ceiling of the labels": self.ceiling or unknown,
        }
        return [row_of(key, value) for key, value in shown.items()]

    def tags(self) -> dict[str, str]:
        """The same as tags of an encoder version."""
        lift = {tag: f"{self.lift[part]:.4f}" for part, tag in _ENDS.items()}
        return {tags.FLOOR: f"{self.height:.4f}", tags.FLOOR_OF: self.floor, **lift}


class Shift(BaseModel):
    """Agreement of an encoder on its probe under two decoders, as a check keeps it.

    Args:
        then: mean per-query ρ under the decoder that the encoder was distilled for: value, lo, hi and queries.
        now: the same under the decoder in use.
        change: of the second from the first, paired on queries and candidates.
        samples: how many samples were labelled for it; the others were cached.
        seconds: what that took.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    then: Figure
    now: Figure
    change: Figure
    samples: int
    seconds: float

    def fell(self, margin: float) -> bool:
        """Whether agreement fell by the margin or more, beyond chance."""
        return self.change["hi"] < 0 and self.change["value"] <= -margin

    def __str__(self) -> str:
        change = self.change
        return (
            f"on the fixed probe ρ is {self.now['value']:.3f}, and was {self.then['value']:.3f} under the decoder that "
            f"it was distilled for: {change['value']:+.3f} [{change['lo']:+.3f}, {change['hi']:+.3f}]"
        )

    def rows(self) -> list[dict[str, str | float]]:
        """Lines of the table that a check shows."""
        names = {
            "the fixed probe, decoder of the labels": self.then,
            "the fixed probe, decoder in use": self.now,
            "change on the fixed probe": self.change,
        }
        return [row_of(name, figure) for name, figure in names.items()]


class Verdict(StrEnum):
    """The four outcomes of a check."""

    OK = "ok"
    WARN = "warn"
    DRIFT = "drift"
    INSUFFICIENT = "insufficient"


class Judgement(BaseModel):
    """A verdict with its evidence; what has a default is absent in records of earlier versions.

    Args:
        verdict: the outcome.
        reason: one sentence that a person can read.
        change: estimated present change of mean per-query ρ since promotion.
        lo: lower end of its 95 % confidence sequence, which holds for all checks together.
        hi: upper end.
        e_value: evidence of a fall since promotion or the last recovery; 1 / alpha is enough.
        recovery: evidence that the last drift is over; 1 / recovery_alpha is enough. None where there was none.
        checks: how many checks the decision rests on.
        since: when the check was made from which on agreement is likeliest to be lower; None without a drift.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    verdict: Verdict
    reason: str
    change: float
    lo: float
    hi: float
    e_value: float | None = None
    recovery: float | None = None
    checks: int | None = None
    since: str | None = None


def row_of(name: str, figure: Figure) -> dict[str, str | float]:
    """A line of a table of figures."""
    return {"ρ of": name, **{part: _shown(figure[part]) for part in ("value", "lo", "hi")}}


def _shown(value: float) -> str | float:
    return round(value, 4) if isfinite(value) else "unknown"
