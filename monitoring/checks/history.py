"""Which checks of an encoder version are evidence of their own: labels that are looked at twice count once."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from influcoder.core.provenance import now
from influcoder.labelsets import LabelSet
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.plan import REFERENCE
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import id_of, keep, read
from monitoring.checks.findings import Figure
from monitoring.checks.record import Check, draw_name
from monitoring.checks.sequential_test import Observation

# Given labels that share this part of the smaller set's samples are one measurement.
SHARED = 0.5
# Half the width of a 95 % interval in standard errors, for records that hold no standard error.
_HALF_WIDTH = 1.96


@dataclass(frozen=True)
class Draw:
    """The labels behind a check.

    Args:
        store: where they are.
        label_set: their id.
        decoder: fingerprint of the decoder that they speak for.
        name: what samples of it were drawn by; draws of other names are independent. Empty for labels that were given,
            of which nothing but their samples says whether they are.
    """

    store: ObjectStore
    label_set: str
    decoder: str
    name: str

    @staticmethod
    def of(store: ObjectStore, spot: LabelSet, source: str | int) -> "Draw":
        """Labels that were drawn by a seed, or were given by their id."""
        name = draw_name(source) if isinstance(source, int) else ""
        return Draw(store, spot.id, spot.identity.teacher.decoder_fingerprint, name)

    def repeats(self, other: "Draw") -> bool:
        """Whether the two are one measurement."""
        if self.label_set == other.label_set:
            return True
        if self.decoder != other.decoder or bool(self.name) != bool(other.name):
            return False
        if self.name:
            return self.name == other.name
        return len(self.samples & other.samples) >= SHARED * min(len(self.samples), len(other.samples))

    @cached_property
    def samples(self) -> frozenset[str]:
        """Hashes of the samples that agreement is measured on."""
        refs = load_manifest(self.store, self.label_set).identity.samples
        return frozenset(ref.hash for ref in refs if ref.split == "report" and ref.role != REFERENCE)


def draw_of(store: ObjectStore, check: Check) -> Draw:
    """The labels behind a check."""
    return Draw(store, check.spot_label_set, check.decoder, check.draw)


def observations_before(
    store: ObjectStore, earlier: Iterable[Check], version: EncoderVersion, present: Draw
) -> list[Observation]:
    """The looks at a version before the present one, oldest first, each from labels of its own.

    A measurement that was repeated counts as the last time it was made. One on the labels that the version was
    promoted on is no second look at it.

    Args:
        store: where checks are.
        earlier: checks, oldest first; those of other versions are left out.
        version: the encoder version.
        present: the labels of the check that is being made.
    """
    own = [check for check in earlier if check.encoder_version == version.version]
    promoted = Draw(store, version.label_set_id, version.decoder_fingerprint, "")
    taken, looks = [promoted, present], list[Observation]()
    for check in reversed(own):
        draw = draw_of(store, check)
        if not any(draw.repeats(other) for other in taken):
            taken.append(draw)
            looks.append(observation_of(check))
    return looks[::-1]


def observation_of(check: Check) -> Observation:
    """What a record tells the decision."""
    return recorded_observation(check.figures["rho"], check.candidates, check.created)


def recorded_observation(rho: Figure, candidates: int, created: str = "") -> Observation:
    """A look from what a record keeps of ρ, and of how many candidates each query ranked; 0 where it does not say."""
    error = rho.get("error", (rho["hi"] - rho["lo"]) / 2 / _HALF_WIDTH)
    queries = int(rho["queries"])
    return Observation(rho["value"], error, queries, candidates or queries, created)


class Seed(BaseModel):
    """The seed of a draw, and when it was opened, UTC, ISO 8601."""

    model_config = ConfigDict(frozen=True)

    seed: int
    opened: str


class OpenDraw:
    """A draw that a check has begun and not yet recorded.

    Args:
        store: where it is kept.
        settings: what is drawn from, under which decoder.
        version: the encoder version that is checked.
    """

    def __init__(self, store: ObjectStore, settings: Settings, version: str) -> None:
        self._store = store
        facts = [version, settings.decoder, settings.corpus, settings.queries]
        self._key = f"draws/{id_of(facts)}.json"

    def seed(self, fresh: int) -> int:
        """The seed of the draw: that of a check which did not end, else the fresh one.

        Two checks of the same encoder, decoder and corpus that run at once share a draw, and count once.
        """
        begun = self._begun()
        if begun is not None:
            return begun
        return keep(self._store, self._key, Seed(seed=fresh, opened=now()), "Delete it.").seed

    def close(self, seed: int) -> None:
        """The draw is recorded; the next check makes one of its own."""
        if self._begun() == seed:
            self._store.delete(self._key)

    def _begun(self) -> int | None:
        found = read(self._store, self._key, Seed, "Delete it.")
        return found.seed if found else None
