"""A folder with those operations of the object store that one process needs: the library works without servers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from influcoder.core.errors import AbsentError, ChangedMeanwhileError
from influcoder.core.files import write_whole
from influcoder.storage.object_store import sha256


class Folder:
    """Objects as files, for one process at a time: unlike a bucket's, `swap` here is no lock between two.

    Args:
        path: the folder; it is made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def uri(self, key: str) -> str:
        """The path of an object."""
        return str(self._path / key)

    def put(self, key: str, data: bytes) -> None:
        """Write an object; a killed process leaves the old bytes or the new ones, never a mixture."""
        write_whole(self._path / key, data)

    def get(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            AbsentError: there is no such object.
        """
        return self._there(key).read_bytes()

    def keep(self, key: str, data: bytes) -> bool:
        """Write an object once; whether this call wrote it. Where it is there already, its bytes are left alone."""
        if self.exists(key):
            return False
        self.put(key, data)
        return True

    def exists(self, key: str) -> bool:
        """Whether an object is there."""
        return (self._path / key).is_file()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` on."""
        with self._there(key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def fetch(self, key: str, path: Path) -> None:
        """Write an object into a file.

        Raises:
            AbsentError: there is no such object.
        """
        shutil.copyfile(self._there(key), path)

    def read_if_there(self, key: str) -> tuple[bytes | None, str | None]:
        """The bytes of an object and its version, or two Nones where there is no such object."""
        if not (self._path / key).is_file():
            return None, None
        data = self.get(key)
        return data, sha256(data)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object where it is still the version that the caller read; the version that it is then.

        Raises:
            ChangedMeanwhileError: it is another version.
        """
        if self.read_if_there(key)[1] != expected:
            raise ChangedMeanwhileError(f"{self._path / key} was changed by somebody else.", "Read it again.")
        self.put(key, data)
        return sha256(data)

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        (self._path / key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix that ends in `/`, what a killed process left unfinished among them."""
        for file in sorted(path for path in (self._path / prefix).rglob("*") if path.is_file()):
            yield file.relative_to(self._path).as_posix()

    def _there(self, key: str) -> Path:
        path = self._path / key
        if not path.is_file():
            raise AbsentError(f"{path} is not there.")
        return path
