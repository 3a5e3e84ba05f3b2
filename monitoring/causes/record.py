"""The record of why agreement fell, kept beside its check."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import keep, read
from monitoring.checks.findings import Figure

SHOWN = 12
_PLURAL = {"query": "queries", "candidate": "candidates"}


class Cause(StrEnum):
    """What made agreement fall."""

    DECODER = "the decoder moved"
    DATA = "the data moved"
    BOTH = "both moved"
    NOISE = "the labels are noisy"
    UNCLEAR = "unclear"


class GroupChange(BaseModel):
    """How agreement changed in one group.

    Args:
        role: whether its samples are the queries, or the candidates that are ranked among each other.
        by: `source` or `cluster`.
        name: of the group.
        samples: how many there are of it now, and at promotion.
        now: mean per-query ρ on spot labels: value, lo, hi, queries.
        then: the same at promotion; of all samples where the group is new.
        change: now minus then.
        new: whether it had too few samples at promotion to compare with.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    role: str
    by: str
    name: str
    samples: tuple[int, int]
    now: Figure
    then: Figure
    change: Figure
    new: bool


class Explained(BaseModel):
    """Why agreement fell, and where.

    Args:
        check_id: the check.
        cause: its cause.
        reason: one sentence with every step and its interval.
        cells: mean per-query ρ in each corner of the crossing that was measured.
        steps: change of mean per-query ρ in each step that was.
        old_decoder: what became of the decoder that the encoder was distilled for.
        groups: sources or clusters, the largest fall first.
        floor: ρ of the floor on the spot labels; None where it is unknown.
        ceiling: of the spot labels; None where it is unknown.
        samples: how many samples were labelled to find the cause; cached ones cost nothing.
        seconds: what labelling them took.
        created: UTC time, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    check_id: str
    cause: Cause
    reason: str
    cells: dict[str, Figure]
    steps: dict[str, Figure]
    old_decoder: str
    groups: tuple[GroupChange, ...]
    floor: float | None
    ceiling: float | None
    samples: int
    seconds: float
    created: str

    @property
    def summary(self) -> str:
        """What a person reads first, in markdown."""
        worst = [item for item in self.groups if item.change["hi"] < 0][:3]
        where = "; ".join(f"{_PLURAL[item.role]} of {item.name} {item.change['value']:+.3f}" for item in worst)
        lines = [
            f"# Cause: {self.cause}",
            f"{self.reason}.",
            f"The old decoder: {self.old_decoder}.",
            f"Fell most, beyond chance: {where}." if where else "No source or cluster fell beyond chance.",
            f"Finding this out labelled {self.samples} samples in {self.seconds:.1f} s.",
        ]
        return "\n\n".join(lines)

    def rows(self) -> list[dict[str, str | int]]:
        """The groups as a table; each interval holds for its group alone, not for all at once."""
        return [
            {
                item.by: item.name + (" (new)" if item.new else ""),
                "role": item.role,
                "change of ρ": _shown(item.change),
                "now": _shown(item.now),
                "at promotion": _shown(item.then),
                "samples now": item.samples[0],
                "samples at promotion": item.samples[1],
            }
            for item in self.groups[:SHOWN]
        ]


def save_cause(store: ObjectStore, found: Explained, plot: bytes) -> Explained:
    """Keep a cause beside its check, plot first; the first one stands."""
    existing = load_cause(store, found.check_id)
    if existing is not None:
        return existing
    store.put(f"checks/{found.check_id}/cause.png", plot, "image/png")
    return keep(store, _key(found.check_id), found, _remedy(found.check_id))


def load_cause(store: ObjectStore, check_id: str) -> Explained | None:
    """The cause that was found for a check; None where none was looked for."""
    return read(store, _key(check_id), Explained, _remedy(check_id))


def plot_link(store: ObjectStore, check_id: str) -> str:
    """A signed URL of the plot."""
    return store.link(f"checks/{check_id}/cause.png")


def _remedy(check_id: str) -> str:
    return f"Delete it, then run: influcoder cause {check_id}"


def _key(check_id: str) -> str:
    return f"checks/{check_id}/cause.json"


def _shown(figure: Figure) -> str:
    return f"{figure['value']:+.3f} [{figure['lo']:+.3f}, {figure['hi']:+.3f}]"
