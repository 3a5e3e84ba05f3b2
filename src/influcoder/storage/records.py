"""A record in the store that several runs may want to move: read once, then moved by compare-and-swap."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from influcoder.core.errors import IntegrityError
from influcoder.storage.object_store import ObjectStore, sha256

R = TypeVar("R", bound=BaseModel)


def sealed(record: BaseModel) -> bytes:
    """The bytes of a record, with their SHA-256 before them."""
    return seal(record.model_dump_json(indent=1).encode())


def read_sealed(store: ObjectStore, key: str, kind: type[R], data: bytes, remedy: str = "Restore it.") -> R:
    """The record that was sealed, or that an earlier version wrote without a seal.

    Raises:
        IntegrityError: it is none, or was changed since.
    """
    content = unseal_if_sealed(data)
    if content is None:
        raise IntegrityError(f"{store.uri(key)} was changed after it was written.", remedy)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise IntegrityError(f"{store.uri(key)} is no {kind.__name__} record.", remedy) from error


class Slot(Generic[R]):
    """A record under its key, as it was when it was read or written here last.

    Args:
        store: holds it.
        key: its name.
        kind: its model.
    Raises:
        IntegrityError: what is there is no such record.
    """

    def __init__(self, store: ObjectStore, key: str, kind: type[R]) -> None:
        self._store, self.key = store, key
        data, self._version = store.read_if_there(key)
        self.value = None if data is None else read_sealed(store, key, kind, data)

    def write(self, value: R) -> R:
        """Put a new value in its place.

        Raises:
            ChangedMeanwhileError: somebody else did since it was read.
        """
        self._version = self._store.swap(self.key, sealed(value), self._version)
        self.value = value
        return value


_HASH = len(sha256(b""))
_BEFORE, _BETWEEN, _AFTER = b'{"sha256": "', b'",\n"entry": ', b"}\n"


def seal(content: bytes) -> bytes:
    """JSON that holds other JSON, `entry`, and its SHA-256."""
    return _BEFORE + sha256(content).encode() + _BETWEEN + content + _AFTER


def sealed_hash(record: bytes) -> str:
    """The SHA-256 that a sealed record carries."""
    return record[len(_BEFORE) : len(_BEFORE) + _HASH].decode(errors="replace")


def unseal(record: bytes) -> bytes | None:
    """What was sealed; None where the record is not as it was written."""
    content = record[len(_BEFORE) + _HASH + len(_BETWEEN) : -len(_AFTER)]
    return content if record == seal(content) else None


def unseal_if_sealed(record: bytes) -> bytes | None:
    """Like `unseal`, but a record without a seal, as earlier versions wrote them, is given back as it is."""
    return unseal(record) if record.startswith(_BEFORE) else record
