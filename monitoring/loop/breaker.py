"""The breaker: after too many challengers in a row that fail the gate, the loop stops until a person closes it.

It is open where the journal says so, so that it can be neither lost nor opened unseen; the tag in MLflow is a notice.
"""

from collections.abc import Sequence

from influcoder.core.errors import InflucoderError
from influcoder.registry.journal import Action, Entry, entries
from influcoder.storage.object_store import ObjectStore

# Values of the tag `trust`.
DEGRADED, RESTORED = "degraded", "restored"
RETRAINING = "retraining"


def failures(found: Sequence[Entry]) -> tuple[Entry, ...]:
    """The retrainings in a row whose challengers failed the gate, oldest first, one entry a version.

    A champion that moved and a breaker that was closed begin a new row.
    """
    row: dict[str, Entry] = {}
    for entry in found:
        if entry.action.moves or entry.action is Action.BREAKER_CLOSED:
            row = {}
        elif entry.action is Action.HELD and entry.evidence.get(RETRAINING):
            row.setdefault(entry.version, entry)
    return tuple(row.values())


def opened(found: Sequence[Entry]) -> Entry | None:
    """The entry that opened the breaker; None where it is closed."""
    last = next((e for e in reversed(found) if e.action in (Action.BREAKER_OPENED, Action.BREAKER_CLOSED)), None)
    return last if last and last.action is Action.BREAKER_OPENED else None


def is_due(found: Sequence[Entry], limit: int) -> bool:
    """Whether the breaker is to be opened now."""
    return opened(found) is None and len(failures(found)) >= limit


def degraded(found: Sequence[Entry]) -> str:
    """What a reader of scores has to know; empty where the breaker is closed."""
    entry = opened(found)
    if entry is None:
        return ""
    return (
        f"scores are degraded since {entry.created}: {entry.reason}. Retraining has stopped; when the cause is "
        "mended, run: influcoder breaker reset --reason TEXT"
    )


def trust_of(store: ObjectStore, model: str) -> str:
    """Like `degraded`, for whoever serves scores: a journal that can't be read is said to be, and stops no answer."""
    try:
        return degraded(entries(store, model))
    except InflucoderError as error:
        return f"nobody knows whether these scores may be trusted: {error}"
