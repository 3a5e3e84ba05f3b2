"""What records, shards and indexes ask of where they are kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Objects(Protocol):
    """An `ObjectStore`, or a `Folder` where one process works without servers."""

    def uri(self, key: str) -> str:
        """The address of an object."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""

    def keep(self, key: str, data: bytes) -> bool:
        """Write an object once; whether this call wrote it."""

    def exists(self, key: str) -> bool:
        """Whether it is there."""

    def get(self, key: str) -> bytes:
        """Its bytes."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some of its bytes."""

    def fetch(self, key: str, path: Path) -> None:
        """Its bytes into a file."""

    def read_if_there(self, key: str) -> tuple[bytes | None, str | None]:
        """Its bytes and version."""

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace it where it is still that version; the version that it is then."""

    def delete(self, key: str) -> None:
        """Delete it; one that is not there is no error."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix."""
