"""Records in the store: JSON that shows whether it was changed, and that one writer at a time replaces.

A record whose key is the hash of its content (a manifest, a check, an alert) is plain JSON: the key is its seal. Every
other one is JSON that holds its own SHA-256. Older formats are read as well: the hash on a line before the content,
and no hash at all.
"""

import json
from collections.abc import Callable
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError
from influcoder.storage.object_store import sha256
from influcoder.storage.objects import Objects

R = TypeVar("R", bound=BaseModel)
# Writers of one record in a row that may be quicker.
ATTEMPTS = 50
_RESTORE = "Restore it from a copy of the bucket."
_HASH = len(sha256(b""))
_BEFORE, _BETWEEN, _AFTER = b'{"sha256": "', b'",\n"entry": ', b"}\n"
_CONTENT = len(_BEFORE) + _HASH + len(_BETWEEN)


def id_of(content: object) -> str:
    """The id of what JSON can say: the first 20 hex digits of SHA-256 over it, its keys sorted."""
    return sha256(json.dumps(content, sort_keys=True).encode())[:20]


def to_json(record: BaseModel) -> bytes:
    """The bytes of a record without a seal, for one whose key is its id."""
    return record.model_dump_json(indent=1).encode()


def sealed(record: BaseModel) -> bytes:
    """The bytes of a record, with their SHA-256 before them."""
    return seal(to_json(record))


def seal(content: bytes) -> bytes:
    """JSON that holds other JSON, `entry`, and its SHA-256."""
    return _BEFORE + sha256(content).encode() + _BETWEEN + content + _AFTER


def sealed_hash(record: bytes) -> str:
    """The SHA-256 that a sealed record carries."""
    return record[len(_BEFORE) : len(_BEFORE) + _HASH].decode(errors="replace")


def unseal(record: bytes) -> bytes | None:
    """What was sealed; None where the record is not as it was written."""
    content = record[_CONTENT : -len(_AFTER)]
    return content if record == seal(content) else None


def content_of(record: bytes) -> bytes | None:
    """The content of a record in any format that was ever written; None where it is not as it was written."""
    # Two signs of a seal, since one of them may be what was changed.
    if record.startswith(_BEFORE) or record[:_CONTENT].endswith(_BETWEEN):
        return unseal(record)
    if record.startswith(b"{"):
        return record
    digest, _, content = record.partition(b"\n")
    return content if digest == sha256(content).encode() else None


def parse(store: Objects, key: str, kind: type[R], data: bytes, remedy: str = _RESTORE) -> R:
    """The record that bytes hold.

    Raises:
        IntegrityError: they hold none, or were changed since it was written.
    """
    content = content_of(data)
    if content is None:
        raise IntegrityError(f"{store.uri(key)} was changed after it was written.", remedy)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise IntegrityError(f"{store.uri(key)} is no {kind.__name__} record.", remedy) from error


def read(store: Objects, key: str, kind: type[R], remedy: str = _RESTORE) -> R | None:
    """The record under a key; None where there is none.

    Raises:
        IntegrityError: what is there is no such record, or was changed.
    """
    data, _ = store.read_if_there(key)
    return None if data is None else parse(store, key, kind, data, remedy)


def refuse_other(store: Objects, key: str, found: str, named: str, remedy: str = _RESTORE) -> None:
    """Compare the id that a record's content stands for with the one that its key names.

    Raises:
        IntegrityError: the record was changed, or moved.
    """
    if found != named:
        raise IntegrityError(f"{store.uri(key)} was changed after it was written.", remedy)


def keep(store: Objects, key: str, record: R, remedy: str = _RESTORE) -> R:
    """Write a record once; the one that stands, which may have been there before.

    Raises:
        IntegrityError: that one is damaged.
    """
    written = store.keep(key, sealed(record))
    return (None if written else read(store, key, type(record), remedy)) or record


class Slot(Generic[R]):
    """A record under its key, as it was when it was read or written here last.

    Args:
        store: holds it.
        key: its name.
        kind: its model.
        remedy: what to do where it is damaged; None where it is then as good as none, and may be written anew.
    Raises:
        IntegrityError: what is there is no such record.
    """

    def __init__(self, store: Objects, key: str, kind: type[R], remedy: str | None = _RESTORE) -> None:
        self._store, self.key = store, key
        data, self._version = store.read_if_there(key)
        try:
            self.value = None if data is None else parse(store, key, kind, data, remedy or "")
        except IntegrityError:
            if remedy is not None:
                raise
            self.value = None

    def write(self, value: R) -> R:
        """Put a new value in its place.

        Raises:
            ChangedMeanwhileError: somebody else did since it was read.
        """
        self._version = self._store.swap(self.key, sealed(value), self._version)
        self.value = value
        return value


def move(
    store: Objects, key: str, kind: type[R], change: Callable[[R | None], R | None], remedy: str | None = _RESTORE
) -> None:
    """Replace a record by what `change` makes of it, from the start again wherever another writer was quicker.

    Args:
        store: holds it.
        key: its name.
        kind: its model.
        change: gives the new value for the present one; None leaves it as it is.
        remedy: see `Slot`.
    Raises:
        ChangedMeanwhileError: other writers were quicker each time.
    """
    for _ in range(ATTEMPTS):
        slot = Slot(store, key, kind, remedy)
        value = change(slot.value)
        if value is None:
            return
        try:
            slot.write(value)
        except ChangedMeanwhileError:
            continue
        return
    raise ChangedMeanwhileError(f"{store.uri(key)} is being moved by many writers.", "Try again.")
