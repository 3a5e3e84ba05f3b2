"""Objects of an index on this machine's disk: fetched once, and verified before they are trusted."""

import hashlib
from pathlib import Path

from influcoder.core.errors import IntegrityError
from influcoder.core.files import cache_folder, whole
from influcoder.index.manifest import Part, folder_of
from influcoder.storage.objects import Objects


def local_copy(store: Objects, index_id: str, part: Part, ending: str) -> Path:
    """A file with the bytes of an object; a copy that is damaged is fetched again.

    Args:
        store: holds the index.
        index_id: which.
        part: the object.
        ending: of its key.
    Raises:
        IntegrityError: the object in the store was changed or cut off.
    """
    folder = cache_folder() / "indexes" / index_id
    path = folder / f"{part.sha256}{ending}"
    if path.is_file() and _is(path, part):
        return path
    with whole(path) as unfinished:
        store.fetch(key_of(index_id, part, ending), unfinished)
        if not _is(unfinished, part):
            raise IntegrityError(
                f"index {index_id}: {path.name} does not match its checksum.",
                f"Delete what lies below {folder_of(index_id)}/ in the store, then run: influcoder index",
            )
    return path


def key_of(index_id: str, part: Part, ending: str) -> str:
    """Where an object of an index is in the store."""
    return f"{folder_of(index_id)}/{part.sha256}{ending}"


def part_of(path: Path, first: int, rows: int) -> Part:
    """A file as an object of an index."""
    return Part(sha256=_digest(path), bytes=path.stat().st_size, first=first, rows=rows)


def _is(path: Path, part: Part) -> bool:
    return path.stat().st_size == part.bytes and _digest(path) == part.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
