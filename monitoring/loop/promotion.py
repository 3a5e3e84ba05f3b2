"""What came of offering an encoder version to the gate: one record a version, moved by compare-and-swap."""

import secrets
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from influcoder.core.processes import is_gone, mark
from influcoder.core.provenance import now
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import Slot, read
from monitoring.loop.gate import GateResult
from monitoring.loop.retraining import Phase

# The tag of a version in MLflow that a person sets, and what it may say.
# Values of the tag `approval`.
APPROVED, REJECTED, WAITS = "approved", "rejected", "waiting"
# Seconds after which measuring on another host counts as killed: more than labels of a gate take.
_SILENCE = 6 * 3600


class Stage(StrEnum):
    """Where an offered version stands."""

    MEASURING = "measuring"
    HELD = "held"
    WAITING = "waiting for approval"
    REJECTED = "rejected"
    PROMOTED = "promoted"


class Promotion(BaseModel):
    """An offered version.

    Args:
        version: the encoder version.
        stage: where it stands.
        reason: why, a sentence.
        offered: why it was offered.
        retraining: the decision that it answers; empty where a person offered it.
        decoder: where the decoder that it is measured under is loaded from; None for the one in use.
        corpus: what the samples are drawn from; None for the one in use.
        given: id of spot labels that were given; None where fresh ones are bought.
        seed: of the draw of fresh samples; kept for as long as the evidence counts, so that a run that was killed
            buys no other labels, and nobody offers a version again and again until chance lets it pass.
        drawn: when the seed was, UTC, ISO 8601.
        spot: id of the labels that it was measured on.
        gate: what the gate said.
        digests: what identified the version when it was measured.
        process: what measures or measured it.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    stage: Stage = Stage.MEASURING
    reason: str = ""
    offered: str = ""
    retraining: str = ""
    decoder: str | None = None
    corpus: str | None = None
    given: str | None = None
    seed: int
    drawn: str
    spot: str = ""
    gate: GateResult | None = None
    digests: dict[str, str] = {}
    process: str = ""

    def is_fresh(self, hours: float) -> bool:
        """Whether what was measured still counts."""
        return datetime.now(UTC) - datetime.fromisoformat(self.drawn) < timedelta(hours=hours)

    def ending(self) -> tuple[Phase, str, bool]:
        """Phase, reason and success of the retraining that it is of."""
        phase = {Stage.WAITING: Phase.WAITING, Stage.MEASURING: Phase.RUNNING}.get(self.stage, Phase.ANSWERED)
        return phase, f"version {self.version}: {self.reason or self.stage}", self.stage is Stage.PROMOTED


def slot_of(store: ObjectStore, model: str, version: str) -> Slot[Promotion]:
    """The record of a version."""
    return Slot(store, f"{_folder(model)}{version}.json", Promotion)


def begin(slot: Slot[Promotion], hours: float, version: str, **offer: str | None) -> Promotion:
    """Note an offer before anything is bought for it; one that was begun lately goes on with the same samples."""
    before = slot.value
    draw = {"seed": secrets.randbits(32), "drawn": now()}
    if before and before.is_fresh(hours):
        draw = {"seed": before.seed, "drawn": before.drawn}
    # A person may have approved of what was measured before: the files must still be those.
    known = before.digests if before else {}
    return slot.write(
        Promotion.model_validate({"version": version, "digests": known, "process": mark(), **draw, **offer})
    )


def waiting(store: ObjectStore, model: str) -> list[Promotion]:
    """The versions that wait for a person."""
    return [offer for offer in _offers(store, model).values() if offer.stage is Stage.WAITING]


def interrupted(store: ObjectStore, model: str) -> list[Promotion]:
    """The versions whose measuring was killed: its process is gone, or on another host and silent for hours."""
    measuring = {key: offer for key, offer in _offers(store, model).items() if offer.stage is Stage.MEASURING}
    return [offer for key, offer in measuring.items() if is_gone(offer.process) or store.age(key) > _SILENCE]


def _offers(store: ObjectStore, model: str) -> dict[str, Promotion]:
    """Every offer by its key."""
    found = {key: read(store, key, Promotion) for key in store.keys(_folder(model))}
    return {key: offer for key, offer in found.items() if offer}


def _folder(model: str) -> str:
    return f"promotions/{model}/"
