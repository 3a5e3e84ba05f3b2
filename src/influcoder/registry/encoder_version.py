"""What the registry says of an encoder."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from influcoder.core import tags


@dataclass(frozen=True)
class EncoderVersion:
    """A version of the encoder in the registry.

    Args:
        version: its number, as MLflow writes it.
        run_id: the run that trained it.
        aliases: `champion`, `challenger`, or none.
        tags: what it came from and what it is worth.
        url: its page in the MLflow UI.
    """

    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    url: str

    @property
    def decoder_fingerprint(self) -> str:
        """The decoder checkpoint that it was distilled for."""
        return self.tags[tags.DECODER]

    @property
    def label_set_id(self) -> str:
        """The labels that it was distilled from."""
        return self.tags[tags.LABEL_SET]

    @property
    def teacher_id(self) -> str:
        """The teacher of those labels; empty where the tags do not say it."""
        return self.tags.get(tags.TEACHER, "")

    @property
    def files_digest(self) -> str | None:
        """SHA-256 over its files; None where the tags do not say it."""
        return self.tags.get(tags.FILES)

    def figure(self, tag: str) -> float | None:
        """A tag as a number; None where it is missing or says that it is unknown."""
        try:
            return float(self.tags[tag])
        except (KeyError, ValueError):
            return None


def agreement_words(known: Mapping[str, str]) -> str:
    """A version's agreement at training between its floor and its ceiling; what its tags do not say is unknown."""
    floor = "floor unknown"
    if tags.FLOOR in known:
        lift = f"{known[tags.LIFT]} [{known[tags.LIFT_LO]}, {known[tags.LIFT_HI]}]"
        floor = f"floor {known[tags.FLOOR]} ({known[tags.FLOOR_OF]}), lift {lift}"
    rho, lo, hi = (known.get(tag, "?") for tag in (tags.RHO, tags.LO, tags.HI))
    return f"{rho} [{lo}, {hi}], {floor}, ceiling {known.get(tags.CEILING, 'unknown')}"


def agreement_figures(found: EncoderVersion) -> dict[str, float | None]:
    """The same as numbers; what the tags do not say is None."""
    figures = {
        "agreement": tags.RHO,
        "agreement_lo": tags.LO,
        "agreement_hi": tags.HI,
        "agreement_floor": tags.FLOOR,
        "agreement_lift": tags.LIFT,
        "agreement_ceiling": tags.CEILING,
    }
    return {name: found.figure(tag) for name, tag in figures.items()}


@dataclass(frozen=True)
class Evidence:
    """What was measured of an encoder version when it was trained.

    Args:
        figures: value, lo, hi and queries of every figure, for the encoder and for the untrained one.
        candidates: how many candidates each query ranked, at most.
    """

    figures: Mapping[str, Mapping[str, dict[str, float]]]
    candidates: int

    @staticmethod
    def read(content: Mapping[str, Any]) -> "Evidence":
        """What a run holds; older ones hold every pair, and do not say how many candidates there are."""
        known = content.get("candidates")
        return Evidence(content["figures"], known or max(Counter(content["pairs"]["query"]).values()))
