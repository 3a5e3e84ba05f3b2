"""A record in the store that several runs may want to move: read once, then moved by compare-and-swap."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from influcoder.errors import IntegrityError
from influcoder.store import ObjectStore

R = TypeVar("R", bound=BaseModel)


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
        try:
            self.value = kind.model_validate_json(data) if data else None
        except ValidationError as error:
            raise IntegrityError(f"{store.uri(key)} is no {kind.__name__} record.", "Restore it.") from error

    def write(self, value: R) -> R:
        """Put a new value in its place.

        Raises:
            ChangedMeanwhileError: somebody else did since it was read.
        """
        self._version = self._store.swap(self.key, value.model_dump_json(indent=1).encode(), self._version)
        self.value = value
        return value
