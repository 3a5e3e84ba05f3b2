"""What the registry says of an encoder."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
        return self.tags["decoder.fingerprint"]

    @property
    def label_set_id(self) -> str:
        """The labels that it was distilled from."""
        return self.tags["labelset.id"]

    def figure(self, tag: str) -> float | None:
        """A tag as a number; None where it is missing or says that it is unknown."""
        try:
            return float(self.tags[tag])
        except (KeyError, ValueError):
            return None


def agreement_words(tags: Mapping[str, str]) -> str:
    """A version's agreement at training between its floor and its ceiling; what its tags do not say is unknown."""
    floor = "floor unknown"
    if "agreement.floor" in tags:
        lift = f"{tags['agreement.lift']} [{tags['agreement.lift.lo']}, {tags['agreement.lift.hi']}]"
        floor = f"floor {tags['agreement.floor']} ({tags['agreement.floor.of']}), lift {lift}"
    rho, lo, hi = (tags.get(f"agreement.{part}", "?") for part in ("rho", "lo", "hi"))
    interval = f"{rho} [{lo}, {hi}]"
    return f"{interval}, {floor}, ceiling {tags.get('labels.ceiling', 'unknown')}"


def agreement_figures(found: EncoderVersion) -> dict[str, float | None]:
    """The same as numbers; what the tags do not say is None."""
    figures = {
        "agreement": "agreement.rho",
        "agreement_lo": "agreement.lo",
        "agreement_hi": "agreement.hi",
        "agreement_floor": "agreement.floor",
        "agreement_lift": "agreement.lift",
        "agreement_ceiling": "labels.ceiling",
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
