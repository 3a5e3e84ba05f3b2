"""How each drift decision is answered: one record a decision, moved by compare-and-swap."""

import time
from collections.abc import Callable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from influcoder.core.provenance import now
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import Slot, read

LEASE = "control/retraining.json"
_FOLDER = "retrainings/"


class Phase(StrEnum):
    """Where a decision's answer stands."""

    DEFERRED = "deferred"
    RUNNING = "running"
    WAITING = "waiting for approval"
    ANSWERED = "answered"
    REFUSED = "refused"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come of the decision."""
        return self in (Phase.ANSWERED, Phase.REFUSED)


class Retraining(BaseModel):
    """The answer to a decision, as far as it has come; what was made for it is named as soon as it is there.

    Args:
        check_id: the decision.
        phase: where it stands.
        reason: why it is there, a sentence.
        owner: who works or worked at it.
        label_set: id of the labels that were made for it; empty until they are published.
        version: the encoder version that was trained on them; empty until it is registered.
        promoted: whether it became champion.
        runs: how often it was begun, killed runs included.
        seconds: time that its finished steps took.
        started: when it was first begun, UTC, ISO 8601; empty where it never was.
        created: when this was written, UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    check_id: str
    phase: Phase
    reason: str = ""
    owner: str = ""
    label_set: str = ""
    version: str = ""
    promoted: bool = False
    runs: int = 0
    seconds: float = 0.0
    started: str = ""
    created: str


class RetrainingSlot:
    """The record of one decision in the store.

    Args:
        store: holds it.
        check_id: the decision.
        fence: raises where another run took the work over; called before every write.
    Raises, from every method that writes:
        ChangedMeanwhileError: another run wrote it since it was read.
    """

    def __init__(self, store: ObjectStore, check_id: str, fence: Callable[[], None] = lambda: None) -> None:
        self.check_id = check_id
        self._slot, self._fence, self._clock = Slot(store, _key(check_id), Retraining), fence, time.monotonic()

    @property
    def record(self) -> Retraining | None:
        """What stands in the store; None where nobody answered the decision yet."""
        return self._slot.value

    def begin(self, owner: str) -> Retraining:
        """Note that somebody begins, or goes on."""
        # What a killed run took since its last note is not known.
        self._clock, before = time.monotonic(), self.record
        runs, started = (before.runs, before.started) if before else (0, "")
        return self._write(phase=Phase.RUNNING, owner=owner, runs=runs + 1, started=started or now())

    def note(self, **made: str) -> Retraining:
        """Note what was made, so that it is not paid for again, and the time that it took."""
        return self._write(**made)

    def close(self, phase: Phase, reason: str, promoted: bool = False) -> Retraining:
        """Note how it ended, or why it does not begin; the same words are not written twice."""
        record = self.record
        if record and (record.phase, record.reason, record.promoted) == (phase, reason, promoted):
            return record
        return self._write(phase=phase, reason=reason, promoted=promoted)

    def _write(self, **changes: object) -> Retraining:
        self._fence()
        before = self.record or Retraining(check_id=self.check_id, phase=Phase.DEFERRED, created="")
        elapsed, self._clock = time.monotonic() - self._clock, time.monotonic()
        seconds = before.seconds + (elapsed if before.phase is Phase.RUNNING else 0.0)
        return self._slot.write(before.model_copy(update={"seconds": seconds, **changes, "created": now()}))


def answer_of(store: ObjectStore, check_id: str) -> Retraining | None:
    """The answer to a decision; None where it has none yet, and where it is refused."""
    record = RetrainingSlot(store, check_id).record
    return record if record and record.phase is Phase.ANSWERED else None


def retrainings(store: ObjectStore) -> dict[str, Retraining]:
    """Every record by its decision."""
    keys = [key for key in store.keys(_FOLDER) if key.endswith(".json")]
    records = (read(store, key, Retraining) for key in keys)
    return {record.check_id: record for record in records if record}


def _key(check_id: str) -> str:
    return f"{_FOLDER}{check_id}.json"
