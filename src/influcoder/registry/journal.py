"""Who made which encoder version the champion, when and why: append-only, each entry bound to the one before it.

MLflow keeps no history of what an alias pointed to, so it is kept here, one object an entry.
"""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError
from influcoder.core.provenance import code_commit, now
from influcoder.storage.object_store import READERS, ObjectStore, sha256
from influcoder.storage.records import move, read, sealed, sealed_hash, unseal

GENESIS = sha256(b"influcoder journal")
ATTEMPTS = 50
_RESTORE = "Restore it from a copy of the bucket."


class Action(StrEnum):
    """What happened; those that `moves` is true of say which version is the champion from then on."""

    PROMOTED = "promoted"
    HELD = "held"
    ROLLED_BACK = "rolled back"
    ADOPTED = "adopted"
    REPAIRED = "repaired"
    APPROVED = "approved"
    REJECTED = "rejected"
    BREAKER_OPENED = "breaker opened"
    BREAKER_CLOSED = "breaker closed"
    AUDITED = "audited"

    @property
    def moves(self) -> bool:
        """Whether the champion's alias follows it."""
        return self in (Action.PROMOTED, Action.ROLLED_BACK, Action.ADOPTED, Action.REPAIRED)


class Event(BaseModel):
    """What somebody did, before it has a place in the journal.

    Args:
        action: what was done.
        version: the encoder version that it was done to.
        prior: the champion before; None where there was none.
        actor: who or what did it.
        reason: why, in words.
        evidence: what it rests on: the gate's figures, ids of checks and label sets; NaN and infinity become null.
        digests: what identifies the version, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    version: str
    prior: str | None
    actor: str
    reason: str = ""
    evidence: dict[str, JsonValue] = {}
    digests: dict[str, str] = {}


class Entry(Event):
    """An event in its place.

    Args:
        number: its place, from 1 on.
        previous: SHA-256 of the entry before it; `GENESIS` for the first one.
        model: the registered model that the versions are of.
        created: UTC time, ISO 8601.
        code_commit: commit of this project that wrote it.
        token: tells two writers of the same words apart.
    """

    number: int
    previous: str
    model: str
    created: str
    code_commit: str
    token: str


class Head(BaseModel):
    """Number and seal of the last entry: without it, the last ones could be removed unseen."""

    model_config = ConfigDict(frozen=True)

    number: int
    sha256: str


def append(store: ObjectStore, model: str, event: Event) -> Entry:
    """Write an event as the next entry, by one conditional put.

    Raises:
        ChangedMeanwhileError: the event moves the champion, and the journal's champion is not (any more) the one
            that the event calls prior; or other writers were quicker each time.
        IntegrityError: the journal is broken already.
    """
    records: list[bytes] = []
    for _ in range(ATTEMPTS):
        records, found = _verified(store, model, records)
        if event.action.moves and (last := champion_of(found)) not in (None, event.prior):
            raise ChangedMeanwhileError(
                f"version {last} is the champion by the journal, not version {event.prior}.", "Run the same step again."
            )
        entry = place(event, model, records)
        number = entry.number
        record = sealed(entry)
        # A put whose answer got lost is sent again, and then finds itself.
        if not store.keep(_key(model, number), record) and store.get(_key(model, number)) != record:
            continue
        _raise_head(store, model, number, sealed_hash(record))
        return entry
    raise ChangedMeanwhileError("the journal has too many writers at once.", "Run the same step again.")


def entries(store: ObjectStore, model: str) -> list[Entry]:
    """All entries, oldest first, the chain verified.

    Raises:
        IntegrityError: an entry was changed, replaced, moved or removed; the message names the first one.
    """
    return _verified(store, model)[1]


def confirm(store: ObjectStore, model: str) -> None:
    """Let the head know of the last entry, where the writer was killed between the two."""
    if records := _verified(store, model)[0]:
        _raise_head(store, model, len(records), sealed_hash(records[-1]))


def champion_of(found: Sequence[Entry]) -> str | None:
    """The version that the alias must point to; None where the journal names none."""
    return next((entry.version for entry in reversed(found) if entry.action.moves), None)


def line_of(found: Sequence[Entry]) -> tuple[str, ...]:
    """The champions that led to the present one, oldest first, without those that were rolled back."""
    line: list[str] = []
    for entry in found:
        if not entry.action.moves or line[-1:] == [entry.version]:
            continue
        if entry.version in line:
            # Back to where the line was; a version that earns its place anew is the last of it instead.
            place = line.index(entry.version)
            line = line[:place] + (line[place + 1 :] if entry.action is Action.PROMOTED else [])
        line.append(entry.version)
    return tuple(line)


def place(event: Event, model: str, records: Sequence[bytes]) -> Entry:
    """The entry that an event becomes after the sealed entries that are there."""
    return Entry(
        **dict(event),
        number=len(records) + 1,
        previous=sealed_hash(records[-1]) if records else GENESIS,
        model=model,
        created=now(),
        code_commit=code_commit(),
        token=secrets.token_hex(8),
    )


def check_chain(records: Sequence[bytes]) -> list[Entry]:
    """The entries of sealed records, in order.

    Raises:
        IntegrityError: one is not what was written there; the message names the first.
    """
    found: list[Entry] = []
    for number, record in enumerate(records, 1):
        entry = _opened(record, number)
        previous = sealed_hash(records[number - 2]) if number > 1 else GENESIS
        if entry.number != number:
            raise _broken(number, f"is entry {entry.number}, moved here")
        if entry.previous != previous:
            raise _broken(max(number - 1, 1), "was replaced: the chain does not hold here")
        found.append(entry)
    return found


def _opened(record: bytes, number: int) -> Entry:
    content = unseal(record)
    if content is None:
        raise _broken(number, "was changed after it was written")
    try:
        return Entry.model_validate_json(content)
    except ValidationError as error:
        raise _broken(number, "is no entry that this version can read") from error


def _verified(store: ObjectStore, model: str, known: Sequence[bytes] = ()) -> tuple[list[bytes], list[Entry]]:
    # The head before the entries: one that is appended meanwhile must not look like one that is missing.
    head = read(store, _head(model), Head, _RESTORE)
    records = _read(store, model, known)
    found = check_chain(records)
    if head is not None:
        _check_head(head, records)
    return records, found


def _read(store: ObjectStore, model: str, known: Sequence[bytes]) -> list[bytes]:
    names = {key for key in store.keys(f"journal/{model}/") if key != _head(model)}
    names -= {_key(model, number + 1) for number in range(len(known))}
    keys: list[str] = []
    while (key := _key(model, len(known) + len(keys) + 1)) in names:
        names.remove(key)
        keys.append(key)
    with ThreadPoolExecutor(READERS) as pool:
        records = [*known, *pool.map(store.get, keys)]
    if names:
        raise _broken(len(records) + 1, f"is missing: {min(names)} is there")
    return records


def _check_head(head: Head, records: Sequence[bytes]) -> None:
    if head.number > len(records):
        raise _broken(len(records) + 1, f"is missing: {head.number} were written")
    if head.number < 1 or sealed_hash(records[head.number - 1]) != head.sha256:
        raise _broken(head.number, "was replaced: head.json names another one")


def _raise_head(store: ObjectStore, model: str, number: int, digest: str) -> None:
    """Note how far the journal reaches; it only ever goes up."""

    def higher(head: Head | None) -> Head | None:
        return None if head and head.number >= number else Head(number=number, sha256=digest)

    move(store, _head(model), Head, higher, _RESTORE)


def _broken(number: int, how: str) -> IntegrityError:
    return IntegrityError(f"the journal is broken: entry {number} {how}.", _RESTORE)


def _key(model: str, number: int) -> str:
    return f"journal/{model}/{number:08d}.json"


def _head(model: str) -> str:
    return f"journal/{model}/head.json"
