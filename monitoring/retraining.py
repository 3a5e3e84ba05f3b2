"""Which drift decisions may start a retraining, and how each was answered."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from influcoder.errors import AlreadyExistsError
from influcoder.settings import DriftSettings
from influcoder.store import ObjectStore
from monitoring.check import Check
from monitoring.decision import Verdict


class Answer(BaseModel):
    """How a drift decision was answered.

    Args:
        check_id: the decision.
        label_set: id of the labels that were made for it.
        version: the encoder version that was trained on them.
        promoted: whether it passed the gate.
        created: UTC time, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    check_id: str
    label_set: str
    version: str
    promoted: bool
    created: str


def is_answerable(check: Check, answer: Answer | None, settings: DriftSettings) -> str:
    """Why a check starts no retraining; empty where it does."""
    if answer is not None:
        return f"it was answered at {answer.created} by encoder version {answer.version}"
    if check.verdict is not Verdict.DRIFT:
        return f"its verdict is {check.verdict}"
    age = datetime.now(UTC) - datetime.fromisoformat(check.created)
    if age > timedelta(hours=settings.fresh_for_hours):
        return f"it is {age.total_seconds() / 3600:.0f} hours old"
    return ""


def answer_of(store: ObjectStore, check_id: str) -> Answer | None:
    """The answer to a decision, None where there is none."""
    data, _ = store.read_if_there(_key(check_id))
    return Answer.model_validate_json(data) if data else None


def save_answer(store: ObjectStore, answer: Answer) -> None:
    """Record an answer; the first one stands."""
    try:
        store.create(_key(answer.check_id), answer.model_dump_json(indent=1).encode())
    except AlreadyExistsError:
        pass


def _key(check_id: str) -> str:
    return f"retrainings/{check_id}.json"
